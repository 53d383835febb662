import numpy as np
import orjson
import pytest

from core.batch import TickBatch
from ingest import guard

NOW_US = 1_795_000_000_000_000


def trades(rows=3, symbol="MNQ", **changed):
    columns = {
        "ts_event": np.full(rows, NOW_US - 1_000),
        "ts_recv": np.full(rows, NOW_US),
        "ts_ns": np.zeros(rows, np.int16),
        "price": np.full(rows, 20_000.25),
        "size": np.ones(rows, np.int64),
        "side": np.ones(rows, np.int8),
        "bid": np.full(rows, 20_000.0),
        "ask": np.full(rows, 20_000.25),
    } | changed
    return TickBatch("trades", symbol, "MNQZ26", "demo", columns)


def with_second(column, value, **more):
    batch = trades(**more)
    changed = batch.columns[column].copy()
    changed[1] = value
    return TickBatch("trades", "MNQ", "MNQZ26", "demo", {**batch.columns, column: changed})


def depth(**changed):
    columns = {
        "ts_event": np.full(2, NOW_US),
        "ts_recv": np.full(2, NOW_US),
        "price": np.array([0.0, 100.0]),
        "side": np.array([0, 1], np.int8),
        "command": np.array(["clear", "add_bid"], object),
        "size": np.array([0, 5]),
        "orders": np.array([0, 2], np.int32),
    } | changed
    return TickBatch("depth", "ES", "ESZ26", "depth", columns)


def test_a_batch_without_fault_comes_back_as_it_is():
    batch = trades()
    good, rejects = guard.check(batch, NOW_US)
    assert good is batch
    assert rejects == []


def test_an_empty_batch_passes():
    batch = trades(rows=0)
    assert guard.check(batch, NOW_US) == (batch, [])


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("price", np.nan, guard.NAN),
        ("price", np.inf, guard.INFINITE),
        ("price", -np.inf, guard.INFINITE),
        ("price", 0.0, guard.NOT_POSITIVE),
        ("price", -1.0, guard.NOT_POSITIVE),
        ("size", -1, "size is negative"),
        ("side", 2, "side is not -1, 0 or +1"),
        ("side", -128, "side is not -1, 0 or +1"),
        ("ts_ns", 1000, "ts_ns is not in 0..999"),
        ("ts_ns", -1, "ts_ns is not in 0..999"),
        ("ts_event", guard.TIME_US_MIN - 1, guard.OLD),
        ("ts_event", -(2**63), guard.OLD),
        ("ts_event", NOW_US + guard.AHEAD_US_MAX + 1, guard.AHEAD),
        ("ts_event", 2**63 - 1, guard.AHEAD),
        ("ts_recv", 0, guard.RECV),
        ("ts_recv", 2**63 - 1, guard.RECV),
        ("bid", 0.0, "bid is neither above zero nor unknown"),
        ("ask", np.inf, "ask is neither above zero nor unknown"),
        ("ask", -np.inf, "ask is neither above zero nor unknown"),
    ],
)
def test_one_impossible_row_is_rejected_with_its_reason_and_the_others_stay(column, value, reason):
    good, rejects = guard.check(with_second(column, value), NOW_US)
    assert good.rows == 2
    assert [reject.reason for reject in rejects] == [reason]


def test_an_event_far_ahead_of_its_own_arrival_is_rejected_although_the_clock_has_moved_on():
    recv = NOW_US - 3_600_000_000
    batch = trades(ts_recv=np.full(3, recv), ts_event=np.full(3, NOW_US))
    good, rejects = guard.check(batch, NOW_US)
    assert good.rows == 0
    assert {reject.reason for reject in rejects} == {guard.AHEAD}


def test_an_event_exactly_five_minutes_ahead_passes():
    good, _ = guard.check(with_second("ts_event", NOW_US + guard.AHEAD_US_MAX), NOW_US)
    assert good.rows == 3


@pytest.mark.parametrize(
    "columns",
    [
        {"bid": np.full(3, np.nan), "ask": np.full(3, np.nan)},
        {"bid": np.array([np.nan, 1.0, 2.0])},
        {"bid": np.full(3, 20_001.0), "ask": np.full(3, 20_000.0)},
        {"size": np.zeros(3, np.int64)},
        {"kind": np.array(["new", "correction", "cancel"], object)},
    ],
    ids=["no quote", "half a quote", "crossed quote", "no size", "revisions"],
)
def test_unusual_but_possible_rows_pass(columns):
    good, rejects = guard.check(trades(**columns), NOW_US)
    assert good.rows == 3
    assert rejects == []


def test_quotes_of_which_nothing_is_known_pass_and_infinite_ones_do_not():
    unknown = np.full(2, np.nan)
    columns = {"ts_event": np.full(2, NOW_US), "ts_recv": np.full(2, NOW_US), "bid": unknown}
    quotes = TickBatch("quotes", "SPY", "SPY", "demo", {**columns, "ask": unknown})
    assert guard.check(quotes, NOW_US)[1] == []
    quotes = TickBatch("quotes", "SPY", "SPY", "demo", {**columns, "ask": np.array([np.inf, 1.0])})
    assert len(guard.check(quotes, NOW_US)[1]) == 1


def test_words_outside_their_enumeration_are_rejected():
    kinds = np.array(["new", "maybe", "cancel"], object)
    _, rejects = guard.check(trades(kind=kinds), NOW_US)
    assert [reject.reason for reject in rejects] == [
        "kind is not one of new, correction, cancel",
    ]


def test_a_batch_without_symbol_is_rejected_whole():
    good, rejects = guard.check(trades(symbol=""), NOW_US)
    assert good.rows == 0
    assert {reject.reason for reject in rejects} == {guard.SYMBOL}


@pytest.mark.parametrize("symbol", ["mnq", "A B", "\u00c9", "../X", "X" * 33, "MNQ\n", "*"])
def test_a_symbol_no_ticket_could_name_is_rejected(symbol):
    for rows in (slice(0, 1), slice(None)):
        good, rejects = guard.check(trades(symbol=symbol).take(rows), NOW_US)
        assert good.rows == 0
        assert {reject.reason for reject in rejects} == {guard.NAME}


def test_depth_rows_that_clear_the_book_need_no_price_and_others_do():
    assert guard.check(depth(), NOW_US)[1] == []
    _, rejects = guard.check(depth(price=np.zeros(2)), NOW_US)
    assert [reject.reason for reject in rejects] == [guard.NOT_POSITIVE]


def test_negative_order_counts_are_rejected():
    _, rejects = guard.check(depth(orders=np.array([-1, 0], np.int32)), NOW_US)
    assert [reject.reason for reject in rejects] == ["orders is negative"]


def test_a_reject_carries_the_whole_row_as_json_and_keeps_what_json_cannot_hold_as_words():
    _, (reject,) = guard.check(with_second("price", np.nan), NOW_US)
    assert orjson.loads(reject.raw) == {
        "table": "trades",
        "symbol": "MNQ",
        "contract": "MNQZ26",
        "ts_event": NOW_US - 1_000,
        "ts_recv": NOW_US,
        "ts_ns": 0,
        "price": "nan",
        "size": 1,
        "side": 1,
        "bid": 20_000.0,
        "ask": 20_000.25,
    }
    assert (reject.table, reject.symbol, reject.source) == ("trades", "MNQ", "demo")
    assert (reject.ts_recv, reject.ts_event) == (NOW_US, NOW_US - 1_000)


def test_a_reject_never_carries_an_impossible_time_of_its_own():
    _, (reject,) = guard.check(with_second("ts_event", 2**63 - 1), NOW_US)
    assert reject.ts_event is None
    _, (reject,) = guard.check(with_second("ts_recv", -5), NOW_US)
    assert reject.ts_recv == NOW_US


def test_the_first_broken_rule_gives_the_reason():
    _, (reject,) = guard.check(with_second("price", np.nan, size=np.full(3, 1)), NOW_US)
    assert reject.reason == guard.NAN
    _, rejects = guard.check(trades(price=np.zeros(3), size=np.full(3, -1)), NOW_US)
    assert {reject.reason for reject in rejects} == {guard.NOT_POSITIVE}


def test_the_bytes_of_a_reject_have_a_limit():
    words = np.array(["x" * 100_000] * 3, object)
    _, rejects = guard.check(trades(conditions=words, price=np.zeros(3)), NOW_US)
    assert {len(reject.raw) for reject in rejects} == {guard.RAW_BYTES_MAX}
