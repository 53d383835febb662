"""Batches through shared slots: unchanged, uncopied, and flat in memory."""

import os
import socket
import threading

import pyarrow as pa
import pytest

from core.errors import TooMuch
from storage import query_wire
from storage.query_wire import SLOTS, Channel, Kind, SlotReader, SlotWriter, create_slots


class Pair:
    """Both sides of one lane in one process."""

    def __init__(self):
        ours, theirs = socket.socketpair()
        fds = create_slots()
        self.asker, self.worker = Channel(ours), Channel(theirs)
        self.reader = SlotReader(fds, self.asker)
        self.writer = SlotWriter(fds, self.worker)
        for fd in fds:
            os.close(fd)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while (frame := self.worker.receive()) is not None:
            assert frame.kind == Kind.FREE
            self.writer.free(frame.payload[0])

    def send(self, batch, seconds=10.0):
        return self.writer.write(batch, lambda: False, seconds)

    def take(self):
        frame = self.asker.receive()
        assert frame is not None
        assert frame.kind == Kind.BATCH
        return self.reader.read(frame)

    def close(self):
        self.asker.close()
        self.worker.close()


@pytest.fixture
def pair():
    both = Pair()
    yield both
    both.close()


def batch_of(rows, first=0):
    numbers = list(range(first, first + rows))
    words = pa.array([f"w{n % 3}" for n in numbers]).dictionary_encode()
    return pa.record_batch(
        {
            "n": numbers,
            "text": [str(n) for n in numbers],
            "word": words,
            "list": [[n] for n in numbers],
        }
    )


def test_a_batch_arrives_as_it_was_sent(pair):
    for sent in (batch_of(1000), batch_of(0), batch_of(10).slice(3, 4)):
        assert pair.send(sent)
        got = pair.take()
        got.validate(full=True)
        assert got.equals(sent)


def test_slots_are_used_again_once_the_rows_are_let_go(pair):
    for number in range(5 * SLOTS):
        assert pair.send(batch_of(10, number))
        assert pair.take()["n"][0].as_py() == number


def test_a_consumer_that_keeps_every_batch_still_gets_right_ones(pair):
    kept = []
    for number in range(3 * SLOTS):
        assert pair.send(batch_of(10, number))
        kept.append(pair.take())
    assert [batch["n"][0].as_py() for batch in kept] == list(range(3 * SLOTS))
    for batch in kept:
        batch.validate(full=True)


def test_the_worker_waits_while_nobody_takes_rows(pair):
    for number in range(SLOTS):
        assert pair.send(batch_of(1, number))
    assert not pair.send(batch_of(1), seconds=0.01)
    assert pair.take().num_rows == 1
    assert pair.send(batch_of(1))


def test_a_large_batch_travels_in_pieces(pair):
    whole = pa.record_batch({"text": ["x" * 1_000_000] * 20})
    threading.Thread(target=pair.send, args=(whole,), daemon=True).start()
    rows = 0
    while rows < 20:
        piece = pair.take()
        assert piece.nbytes < 2 * query_wire.BATCH_BYTES_MAX
        rows += piece.num_rows
    assert rows == 20


def test_a_row_larger_than_a_slot_is_too_much(pair):
    one = pa.record_batch({"list": [[0] * 40_000_000]})
    with pytest.raises(TooMuch, match="one row"):
        pair.send(one)
    assert pair.send(batch_of(1))


def test_the_end_of_the_other_side_is_told(pair):
    pair.worker.close()
    assert pair.asker.receive() is None
