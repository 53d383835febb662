"""The feed's two threads: how long what comes is kept waiting, and how a reader ends."""

import sys
import threading
from pathlib import Path

import pytest

from core.board import Board
from core.errors import FeedLost
from ingest.dxlink_feed import run
from ingest.dxlink_keeper import Place
from tests.fakes.deadline import until
from tests.fakes.dxlink_place import FAST, FakeGate, MemoryPlace
from tests.fakes.manual_clock import ManualClock


class Watched(threading.Event):
    """Remembers how long it was waited for."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return super().wait(timeout)


class Nowhere:
    """A server nobody reaches: port 9 of this machine discards, if it is there at all."""

    url = "ws://127.0.0.1:9/"


def feed(folder, gate, stopping, place=None):
    place, clock = place or MemoryPlace(), ManualClock()
    there = Place(place.take, place, place, Board("ingest", clock))
    run(gate, there, clock=clock, journal=folder / "journal", periods=FAST, stopping=stopping)


def test_what_breaks_a_silence_is_not_kept_waiting(tmp_path):
    stopping = Watched()
    gate = FakeGate(Nowhere())
    gate.failures = sys.maxsize
    thread = threading.Thread(target=feed, args=(tmp_path, gate, stopping))
    thread.start()
    try:
        until(lambda: len(stopping.waits) > 3)
        assert not any(stopping.waits)
    finally:
        stopping.set()
        thread.join(20)
    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_cannot_even_start_is_told_and_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    errors = []

    def body():
        try:
            feed(tmp_path, FakeGate(Nowhere()), threading.Event())
        except FeedLost as error:
            errors.append(error.message)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(5)
    assert errors == ["the reader ended by itself"]


@pytest.mark.parametrize("url", ["ws://a..b/", "ws://127.0.0.1:9/", "no url at all"])
def test_an_address_that_leads_nowhere_is_an_outage_and_no_end(tmp_path, url):
    stopping = threading.Event()
    server = Nowhere()
    server.url = url
    gate = FakeGate(server)
    errors = []

    def body():
        try:
            feed(tmp_path, gate, stopping)
        except FeedLost as error:
            errors.append(error.message)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        until(lambda: gate.tokens > 2 or errors)
    finally:
        stopping.set()
        thread.join(20)
    assert not errors
    assert not thread.is_alive()


class Unreadable(MemoryPlace):
    """A ledger that cannot be read."""

    def open_gaps(self, table):
        raise OSError(table)


def test_a_feed_that_cannot_start_leaves_nothing_open(tmp_path):
    def open_files():
        return [*filter(None, map(pointed_at, Path("/proc/self/fd").iterdir()))]

    def pointed_at(link):
        try:
            return link.readlink() == tmp_path / "journal"
        except FileNotFoundError:
            return False

    with pytest.raises(OSError, match="trades"):
        feed(tmp_path, FakeGate(Nowhere()), threading.Event(), Unreadable())
    assert not open_files()
