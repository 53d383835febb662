"""Others read the lake without our code: polars through its log, DuckDB and pyarrow its files."""

from datetime import UTC, date, datetime

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from core.clock import US_PER_S
from storage.compact import compact
from storage.seal import Sealer
from tests.fakes.lake_rows import (
    HOUR_14_US,
    batch,
    hours_later,
    lake_bars,
    plain_bars,
    tape,
)

ROWS = tape(60) + hours_later(tape(40), 1, 201) + hours_later(tape(10), 30, 401)
NAIVE_15 = datetime(2026, 11, 20, 15)  # noqa: DTZ001 the lake's times are naive


@pytest.fixture
def lake(tmp_path, manual_clock):
    sealer = Sealer(str(tmp_path), manual_clock)
    sealer.seal("trades", "MNQ", [batch(ROWS)], 500)
    sealer.seal("trades", "SPY", [batch(tape(7, 1_001), "SPY")], 1_100)
    return tmp_path


def test_polars_reads_the_log_and_prunes_by_its_statistics(lake):
    trades = pl.scan_delta(f"{lake}/trades")
    assert trades.select(pl.len()).collect().item() == len(ROWS) + 7
    found = trades.filter(
        (pl.col("symbol") == "MNQ")
        & (pl.col("date") == date(2026, 11, 20))
        & (pl.col("ts_event") >= NAIVE_15)
    ).collect()
    assert found["seq"].sort().to_list() == [row.seq for row in ROWS[60:100]]
    assert found.schema["ts_event"] == pl.Datetime("us")
    assert found.schema["price"] == pl.Float64


def test_duckdb_reads_the_folders(lake):
    found = duckdb.sql(
        "select symbol, count(*), min(ts_event), sum(price * size) "
        f"from read_parquet('{lake}/trades/**/*.parquet', hive_partitioning = true) "
        "group by symbol order by symbol"
    ).fetchall()
    start = datetime.fromtimestamp(HOUR_14_US / US_PER_S, UTC).replace(tzinfo=None)
    notional = sum(row.price * row.size for row in ROWS)
    assert found[0] == ("MNQ", len(ROWS), start, notional)
    assert found[1][:2] == ("SPY", 7)


def test_a_partition_is_an_ordinary_parquet_file(lake):
    path = next((lake / "trades").rglob("14-000000000001-*.parquet"))
    assert pl.read_parquet(path, hive_partitioning=False)["seq"].is_sorted()
    assert pq.read_table(path)["seq"].to_pylist() == [row.seq for row in ROWS[:60]]


def test_rollups_are_tables_like_any_other(lake):
    assert lake_bars(lake, "bars_1s") == plain_bars(ROWS, US_PER_S)
    assert lake_bars(lake, "bars_1m") == plain_bars(ROWS, 60 * US_PER_S)


def test_the_log_says_what_columns_mean_and_how_far_a_symbol_is_sealed(lake):
    table = DeltaTable(f"{lake}/trades")
    fields = {field.name: field for field in table.schema().fields}
    assert fields["price"].metadata == {"meaning": "trade price", "unit": "points"}
    assert table.metadata().partition_columns == ["symbol", "date"]
    assert table.transaction_version("trades/MNQ") == 500


def test_readers_of_an_older_version_still_find_its_files_after_a_fold(lake, manual_clock):
    older = DeltaTable(f"{lake}/trades")
    before = sorted(pl.scan_delta(older).collect()["seq"].to_list())
    assert compact(str(lake), "trades", before_date="2026-11-22", clock=manual_clock)
    assert sorted(pl.scan_delta(older).collect()["seq"].to_list()) == before
    assert sorted(pl.scan_delta(f"{lake}/trades").collect()["seq"].to_list()) == before
