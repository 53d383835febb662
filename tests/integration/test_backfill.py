"""A hole that was given up is asked for once more, on the fake server's real wire."""

import pytest

from core.errors import BadTicket, Unavailable
from ingest.backfill import Backfills, find_gap
from ingest.gapbook import Gap, GapBook
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store, StoreOptions
from storage.view import Views
from tests.fakes.deadline import until


def gap_of(row):
    contract, _, reason = row["reason"].partition(": ")
    times = (row["from_ts"], row["to_ts"])
    return Gap(row["gap_id"], row["symbol"], contract, *times, reason, row["state"])


@pytest.fixture
def given_up(feed, server):
    """A feed with two holes that history did not fill."""
    server.faults.history = "empty"
    server.tape.trade(400)  # nobody hears of these
    server.close()
    until(lambda: feed.count("dxlink.disconnects"))
    feed.wait_live()
    server.trade(50)
    feed.wait_told()
    assert set(feed.place.states()) == {"unrepairable"}
    return feed


def test_a_hole_that_was_given_up_is_filled_once_history_has_it(given_up, server):
    server.faults.history = "whole"
    for row in given_up.place.gaps():
        assert "asked once more" in given_up.backfills.ask(gap_of(row))
    given_up.wait_whole()  # every print is stored, once, and every hole backfilled
    assert all(row["rows"] for row in given_up.place.gaps())


def test_a_hole_that_history_still_lacks_is_no_wider_than_before(given_up):
    (before,) = given_up.place.gaps("SPY")
    given_up.backfills.ask(gap_of(before))
    until(lambda: "asked for once more" in given_up.place.gaps("SPY")[0]["reason"])
    given_up.wait_told()
    (after,) = given_up.place.gaps("SPY")
    assert after["state"] == "unrepairable"
    assert (after["from_ts"], after["to_ts"]) == (before["from_ts"], before["to_ts"])


def test_what_is_not_listened_to_cannot_be_asked_for(given_up):
    gap = Gap(1, "ES", "ESH30", 1, 2, "lost", "unrepairable")
    with pytest.raises(BadTicket, match="ESH30 is not listened to"):
        given_up.backfills.ask(gap)


def test_where_no_feed_runs_one_is_told_to_import_files():
    with pytest.raises(BadTicket, match="no feed that keeps history") as refused:
        Backfills().ask(Gap(1, "MNQ", "MNQZ26", 1, 2, "lost"))
    assert "tickflight import" in refused.value.hint


def test_a_feed_that_does_not_answer_is_busy_and_its_requests_are_bounded():
    desk, gap = Backfills(), Gap(1, "MNQ", "MNQZ26", 1, 2, "lost")
    desk.open("feed")
    for _ in range(16):
        with pytest.raises(Unavailable, match="busy"):
            desk.ask(gap, answer_s_max=0.0)
    assert desk.take("feed") == []  # who asked has gone, so nothing is done for nobody


def test_a_gap_is_found_as_it_stands_now(tmp_path, manual_clock):
    paths = Paths(tmp_path)
    store = Store.open(paths, StoreOptions(), disk=OsDisk(), clock=manual_clock)
    book = GapBook(store, manual_clock)
    now_us = manual_clock.now_ns() // 1_000
    gap = book.open("MNQ", "MNQZ26", now_us - 60_000_000, "connection lost")
    view = Views(paths, str(tmp_path / "lake")).view
    assert find_gap(view(), "trades", "MNQ", gap.gap_id) == gap
    closed = book.close(gap, "unrepairable", to_us=now_us, rows=0, reason="no history")
    assert find_gap(view(), "trades", "MNQ", gap.gap_id) == closed
    for table, symbol, number in (("quotes", "MNQ", gap.gap_id), ("trades", "SPY", gap.gap_id),
                                  ("trades", "MNQ", 7)):  # fmt: skip
        with pytest.raises(BadTicket):
            find_gap(view(), table, symbol, number)
    book.close(book.reopen(closed), "backfilled", to_us=now_us, rows=3, reason="history has it")
    with pytest.raises(BadTicket, match="filled"):
        find_gap(view(), "trades", "MNQ", gap.gap_id)
    store.close()
