"""A decoder that stands still: what is heard goes through the journal, none is lost."""

import threading
from dataclasses import replace

import pytest

from tests.fakes.deadline import until
from tests.fakes.dxlink_place import FAST, MemoryPlace, running_feed

FEW = replace(FAST, frames_max=50)


class StuckPlace(MemoryPlace):
    """Takes nothing until told to go on, as a disk that hangs."""

    def __init__(self):
        super().__init__()
        self.is_stuck = threading.Event()
        self.may_go = threading.Event()

    def take(self, batch):
        self.is_stuck.set()
        assert self.may_go.wait(30)
        return super().take(batch)


def spill(feed, server, journal):
    """Trade on while nothing is taken, until far more waits than memory may hold."""
    feed.wait_live()
    server.faults.rows_per_frame = 1
    server.trade(10)
    assert feed.place.is_stuck.wait(10)
    server.trade(2_000)
    until(lambda: journal.stat().st_size > 200 * 1_500)


def test_prints_of_a_long_halt_come_back_from_the_journal_in_order(server, clock, tmp_path):
    journal = tmp_path / "journal"
    with running_feed(server, clock, tmp_path, StuckPlace(), periods=FEW) as feed:
        spill(feed, server, journal)
        feed.place.may_go.set()
        server.trade(200)
        feed.wait_whole()
        until(lambda: journal.stat().st_size == 0)
        until(lambda: feed.board.snapshot()["gauges"].get("dxlink.spilled", 0) > 1_500)
        assert feed.place.gaps() == []
        for about in feed.gate.instruments:
            truth = server.tape.identities(about.streamer_symbol)
            assert feed.place.identities(about.contract) == list(truth)


@pytest.mark.parametrize("history", ["empty", "whole"])
def test_what_waits_in_the_journal_is_kept_though_the_connection_is_lost(
    server, clock, tmp_path, history
):
    with running_feed(server, clock, tmp_path, StuckPlace(), periods=FEW) as feed:
        spill(feed, server, tmp_path / "journal")
        server.faults.history = history
        server.close()
        until(lambda: feed.count("dxlink.disconnects"))
        feed.place.may_go.set()
        feed.wait_live()
        feed.wait_told()
        for about in feed.gate.instruments:
            truth = sorted(server.tape.identities(about.streamer_symbol))
            assert sorted(feed.place.identities(about.contract)) == truth
