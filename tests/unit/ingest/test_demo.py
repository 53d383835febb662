import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from core.clock import US_PER_S
from core.schema import GEX, TABLES
from ingest import guard
from ingest.demo import LISTINGS, DemoMarket
from ingest.demo_gex import DemoGamma
from ingest.demo_path import Path

START_US = int(datetime(2026, 11, 20, 15, tzinfo=UTC).timestamp()) * US_PER_S
TICKS = {listing.symbol: listing.ticks_per_point for listing in LISTINGS}


def market(seed=7, rate=1_000, start_us=START_US):
    return DemoMarket(seed, rate, start_us)


def run(demo, *, seconds=5, step_us=US_PER_S, start_us=START_US):
    """All batches of some seconds, asked for step by step."""
    batches = []
    for now_us in range(start_us + step_us, start_us + seconds * US_PER_S + 1, step_us):
        batches += demo.until(now_us)
    return batches


def columns_of(batches, table, symbol):
    """One symbol's columns over all batches."""
    parts = [batch.columns for batch in batches if (batch.table, batch.symbol) == (table, symbol)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def rows_of(batches, table):
    return sum(batch.rows for batch in batches if batch.table == table)


@pytest.fixture(scope="module")
def busy():
    """Twenty seconds at a rate where every symbol trades often."""
    return run(market(rate=5_000), seconds=20)


def test_all_six_symbols_trade_and_all_but_the_index_are_quoted(busy):
    symbols = {listing.symbol for listing in LISTINGS}
    assert symbols == {"MES", "MNQ", "NQ", "SPY", "QQQ", "VIX"}
    assert {batch.symbol for batch in busy if batch.table == "trades"} == symbols
    assert {batch.symbol for batch in busy if batch.table == "quotes"} == symbols - {"VIX"}
    assert {batch.source for batch in busy} == {"demo"}


def test_the_same_seed_gives_the_same_tape_however_it_is_asked_for():
    whole, often = run(market(seed=3), seconds=4), run(market(seed=3), seconds=4, step_us=7_000)
    end_us = START_US + 3_900_000
    for symbol in TICKS:
        one, other = columns_of(whole, "trades", symbol), columns_of(often, "trades", symbol)
        for name in set(one) - {"ts_recv"}:
            mine = one[name][one["ts_event"] < end_us]
            assert mine.tobytes() == other[name][other["ts_event"] < end_us].tobytes()


def test_another_start_moves_the_times_and_nothing_else():
    later_us = START_US + 86_400 * US_PER_S + 123
    one, other = run(market()), run(market(start_us=later_us), start_us=later_us)
    mine, theirs = columns_of(one, "trades", "NQ"), columns_of(other, "trades", "NQ")
    assert mine["price"].tolist() == theirs["price"].tolist()
    assert (theirs["ts_event"] - mine["ts_event"]).tolist() == [later_us - START_US] * len(
        mine["price"]
    )


def test_another_seed_gives_another_tape():
    one, other = run(market(seed=1)), run(market(seed=2))
    mine, theirs = columns_of(one, "trades", "NQ"), columns_of(other, "trades", "NQ")
    assert mine["price"].tolist()[:20] != theirs["price"].tolist()[:20]


@pytest.mark.parametrize("rate", [0.5, 3, 1_000, 40_000])
def test_the_rate_is_kept_in_every_second(rate):
    demo = market(rate=rate)
    demo.until(START_US)
    for second in range(1, 5):
        trades = rows_of(demo.until(START_US + second * US_PER_S - 1), "trades")
        assert trades == int(rate * second) - int(rate * (second - 1))


def test_there_is_a_quote_for_about_every_second_trade(busy):
    assert 0.4 < rows_of(busy, "quotes") / rows_of(busy, "trades") < 0.55


def test_every_tick_passes_the_guard_and_has_the_types_of_its_table(busy):
    now_us = START_US + 20 * US_PER_S
    for batch in busy:
        assert guard.check(batch, now_us)[1] == []
        for name, column in batch.columns.items():
            kind = TABLES[batch.table].schema.field(name).type
            expected = pa.int64() if pa.types.is_timestamp(kind) else kind
            assert pa.from_numpy_dtype(column.dtype) == expected


def test_nothing_is_told_before_it_happened_or_out_of_order(busy):
    for symbol in TICKS:
        columns = columns_of(busy, "trades", symbol)
        assert (columns["ts_event"] <= columns["ts_recv"]).all()
        exact = columns["ts_event"] * 1_000 + columns["ts_ns"]
        assert (np.diff(exact) >= 0).all()
        assert np.diff(columns["source_seq"]).tolist() == [1] * (len(exact) - 1)


def test_times_use_the_whole_range_below_a_microsecond(busy):
    assert len(set(columns_of(busy, "trades", "NQ")["ts_ns"].tolist())) > 900


def test_prices_lie_on_their_grid(busy):
    for symbol, ticks_per_point in TICKS.items():
        price = columns_of(busy, "trades", symbol)["price"]
        ticks = np.rint(price * ticks_per_point)
        assert (ticks / ticks_per_point == price).all()


def test_the_aggressor_pays_the_spread(busy):
    for symbol in set(TICKS) - {"VIX"}:
        columns = columns_of(busy, "trades", symbol)
        paid = np.where(columns["side"] > 0, columns["ask"], columns["bid"])
        assert (columns["price"] == paid).all()
        assert (columns["bid"] < columns["ask"]).all()
        assert set(columns["side"].tolist()) == {-1, 1}
        assert (columns["size"] >= 1).all()


def test_the_index_has_neither_size_nor_side_nor_quote(busy):
    assert not {"size", "side", "bid", "ask"} & set(columns_of(busy, "trades", "VIX"))


def test_the_nasdaq_listings_move_as_one(busy):
    level = {symbol: columns_of(busy, "trades", symbol)["price"][-1] for symbol in TICKS}
    assert abs(level["MNQ"] - level["NQ"]) < 3
    assert abs(level["QQQ"] * 25_060 / 609 - level["NQ"]) < 5
    assert abs(level["SPY"] * 6_815 / 679 - level["MES"]) < 2


def test_trading_comes_in_bursts():
    times = columns_of(run(market(rate=2_000), seconds=20), "trades", "MNQ")["ts_event"]
    counts = np.bincount((times - START_US) // 50_000, minlength=400)
    assert counts.var() > 3 * counts.mean()


def test_a_long_demo_stays_near_where_it_began():
    path = Path(seed=7, rate_per_s=1, shares=(1.0,))
    moves = np.array([path.plan().factors[0] for _ in range(3_600)])
    assert abs(moves[:, :2]).max() < 0.05
    assert moves[:, 0].std() > 0.0005
    assert np.corrcoef(moves[:, 0], moves[:, 1])[0, 1] > 0.8
    assert np.corrcoef(moves[:, 1], moves[:, 2])[0, 1] < -0.8


def test_futures_carry_the_front_contract_of_the_day():
    contracts = {batch.symbol: batch.contract for batch in run(market(), seconds=1)}
    assert contracts["MNQ"] == "MNQZ26"
    assert contracts["SPY"] == "SPY"
    december_us = START_US + 25 * 86_400 * US_PER_S
    later = run(market(start_us=december_us), seconds=1, start_us=december_us)
    assert {b.contract for b in later if b.symbol == "MES"} == {"MESH27"}


def test_after_a_long_pause_the_market_has_stood_still_and_says_for_how_long():
    demo = market(rate=1_000)
    demo.until(START_US + US_PER_S)
    batches = demo.until(START_US + 3_600 * US_PER_S)
    assert 4_000 <= rows_of(batches, "trades") <= 7_000
    assert 3_590 * US_PER_S < demo.skipped_us < 3_600 * US_PER_S


def test_a_clock_that_steps_back_gives_nothing_twice():
    demo = market()
    first = columns_of(demo.until(START_US + US_PER_S), "trades", "NQ")["source_seq"]
    assert demo.until(START_US) == []
    more = columns_of(demo.until(START_US + 2 * US_PER_S), "trades", "NQ")["source_seq"]
    assert more[0] == first[-1] + 1


def test_one_core_makes_a_million_ticks_a_second_and_more():
    demo = market(rate=100_000)
    clock_ns = time.process_time_ns()
    trades = rows_of(run(demo, seconds=2, step_us=50_000), "trades")
    seconds = (time.process_time_ns() - clock_ns) / 1e9
    assert trades / seconds > 1_000_000


def test_gamma_comes_once_a_second_for_each_ticker_as_the_table_wants_it():
    demo = market()
    rows = []
    for now_us in range(START_US, START_US + 3 * US_PER_S, 200_000):
        demo.until(now_us)
        rows += demo.gex_until(now_us)
    assert [row["ticker"] for row in rows] == ["NQ_NDX", "ES_SPX", "SPY"] * 3
    assert sorted({row["ts_event"] for row in rows}) == [START_US + n * US_PER_S for n in range(3)]
    schema = pa.schema([field for field in GEX.plain_schema if field.name != "seq"])
    assert set(rows[0]) == set(schema.names)
    assert pa.RecordBatch.from_pylist(rows, schema=schema).num_rows == 9


def test_a_gamma_snapshot_agrees_with_itself_and_with_the_market():
    demo = market()
    demo.until(START_US)
    snapshot = demo.gex_until(START_US)[0]
    ladder = {level["strike"]: level["gex_vol"] for level in snapshot["strikes"]}
    assert abs(snapshot["spot"] / 25_060 - 1) < 0.01
    assert ladder[snapshot["major_pos_vol"]] == max(ladder.values())
    assert ladder[snapshot["major_neg_vol"]] == min(ladder.values())
    assert snapshot["sum_gex_vol"] == pytest.approx(sum(ladder.values()), abs=0.1)
    assert snapshot["net_gex"] == snapshot["sum_gex_vol"]
    assert min(ladder) < snapshot["zero_gamma"] < max(ladder)
    assert [window["minutes"] for window in snapshot["change_windows"]] == [0, 1, 5, 10, 15, 30]
    assert {len(level["priors"]) for level in snapshot["strikes"]} == {5}


def test_the_windows_of_gamma_look_back_as_far_as_they_say():
    gamma = DemoGamma(1, "SPY", 679.0, 1.0, 0.0)
    rows = [gamma.snapshot(second * US_PER_S, 0, 679.0) for second in range(61)]
    now, before = rows[-1], rows[0]
    window = now["change_windows"][1]
    place = [level["strike"] for level in now["strikes"]].index(window["strike"])
    change = now["strikes"][place]["gex_vol"] - before["strikes"][place]["gex_vol"]
    assert window["value"] == pytest.approx(change, abs=0.002)
    assert now["strikes"][place]["priors"][0] == before["strikes"][place]["gex_vol"]
