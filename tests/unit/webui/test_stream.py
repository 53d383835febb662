"""The stream of a real web process over real sockets, which ASGI's test client has no wire for."""

import signal
from contextlib import closing, contextmanager

import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader
from websockets.sync.client import connect

from core.clock import SystemClock
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store, StoreOptions
from tests.unit.webui.test_main import trades, web
from webui.hub import UNACKED_MAX
from webui.main import WS_BYTES_MAX
from webui.wire import text_frame

WAIT_S = 10


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """(store, port) of a writer and the web process beside it."""
    folder = tmp_path_factory.mktemp("stream")
    paths = Paths(folder / "data")
    paths.root.mkdir()
    with closing(Store.open(paths, StoreOptions(), disk=OsDisk(), clock=SystemClock())) as store:
        store.append(trades("MNQ", 1.0))
        with web(folder, "demo") as (_, port):
            yield store, port


@contextmanager
def tab(port, *topics):
    """A socket that has heard hello and follows some topics."""
    address, origin = f"ws://127.0.0.1:{port}/ui/stream", f"http://127.0.0.1:{port}"
    with connect(address, origin=origin, compression=None) as socket:
        assert "build" in orjson.loads(socket.recv(WAIT_S))["hello"]
        if topics:
            socket.send(orjson.dumps({"sub": topics}).decode())
        yield socket


def frame(socket):
    return orjson.loads(socket.recv(WAIT_S))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_a_frame_of_any_size_is_what_the_protocol_says(size):
    reader = StreamReader()
    reader.feed_data(text_frame(b"x" * size))
    parsing = Frame.parse(reader.read_exact, mask=False, max_size=None)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert done.value.value == Frame(Opcode.TEXT, b"x" * size)
    assert len(reader.buffer) == 0


def test_a_tab_is_told_what_is_new_of_its_topics(house):
    store, port = house
    with tab(port, "bar:MNQ") as socket:
        assert set(frame(socket)["d"]) == {"bar:MNQ"}
        for price in (2.0, 3.0):
            store.append(trades("MNQ", price))
            while frame(socket)["d"]["bar:MNQ"]["p"] != price:
                pass


def test_who_says_nothing_is_sent_no_more_than_he_may_owe(house):
    store, port = house
    with tab(port, "bar:MNQ") as silent, tab(port, "bar:MNQ") as lively:
        price, got = 10.0, []
        while len(got) < 2 * UNACKED_MAX:
            price += 1
            store.append(trades("MNQ", price))
            got.append(frame(lively))
            lively.send(f'{{"ack":{got[-1]["n"]}}}')
        sent = [frame(silent) for _ in range(UNACKED_MAX)]
        with pytest.raises(TimeoutError):
            silent.recv(0)
        silent.send(f'{{"ack":{sent[-1]["n"]}}}')
        assert frame(silent)["d"]["bar:MNQ"]["p"] == price


def test_a_message_in_pieces_is_heard_as_well(house):
    with tab(house[1]) as socket:
        socket.send(['{"sub":', '["bar:MNQ"]', "}"])
        assert "bar:MNQ" in frame(socket)["d"]


@pytest.mark.parametrize(
    ("said", "code"), [("{", 1007), (["{", "x"], 1007), ("x" * (WS_BYTES_MAX + 1), 1009)]
)
def test_what_no_page_says_closes_the_socket(house, said, code):
    with tab(house[1]) as socket:
        socket.send(said)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(WAIT_S)
    assert closed.value.rcvd.code == code


def test_another_origin_is_refused(house):
    address = f"ws://127.0.0.1:{house[1]}/ui/stream"
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(address, origin="http://evil.example"),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_stop_is_told_to_the_tabs(tmp_path):
    with web(tmp_path, "demo") as (process, port), tab(port, "status") as socket:
        frame(socket)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:  # after what was on its way
            _ = list(iter(lambda: socket.recv(WAIT_S), None))
        assert closed.value.rcvd.code == 1012
        assert process.wait(WAIT_S) == 0
