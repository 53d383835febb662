import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import US_PER_S
from core.schema import TRADES
from storage.reader import HotSlice
from storage.rollup import bars_of
from webui.live_bars import MINUTE_US, SECONDS_KEPT, LiveBars, widen

START_US = 1_795_185_000 * US_PER_S
KINDS = pa.array(["new", "correction", "cancel"])


def slice_of(rows, first_seq=1):
    """A hot slice of (offset us, price, size, valid, kind code) in the order they came."""
    times = np.array([START_US + row[0] for row in rows], np.int64)
    columns = {
        "ts_event": pa.array(times).cast(pa.timestamp("us")),
        "price": pa.array([float(row[1]) for row in rows]),
        "size": pa.array([row[2] for row in rows], pa.int64()),
        "valid": pa.array([row[3] for row in rows]),
        "seq": pa.array(range(first_seq, first_seq + len(rows)), pa.int64()),
        "kind": pa.DictionaryArray.from_arrays(
            pa.array([row[4] for row in rows], pa.int16()), KINDS
        ),
    }
    arrays = []
    for field in TRADES.schema:
        if field.name in columns:
            arrays.append(columns[field.name])
        elif pa.types.is_dictionary(field.type):
            arrays.append(pa.array(["MNQ"] * len(rows)).dictionary_encode().cast(field.type))
        elif pa.types.is_boolean(field.type):
            arrays.append(pa.array([False] * len(rows)))
        else:
            arrays.append(pa.array([0] * len(rows)).cast(field.type))
    batch = pa.RecordBatch.from_arrays(arrays, schema=TRADES.schema)
    return HotSlice(
        batch,
        bool(np.all(np.diff(times) >= 0)),
        all(row[3] for row in rows),
        int(times.min()),
        int(times.max()),
        first_seq,
        first_seq + len(rows) - 1,
    )


TRADE_ROWS = st.lists(
    st.tuples(
        st.integers(0, 200 * US_PER_S),
        st.integers(1, 1_000).map(lambda n: n / 4),
        st.integers(0, 9),
        st.booleans(),
        st.just(0),
    ),
    min_size=1,
    max_size=60,
)


@given(TRADE_ROWS, st.integers(1, 60))
def test_bars_folded_as_they_come_are_the_bars_of_all_rows(rows, cut):
    rows = sorted(rows)
    bars = LiveBars()
    parts = [rows[:cut], rows[cut:]]
    taken = bars.take([slice_of(part, 1 + i * cut) for i, part in enumerate(parts) if part])
    assert taken == len(rows)
    whole = pa.Table.from_batches([slice_of(rows).batch])
    for width_us, found in ((US_PER_S, bars.seconds), (MINUTE_US, bars.minutes)):
        expected = bars_of(whole, width_us).to_pylist()
        shown = [found[t] for t in sorted(found)]
        assert [(b.open, b.high, b.low, b.close, b.volume, b.count) for b in shown] == [
            (e["open"], e["high"], e["low"], e["close"], e["volume"], e["count"]) for e in expected
        ]


def test_a_late_trade_changes_no_close_of_a_later_one():
    bars = LiveBars()
    bars.take([slice_of([(30, 10.0, 1, True, 0)]), slice_of([(20, 5.0, 1, True, 0)], 2)])
    (bar,) = bars.seconds.values()
    assert (bar.open, bar.close, bar.low) == (5.0, 10.0, 5.0)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_revision_marks_its_minute_to_be_made_anew(kind):
    bars = LiveBars()
    bars.take([slice_of([(30, 10.0, 1, True, kind)])])
    assert bars.revised == {START_US // MINUTE_US * MINUTE_US}


def test_memory_of_seconds_has_an_end():
    bars = LiveBars()
    bars.take([slice_of([(i * US_PER_S, 1.0, 1, True, 0) for i in range(SECONDS_KEPT * 2)])])
    assert len(bars.seconds) == SECONDS_KEPT
    assert (
        bars.last(1, is_minutes=False)[0].start_us == START_US + (SECONDS_KEPT * 2 - 1) * US_PER_S
    )


def test_rates_count_whole_seconds_and_empty_ones_as_zero():
    bars = LiveBars()
    rows = [(0, 1.0, 1, True, 0)] * 3 + [(2 * US_PER_S, 1.0, 1, True, 0)]
    bars.take([slice_of(rows)])
    assert bars.per_second(START_US // US_PER_S + 3, 4) == [0, 3, 0, 1]


def test_wider_bars_hold_what_the_narrow_ones_held():
    bars = LiveBars()
    bars.take([slice_of([(i * 30 * US_PER_S, i + 1.0, 2, True, 0) for i in range(20)])])
    wide = widen(bars.last(100, is_minutes=True), 5 * MINUTE_US)
    assert sum(bar.volume for bar in wide) == 40
    assert wide[0].open == 1.0
    assert wide[-1].close == 20.0
