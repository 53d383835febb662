from itertools import accumulate

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import US_PER_S
from core.schema import TEXT, TRADES
from storage.rollup import bars_of
from webui.live_bars import MINUTE_US, SECONDS_KEPT, LiveBars, TradeRows, widen
from webui.views_live import packed

START_US = 1_795_185_000 * US_PER_S


def rows_of(rows, first_seq=1):
    """Columns of (offset us, price, size, valid, kind code) in the order they came."""
    return TradeRows(
        np.array([START_US + row[0] for row in rows], np.int64),
        np.array([float(row[1]) for row in rows]),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[4] for row in rows], np.int16),
        np.array([row[3] for row in rows], np.uint8),
        first_seq + len(rows) - 1,
    )


def table_of(rows):
    """The same as rows of table trades; what bars are not made of is zero."""
    found = rows_of(rows)
    columns = {
        "ts_event": pa.array(found.ts_us).cast(pa.timestamp("us")),
        "price": pa.array(found.price),
        "size": pa.array(found.size),
        "valid": pa.array(found.valid.astype(bool)),
        "seq": pa.array(np.arange(1, len(rows) + 1)),
        "kind": pa.array(["new"] * len(rows)).dictionary_encode().cast(TEXT),
    }
    zeros = pa.array([0] * len(rows))
    for field in TRADES.schema:
        text = pa.array([""] * len(rows)).dictionary_encode()
        filler = text if field.type == TEXT else zeros
        columns.setdefault(field.name, filler.cast(field.type))
    return pa.table(columns).select(TRADES.schema.names).cast(TRADES.schema)


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
    taken = bars.take([rows_of(part, 1 + i * cut) for i, part in enumerate(parts) if part])
    assert taken == len(rows)
    for found in (bars.seconds, bars.minutes):
        expected = bars_of(table_of(rows), found.width_us).to_pylist()
        shown = found.last(len(found))
        assert [(b.open, b.high, b.low, b.close, b.volume, b.count) for b in shown] == [
            (e["open"], e["high"], e["low"], e["close"], e["volume"], e["count"]) for e in expected
        ]


def test_a_late_trade_changes_no_close_of_a_later_one():
    bars = LiveBars()
    bars.take([rows_of([(30, 10.0, 1, True, 0)]), rows_of([(20, 5.0, 1, True, 0)], 2)])
    (bar,) = bars.seconds.last(2)
    assert (bar.open, bar.close, bar.low) == (5.0, 10.0, 5.0)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_revision_marks_its_minute_to_be_made_anew(kind):
    bars = LiveBars()
    bars.take([rows_of([(30, 10.0, 1, True, kind)])])
    assert bars.revised == {START_US // MINUTE_US * MINUTE_US}


def test_memory_of_seconds_has_an_end():
    bars = LiveBars()
    bars.take([rows_of([(i * US_PER_S, 1.0, 1, True, 0) for i in range(SECONDS_KEPT * 2)])])
    assert len(bars.seconds) == SECONDS_KEPT
    (newest,) = bars.seconds.last(1)
    assert newest.start_us == START_US + (SECONDS_KEPT * 2 - 1) * US_PER_S


def test_rates_count_whole_seconds_and_empty_ones_as_zero():
    bars = LiveBars()
    rows = [(0, 1.0, 1, True, 0)] * 3 + [(2 * US_PER_S, 1.0, 1, True, 0)]
    bars.take([rows_of(rows)])
    assert bars.per_second(START_US // US_PER_S + 3, 4) == [0, 3, 0, 1]


def test_wider_bars_hold_what_the_narrow_ones_held():
    bars = LiveBars()
    bars.take([rows_of([(i * 30 * US_PER_S, i + 1.0, 2, True, 0) for i in range(20)])])
    wide = widen(bars.minutes.last(100), 5 * MINUTE_US)
    assert sum(bar.volume for bar in wide) == 40
    assert wide[0].open == 1.0
    assert wide[-1].close == 20.0


@pytest.mark.parametrize(
    ("prices", "scale"), [([24_916.25, 24_915.5], 100), ([0.0625, 3.5], 10_000), ([0.1234567], 0)]
)
def test_bars_in_a_page_are_told_by_their_steps_and_lose_nothing(prices, scale):
    columns = dict.fromkeys("ohlc", prices)
    columns |= {"t": [60 * i + 1_700_000_000 for i in range(len(prices))], "v": [3] * len(prices)}
    found = packed(columns)
    assert found.pop("scale", [0]) == [scale]
    if scale:
        for name in "tohlc":
            steps = accumulate(found[name])
            found[name] = [step / (1 if name == "t" else scale) for step in steps]
    assert found == columns
