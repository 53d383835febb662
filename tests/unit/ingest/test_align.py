from dataclasses import dataclass

import numpy as np
import pytest

from core.batch import TickBatch
from ingest.align import FLUSH_US_MAX, align, merge_runs, plan_repairs, whole_trades
from ingest.scid import RECORD, Naming, decode
from tests.fakes.depth_writer import PairOptions, make_pair

T_US = 1_703_512_800_000_000
SECOND_US = 1_000_000
LATER_US = T_US + 86_400 * SECOND_US


def market(seed, count):
    """Made-up trades of one contract, most of them small, some ten a second."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([-1, 0, 1], count, p=[0.1, 0.8, 0.1])
    columns = {
        "ts_event": T_US + np.cumsum(rng.integers(1, 200, count)) * 1_000,
        "ts_recv": np.full(count, LATER_US),
        "price": 4_800.0 + np.cumsum(steps) * 0.25,
        "size": rng.choice([1, 1, 1, 2, 2, 3, 5, 8, 21], count),
        "side": rng.choice([-1, 1], count).astype(np.int8),
        "source_seq": np.arange(count),
    }
    return TickBatch("trades", "ES", "ESH24", "scid", columns)


def heard(batch, seed, *, lost=(), wrong=(), lag_ms=(5, 60)):
    """What a feed tells of the same trades: late, without some, some at another price."""
    rng = np.random.default_rng(seed)
    keep = np.ones(batch.rows, np.bool_)
    for place in lost:
        keep[place] = False
    late = rng.integers(*lag_ms, batch.rows) * 1_000
    price = np.array(batch.columns["price"])
    price[list(wrong)] += 1_000
    columns = {
        **batch.columns,
        "ts_event": np.maximum.accumulate(batch.columns["ts_event"] + late),
        "price": price,
    }
    told = TickBatch("trades", "ES", "ESH24", "dxlink", columns)
    return told.take(keep)


@dataclass(frozen=True)
class Run:
    """A run of trades the feed lacks."""

    first: int
    prints: int
    volume: int


def missing(alignment):
    """Runs of reference trades without a partner."""
    lacks = np.r_[False, alignment.partner < 0, False].astype(np.int8)
    edges = np.flatnonzero(np.diff(lacks)).reshape(-1, 2).tolist()
    return [Run(a, b - a, int(alignment.reference.size[a:b].sum())) for a, b in edges]


def volume(batch):
    return 0 if batch is None else int(batch.columns["size"].sum())


def test_two_witnesses_of_the_same_trades_agree_on_all_of_them():
    truth = market(1, 5_000)
    got = align(heard(truth, 2), truth)
    assert (got.partner == np.arange(5_000)).all()
    assert (len(got.extra), missing(got)) == (0, [])
    assert 5_000 <= got.lag_us <= 60_000
    assert plan_repairs(got, truth, LATER_US) is None


def test_a_clock_that_is_far_off_is_followed_once_it_is_known():
    truth = market(1, 2_000)
    feed = heard(truth, 2, lag_ms=(7_000, 7_060))
    assert align(feed, truth).matched < 100
    got = align(feed, truth, 7_500_000)
    assert (got.partner == np.arange(2_000)).all()
    assert 7_000_000 <= got.lag_us <= 7_060_000


def test_losses_and_holes_are_found_and_volume_is_whole_after_the_repair():
    truth = market(3, 12_000)
    rng = np.random.default_rng(4)
    lost = [*rng.choice(12_000, 12, replace=False), slice(4_000, 4_050), slice(7_000, 9_800)]
    feed = heard(truth, 5, lost=lost)
    got = align(feed, truth)
    repairs = plan_repairs(got, truth, LATER_US)
    assert len(got.extra) == 0
    assert repairs.rows == truth.rows - feed.rows
    assert volume(feed) + volume(repairs) == volume(truth)
    # A lost trade may be taken for its identical neighbour, which is no harm.
    keys = sorted(zip(feed.columns["price"], feed.columns["size"], strict=True))
    keys += zip(repairs.columns["price"], repairs.columns["size"], strict=True)
    true_keys = zip(truth.columns["price"], truth.columns["size"], strict=True)
    assert sorted(keys) == sorted(true_keys)
    largest = max(missing(got), key=lambda run: run.prints)
    assert abs(largest.first - 7_000) <= 5
    assert abs(largest.prints - 2_800) <= 10


def test_a_repair_says_what_it_is_and_takes_the_feeds_time():
    truth = market(6, 300)
    feed = heard(truth, 7, lost=[slice(100, 110)], lag_ms=(40, 41))
    got = align(feed, truth)
    assert got.lag_us == 40_000
    repairs = plan_repairs(got, truth, LATER_US)
    assert (repairs.source, repairs.contract) == ("scid", "ESH24")
    assert repairs.columns["repaired"].all()
    lost = truth.take(slice(100, 110))
    assert (repairs.columns["ts_event"] - lost.columns["ts_event"]).tolist() == [40_000] * 10
    assert repairs.columns["source_seq"].tolist() == lost.columns["source_seq"].tolist()


def test_trades_told_at_a_wrong_price_are_missing_here_and_extra_there():
    truth = market(8, 1_000)
    got = align(heard(truth, 9, wrong=[10, 500]), truth)
    assert got.extra.tolist() == [10, 500]
    assert [run.first for run in missing(got)] == [10, 500]
    assert plan_repairs(got, truth, LATER_US).rows == 2


def test_what_the_reference_may_still_change_is_left_for_later():
    truth = market(10, 400)
    feed = heard(truth, 11, lost=[slice(50, 55), slice(385, 395)])
    got = align(feed, truth)
    last_us = int(truth.columns["ts_event"][-1])
    assert plan_repairs(got, truth, last_us + FLUSH_US_MAX // 2).rows == 5
    assert plan_repairs(got, truth, last_us + FLUSH_US_MAX + 1).rows == 15


def test_a_reference_with_a_hole_makes_the_feeds_trades_extra_and_no_more():
    truth = market(12, 3_000)
    keep = np.ones(3_000, np.bool_)
    keep[1_000:1_800] = False
    got = align(heard(truth, 13), truth.take(keep))
    assert len(got.extra) == 800
    assert missing(got) == []


@pytest.mark.parametrize("count", [0, 1])
def test_with_little_or_nothing_to_compare_nothing_is_wrong(count):
    truth = market(14, 50)
    got = align(truth.take(slice(0, count)), truth)
    assert got.matched == count
    empty = truth.take(slice(0, 0))
    assert missing(align(truth, empty)) == []
    assert align(empty, empty).matched == 0


def test_a_feed_of_another_market_is_never_the_measure_of_a_repair():
    other = market(15, 2_000)
    other.columns["price"][:] += 500.0
    got = align(other, market(16, 2_000))
    assert got.matched == 0
    assert plan_repairs(got, market(16, 2_000), LATER_US) is None


def scid_batch(pair):
    raw = np.frombuffer(b"".join(pair.scid), RECORD)
    return decode(raw, Naming("ES", "ESH24", 100), LATER_US).batch


def test_trades_told_in_parts_are_compared_whole_and_repaired_in_all_their_parts():
    pair = make_pair(21, PairOptions(events=3_000, bundle_every=2))
    reference = scid_batch(pair)
    prints = whole_trades(reference)
    assert prints.size.tolist() == [p.size for p in pair.prints]
    assert prints.ts_us.tolist() == [p.ts_us for p in pair.prints]
    columns = {"ts_event": prints.ts_us, "ts_recv": prints.ts_us, "price": prints.price}
    columns |= {"size": prints.size, "side": prints.side}
    feed = TickBatch("trades", "ES", "ESH24", "dxlink", columns)
    keep = np.ones(len(prints), np.bool_)
    keep[40:50] = False
    got = align(feed.take(keep), reference)
    repairs = plan_repairs(got, reference, LATER_US)
    assert repairs.rows == prints.rows[40:50].sum() > 10
    assert volume(feed.take(keep)) + volume(repairs) == volume(reference)


def test_where_one_witness_tells_single_fills_runs_are_compared_instead():
    truth = market(22, 2_000)
    truth = truth.take(truth.columns["size"] > 1)
    twice = np.repeat(np.arange(truth.rows), 2)
    fills = {name: column[twice] for name, column in truth.columns.items()}
    fills["size"] = np.where(np.arange(len(twice)) % 2, 1, fills["size"] - 1)
    feed = heard(TickBatch("trades", "ES", "ESH24", "dxlink", fills), 23)
    got = align(feed, truth)
    assert len(got.reference) == len(merge_runs(whole_trades(truth)))
    assert missing(got) == []


def test_what_lies_before_the_first_or_after_the_last_common_trade_is_not_proven_missing():
    truth = market(12, 300)
    feed = heard(truth, 13, lost=[slice(0, 20), slice(100, 105), slice(280, 300)])
    repairs = plan_repairs(align(feed, truth), truth, int(truth.columns["ts_event"][-1]) * 2)
    assert repairs.rows == 5
