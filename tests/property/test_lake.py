"""Whatever arrives, in whatever order and slices it is sealed: every row once, bars exact."""

from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import HOUR_US, US_PER_S
from storage.compact import compact
from storage.seal import Sealer
from tests.fakes.lake_rows import HOUR_14_US, Trade, batch, lake_bars, lake_seqs, plain_bars
from tests.fakes.manual_clock import ManualClock

ROW = st.builds(
    dict,
    ts_us=st.tuples(st.integers(0, 2), st.integers(0, 4)).map(
        lambda at: HOUR_14_US + at[0] * HOUR_US + at[1] * 300_000
    ),
    ns=st.integers(0, 1),
    price=st.integers(1, 9).map(lambda price: price / 4),
    size=st.integers(0, 3),
    side=st.integers(-1, 1),
    source_seq=st.integers(0, 6),
    kind=st.sampled_from(["new"] * 6 + ["correction", "cancel"]),
    valid=st.sampled_from([True, True, True, False]),
)


@settings(max_examples=12, deadline=None)
@given(
    rows=st.lists(ROW, min_size=1, max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=2),
    fold_after=st.integers(0, 3),
    chance=st.randoms(use_true_random=False),
)
def test_sealed_rows_and_bars_are_those_of_the_plain_sum(
    tmp_path_factory, rows, cuts, fold_after, chance
):
    lake = tmp_path_factory.mktemp("lake")
    trades = [Trade(seq=i + 1, **row) for i, row in enumerate(rows)]
    sealer = Sealer(str(lake), ManualClock())
    for number, hi in enumerate([*sorted(cuts), len(trades)]):
        # The hot side may hand over rows that are sealed already, and in any order.
        hot = trades[: hi + 3]
        chance.shuffle(hot)
        middle = len(hot) // 2
        sealer.seal("trades", "MNQ", [batch(hot[:middle]), batch(hot[middle:])], hi)
        if number == fold_after:
            for table in ("trades", "bars_1s", "bars_1m"):
                compact(str(lake), table, before_date="2026-11-21", clock=ManualClock())
    assert lake_seqs(lake) == [trade.seq for trade in trades]
    assert lake_bars(lake, "bars_1s") == plain_bars(trades, US_PER_S)
    assert lake_bars(lake, "bars_1m") == plain_bars(trades, 60 * US_PER_S)
