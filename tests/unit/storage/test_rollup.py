import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import US_PER_S
from core.schema import BARS_1S, TABLES
from storage.rollup import WIDTHS_US, bars_of, merge
from storage.standing import standing
from tests.fakes.lake_rows import HOUR_14_US, Trade, bars_as_plain, batch, plain_bars, tape

ROWS = st.lists(
    st.builds(
        dict,
        ts_us=st.integers(0, 150_000_000).map(lambda t: HOUR_14_US + t // 500_000 * 500_000),
        ns=st.integers(0, 2),
        price=st.integers(1, 9).map(lambda p: p / 4),
        size=st.integers(0, 3),
        side=st.integers(-1, 1),
        source_seq=st.integers(0, 9),
        kind=st.sampled_from(["new", "new", "new", "correction", "cancel"]),
        valid=st.sampled_from([True, True, True, False]),
        source=st.sampled_from(["dxlink", "@"]),
        contract=st.sampled_from(["MNQZ26", "MNQH27"]),
    ),
    max_size=40,
).map(lambda rows: [Trade(seq=i + 1, **row) for i, row in enumerate(rows)])


def table(*batches):
    return pa.Table.from_batches(batches, TABLES["trades"].schema)


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_bars_are_those_of_the_plain_sum_in_any_order(rows, chance):
    mixed = list(rows)
    chance.shuffle(mixed)
    seconds = bars_of(table(batch(mixed)), US_PER_S)
    minutes = bars_of(table(batch(mixed)), 60 * US_PER_S)
    assert seconds.schema == BARS_1S.schema
    assert bars_as_plain(seconds) == plain_bars(rows, US_PER_S)
    assert bars_as_plain(minutes) == plain_bars(rows, 60 * US_PER_S)
    assert merge(seconds, width_us=60 * US_PER_S) == minutes


@settings(deadline=None)
@given(ROWS, st.lists(st.booleans(), min_size=40, max_size=40))
def test_bars_of_any_two_parts_merge_into_the_bars_of_all(rows, is_left):
    rows = [Trade(**{**row.__dict__, "kind": "new"}) for row in rows]
    left = [row for row, here in zip(rows, is_left, strict=False) if here]
    right = [row for row, here in zip(rows, is_left, strict=False) if not here]
    parts = [bars_of(table(batch(part)), US_PER_S) for part in (left, right)]
    assert merge(*parts) == bars_of(table(batch(rows)), US_PER_S)


def test_bars_of_several_symbols_keep_apart():
    rows = table(batch(tape(30), "SPY"), batch(tape(20), "MNQ"))
    bars = bars_of(rows, US_PER_S)
    assert bars["symbol"].to_pylist() == ["MNQ", "SPY"]
    assert bars["count"].to_pylist() == [20, 30]
    assert merge(bars, bars)["count"].to_pylist() == [40, 60]


def test_vwap_is_unknown_where_nothing_was_traded():
    rows = [Trade(seq=1, ts_us=HOUR_14_US, size=0), Trade(seq=2, ts_us=HOUR_14_US + US_PER_S)]
    assert bars_of(table(batch(rows)), US_PER_S)["vwap"].to_pylist() == [None, 100.0]


def test_no_trades_make_no_bars():
    for width_us in WIDTHS_US.values():
        none = bars_of(table(), width_us)
        assert none.num_rows == merge(none, none).num_rows == 0


def test_a_revision_known_from_elsewhere_counts():
    rows = table(batch([Trade(seq=1, ts_us=HOUR_14_US, source_seq=5)]))
    assert list(standing(rows, {("MNQ", "MNQZ26", "dxlink", 5): 9})) == [False]
    assert list(standing(rows, {("MNQ", "MNQH27", "dxlink", 5): 9})) == [True]
    assert list(standing(rows, {("MNQ", "MNQZ26", "scid", 5): 9})) == [True]
    assert list(standing(rows, {("MNQ", "MNQZ26", "dxlink", 5): 1})) == [True], (
        "only earlier rows are revised"
    )
