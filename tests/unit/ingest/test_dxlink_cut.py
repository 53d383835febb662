"""Messages cut out of a websocket's bytes are those the library's own parser finds."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from ingest.dxlink_cut import Cutter

MAX_BYTES = 70_000
SIZES = (0, 1, 125, 126, 127, 65_535, 65_536)
frames = st.tuples(
    st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG]),
    st.booleans(),
    st.one_of(st.integers(0, 300), st.sampled_from(SIZES)),
)


def wire(opcode, fin, size):
    is_control = opcode in (Opcode.PING, Opcode.PONG)
    payload = random.Random(size).randbytes(min(size, 125) if is_control else size)
    return Frame(opcode, payload, fin or is_control).serialize(mask=False)


def library():
    protocol = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN, max_size=MAX_BYTES)

    def read(data):
        protocol.receive_data(data)
        return [bytes(event.data) for event in protocol.events_received()]

    return protocol, read


def in_pieces(data, cuts):
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@settings(deadline=None)
@given(st.lists(frames, max_size=12), st.lists(st.integers(0, 10**6), max_size=20))
def test_cutting_and_the_library_find_the_same_however_the_bytes_are_torn(told, cuts):
    data = b"".join(wire(*frame) for frame in told)
    alone, read_alone = library()
    truth = read_alone(data)
    beside, read = library()
    cutter, found = Cutter(MAX_BYTES), []
    for part in in_pieces(data, cuts):
        for messages, other in cutter.cut(part):
            found += read(other) if other else messages
            if beside.parser_exc is not None:
                break
        if beside.parser_exc is not None:
            break
    assert found == truth
    assert str(beside.parser_exc) == str(alone.parser_exc)


@pytest.mark.parametrize(
    "head",
    [
        b"\x81\x85masked",
        b"\xc1\x05zippy",
        b"\x83\x01?",
        b"\x81\x7f" + (MAX_BYTES + 1).to_bytes(8, "big"),
    ],
)
def test_what_is_wrong_is_the_librarys_to_refuse(head):
    whole = wire(Opcode.TEXT, True, 10)
    protocol, read = library()
    (first, *rest) = Cutter(MAX_BYTES).cut(whole + whole + head)
    assert first == ([whole[2:]] * 2, b"")
    for messages, other in rest:
        assert messages == []
        read(other)
    assert protocol.parser_exc is not None


def test_a_frame_that_is_not_whole_is_waited_for():
    data = wire(Opcode.TEXT, True, 65_536)
    cutter = Cutter(MAX_BYTES)
    assert [piece for byte in data[:-1] for piece in cutter.cut(bytes([byte]))] == []
    assert cutter.cut(data[-1:]) == [([data[10:]], b"")]
