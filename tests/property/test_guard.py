"""The guard against a rule-by-rule judge that looks at one row at a time."""

import dataclasses
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import TickBatch
from ingest import guard

NOW_US = 1_795_000_000_000_000
NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e-9, -1.0, 20_000.25, 1e300]),
    st.floats(),
)
TIMES = st.one_of(
    st.sampled_from(
        [
            NOW_US,
            NOW_US + guard.AHEAD_US_MAX,
            NOW_US + guard.AHEAD_US_MAX + 1,
            guard.TIME_US_MIN,
            guard.TIME_US_MIN - 1,
            -(2**63),
            2**63 - 1,
        ]
    ),
    st.integers(NOW_US - 10**9, NOW_US + 10**9),
)
ROW = st.tuples(
    TIMES,
    TIMES,
    st.integers(-2, 1001),
    NUMBERS,
    st.integers(-2, 2**63 - 1),
    st.integers(-128, 127),
    NUMBERS,
    NUMBERS,
    st.sampled_from(["new", "cancel", "correction", "", "NEW"]),
)
GOOD_ROW = st.tuples(
    st.just(NOW_US),
    st.just(NOW_US),
    st.integers(0, 999),
    st.floats(0.01, 1e6),
    st.integers(0, 1000),
    st.integers(-1, 1),
    st.one_of(st.just(math.nan), st.floats(0.01, 1e6)),
    st.floats(0.01, 1e6),
    st.just("new"),
)
NAMES = ("ts_event", "ts_recv", "ts_ns", "price", "size", "side", "bid", "ask", "kind")
TYPES = (
    np.int64,
    np.int64,
    np.int16,
    np.float64,
    np.int64,
    np.int8,
    np.float64,
    np.float64,
    object,
)


def to_batch(rows):
    columns = {
        name: np.array([row[place] for row in rows], kind)
        for place, (name, kind) in enumerate(zip(NAMES, TYPES, strict=True))
    }
    return TickBatch("trades", "MNQ", "MNQZ26", "demo", columns)


def is_possible(row):
    ts_event, ts_recv, ts_ns, price, size, side, bid, ask, kind = row
    ahead_max = NOW_US + guard.AHEAD_US_MAX
    return (
        guard.TIME_US_MIN <= ts_recv <= ahead_max
        and guard.TIME_US_MIN <= ts_event <= min(ts_recv, NOW_US) + guard.AHEAD_US_MAX
        and 0 <= ts_ns <= 999
        and 0 < price < math.inf
        and size >= 0
        and side in {-1, 0, 1}
        and all(math.isnan(quote) or 0 < quote < math.inf for quote in (bid, ask))
        and kind in {"new", "correction", "cancel"}
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(GOOD_ROW, GOOD_ROW, ROW), max_size=12))
def test_rows_in_are_rows_out_plus_rejects_and_the_right_ones_are_out(rows):
    batch = to_batch(rows)
    good, rejects = guard.check(batch, NOW_US)
    assert good.rows + len(rejects) == len(rows)
    expected = to_batch([row for row in rows if is_possible(row)])
    for name, column in expected.columns.items():
        assert good.columns[name].tobytes() == column.tobytes() or column.dtype == object
    assert good.rows == expected.rows
    assert all(reject.reason in guard.REASONS[1:] for reject in rejects)
    assert guard.check(good, NOW_US)[1] == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(GOOD_ROW, GOOD_ROW, GOOD_ROW, ROW), min_size=1, max_size=60))
def test_columns_are_sound_only_where_every_row_is_possible(rows):
    columns = to_batch(rows).columns
    if guard.are_sound(columns, NOW_US, 0):
        assert all(map(is_possible, rows))


def test_good_rows_are_found_sound_together():
    row = (NOW_US, NOW_US, 0, 20_000.25, 1, 1, math.nan, 20_000.5, "new")
    assert guard.are_sound(to_batch([row] * 50).columns, NOW_US, 0)


def test_a_sound_batch_still_needs_a_symbol():
    row = (NOW_US, NOW_US, 0, 20_000.25, 1, 1, math.nan, 20_000.5, "new")
    batch = dataclasses.replace(to_batch([row]), symbol="", is_sound=True)
    good, rejects = guard.check(batch, NOW_US)
    assert good.rows == 0
    assert [reject.reason for reject in rejects] == [guard.SYMBOL]
