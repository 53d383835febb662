from datetime import date

import numpy as np
import pytest

from core.schema import BOOK
from ingest.book import (
    ANOMALIES,
    NO_TICK,
    SILENCE_US_MAX,
    Book,
    Count,
    book_rows,
    find_tick,
    silences,
)
from ingest.depth import RECORD, DepthNaming, decode
from storage.slow import with_seq
from tests.fakes.depth_writer import (
    DAY_US,
    PairOptions,
    clear,
    make_pair,
    record,
    snapshot,
)

ES = DepthNaming("ES", "ESH24", 100, date(2023, 12, 25))
T_US = DAY_US + 50_400_000_000
SECOND_US = 1_000_000
BIDS, ASKS = {19_200: 3, 19_199: 4}, {19_201: 5, 19_203: 6}


def batch_of(*records):
    return decode(np.frombuffer(b"".join(records), RECORD), 0, ES, 0).batch


def opened(*more):
    """A book after a snapshot and more records."""
    book = Book(0.25)
    book.apply(batch_of(*snapshot(T_US, BIDS, ASKS), *more))
    return book


def best(book):
    ladder = book.ladder()
    pairs = ((ladder.bid, ladder.bid_size), (ladder.ask, ladder.ask_size))
    return [(int(ticks[0, 0]), int(sizes[0, 0])) for ticks, sizes in pairs]


def anomalies(book):
    return {count.name: book.counts[count] for count in ANOMALIES if book.counts[count]}


def at(ms, command, tick, size=0, **more):
    return record(T_US + ms * 1_000, command, tick * 25, size, **more)


def test_a_book_is_unknown_until_its_first_full_snapshot():
    book = Book(0.25)
    assert not book.is_valid
    assert book.last_ts_us is None
    book.apply(batch_of(at(0, "add_bid", 19_200, 1)))
    assert not book.is_valid
    book.apply(batch_of(*snapshot(T_US + 5, BIDS, ASKS)))
    assert book.is_valid
    assert best(book) == [(19_200, 3), (19_201, 5)]
    assert book.last_ts_us == T_US + 5


def test_a_snapshot_is_published_only_when_its_batch_is_whole():
    records = snapshot(T_US, BIDS, ASKS)
    book = Book(0.25)
    bests, _ = book.apply(batch_of(*records[:-1]))
    assert len(bests.row) == 0
    assert not book.is_valid
    bests, _ = book.apply(batch_of(records[-1]))
    assert (bests.row.tolist(), bests.is_valid.tolist()) == ([0], [True])


def test_a_lone_clear_makes_the_book_unknown_and_not_empty():
    book = opened(clear(T_US + 171), at(1, "add_bid", 19_200, 9))
    assert not book.is_valid
    assert (book.counts[Count.LONE_CLEARS], book.counts[Count.SNAPSHOTS]) == (1, 1)
    book.apply(batch_of(*snapshot(T_US + 10_000, BIDS, ASKS)))
    assert book.is_valid
    assert best(book) == [(19_200, 3), (19_201, 5)]


def test_in_an_unknown_book_a_level_nobody_knows_is_no_oddity():
    book = opened(clear(T_US + 171), at(1, "modify_bid", 19_200, 9), at(2, "delete_ask", 19_201))
    assert anomalies(book) == {}


def test_when_the_touch_goes_the_next_level_is_best():
    book = opened(at(1, "delete_bid", 19_200), at(2, "delete_ask", 19_201))
    assert best(book) == [(19_199, 4), (19_203, 6)]
    book.apply(batch_of(at(3, "delete_bid", 19_199), at(4, "delete_ask", 19_203)))
    assert best(book) == [(NO_TICK, 0), (NO_TICK, 0)]
    assert book.is_valid
    assert anomalies(book) == {}


@pytest.mark.parametrize(
    ("records", "count"),
    [
        ([at(1, "none", 19_200)], Count.NO_COMMAND),
        ([record(T_US + 1, "add_bid", 480_001, 1)], Count.OFF_GRID),
        ([record(T_US + 1, "add_bid", 9e9, 1)], Count.OUT_OF_RANGE),
        ([record(T_US + 1, "add_bid", float("nan"), 1)], Count.OUT_OF_RANGE),
        ([record(T_US + 1, "add_bid", -25, 1)], Count.OUT_OF_RANGE),
        ([at(1, "add_bid", 19_200, 7)], Count.ADD_TO_LEVEL),
        ([at(1, "modify_ask", 19_202, 7)], Count.MODIFY_OF_NO_LEVEL),
        ([at(1, "delete_ask", 19_202)], Count.DELETE_OF_NO_LEVEL),
        ([at(1, "modify_bid", 19_199, 0)], Count.ZERO_SIZE),
        ([at(-1, "modify_bid", 19_199, 2)], Count.BACK_IN_TIME),
    ],
)
def test_a_row_against_the_rules_is_counted_once_and_repaired_never(records, count):
    book = opened(*records)
    assert anomalies(book) == {count.name: 1}
    assert book.is_valid


def test_a_locked_book_is_kept_and_counted():
    book = opened(at(1, "add_bid", 19_201, 2), at(2, "delete_bid", 19_201))
    assert book.counts[Count.LOCKED_OR_CROSSED] == 1
    assert anomalies(book) == {}
    assert best(book) == [(19_200, 3), (19_201, 5)]


def test_a_ladder_is_the_book_strictly_before_its_time():
    book = Book(0.25)
    records = [*snapshot(T_US, BIDS, ASKS), at(99, "modify_bid", 19_200, 8)]
    _, ladders = book.apply(batch_of(*records, at(100, "modify_bid", 19_200, 9)))
    assert ladders.ts_us.tolist() == [T_US + 100_000]
    assert ladders.bid[0, :3].tolist() == [19_200, 19_199, NO_TICK]
    assert ladders.bid_size[0, :3].tolist() == [8, 4, 0]
    assert ladders.ask[0, :3].tolist() == [19_201, 19_203, NO_TICK]


def test_while_nothing_changes_no_ladder_is_repeated():
    book = opened()
    assert len(book.ladders_until(T_US + 99_999).ts_us) == 0
    due = book.ladders_until(T_US + 9_000_000)
    assert due.ts_us.tolist() == [T_US + 100_000]
    assert len(book.ladders_until(T_US + 99_000_000).ts_us) == 0


def test_a_silence_is_stale_only_where_trades_print_in_it():
    depth_us = np.array([0, SECOND_US, 9 * SECOND_US, 20 * SECOND_US])
    edge_us = SECOND_US + SILENCE_US_MAX
    assert silences(depth_us, np.array([edge_us])) == []
    assert silences(depth_us, np.array([edge_us + 1])) == [(2, edge_us + 1)]
    assert silences(depth_us, np.array([9 * SECOND_US])) == []
    assert silences(depth_us, np.array([15 * SECOND_US])) == [(3, 15 * SECOND_US)]
    assert silences(depth_us[2:], np.array([5 * SECOND_US]), 0) == [(0, 5 * SECOND_US)]
    assert silences(depth_us[:0], np.array([5])) == []


@pytest.mark.parametrize("is_silent", [False, True], ids=["lone clear", "silence"])
def test_outside_its_unknown_intervals_a_market_is_matched_at_every_trade(is_silent):
    options = PairOptions(events=3_000, hole_s=(60.0, 80.0), is_silent=is_silent, snapshot_s=60)
    pair = make_pair(11, options)
    batch = batch_of(*pair.depth)
    trades_us = np.array([p.ts_us for p in pair.prints])
    book = Book(0.25)
    bests, ladders = book.apply(batch, trades_us)
    places = np.searchsorted(batch.columns["ts_event"][bests.row], trades_us, "left") - 1
    hole_from, hole_to = pair.hole_us
    outside = matched = 0
    for trade, place in zip(pair.prints, places.tolist(), strict=True):
        if hole_from <= trade.ts_us < hole_to:
            continue
        outside += 1
        matched += (trade.bid, trade.ask) == (bests.bid[place], bests.ask[place])
        assert bests.is_valid[place]
    assert outside > 100
    assert matched == outside
    unknown = ladders.ts_us[~ladders.is_valid]
    assert len(unknown)
    assert ((unknown > hole_from) & (unknown <= hole_to + 100_000)).all()
    assert anomalies(book) == {}


def test_a_stale_book_gives_the_ladder_it_owed_from_before():
    book = opened()
    due = book.mark_stale(T_US + 5 * SECOND_US)
    assert (due.ts_us.tolist(), due.is_valid.tolist()) == ([T_US + 100_000], [True])
    again = book.mark_stale(T_US + 6 * SECOND_US)
    assert (again.ts_us.tolist(), again.is_valid.tolist()) == ([T_US + 5_100_000], [False])
    assert book.counts[Count.STALE] == 1


def test_ladders_become_rows_the_book_table_takes():
    batch = batch_of(*snapshot(T_US, BIDS, ASKS), at(100, "modify_bid", 19_200, 9))
    _, ladders = Book(0.25).apply(batch)
    rows = with_seq(BOOK, book_rows(ladders, batch, 0.25, T_US), 1)
    (row,) = rows.to_pylist()
    assert (row["symbol"], row["contract"], row["source"]) == ("ES", "ESH24", "sierra")
    assert row["valid"] is True
    assert row["bid_px"][:2] == [4800.0, 4799.75]
    assert np.isnan(row["bid_px"][2:]).all()
    assert (row["bid_sz"][:3], row["ask_sz"][:3]) == ([3, 4, 0], [5, 6, 0])
    assert row["ask_px"][:2] == [4800.25, 4800.75]


@pytest.mark.parametrize(
    ("prices", "tick"),
    [
        ([4800.0, 4800.25, 4800.5], 0.25),
        ([70.01, 70.02, 71.0], 0.01),
        ([2500.1, 2500.2], 0.1),
        ([38_000.0, 38_001.0], 1.0),
        ([0.0, float("nan")], None),
    ],
)
def test_the_step_is_the_widest_all_prices_are_on(prices, tick):
    assert find_tick(np.array(prices)) == tick
