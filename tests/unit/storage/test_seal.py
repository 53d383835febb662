import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.clock import HOUR_US, US_PER_S
from core.errors import SealFailed
from core.schema import TABLES
from storage.partition import GROUP_ROWS, read_proven
from storage.seal import Sealer, SealJob
from tests.fakes.lake_rows import (
    HOUR_14_US,
    Trade,
    batch,
    hours_later,
    lake_bars,
    lake_seqs,
    plain_bars,
    tape,
)


@pytest.fixture
def sealer(tmp_path, manual_clock):
    return Sealer(str(tmp_path), manual_clock)


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*.parquet"))


def test_a_seal_writes_one_sorted_file_an_hour_named_by_hour_and_seqs(sealer, tmp_path):
    rows = tape(100) + hours_later(tape(50), 1, 201)
    mixed = list(rows)
    random.Random(3).shuffle(mixed)
    added = sealer.seal("trades", "MNQ", [batch(mixed[:70]), batch(mixed[70:])], 400)
    assert names(tmp_path / "trades") == [
        "symbol=MNQ/date=2026-11-20/14-000000000001-000000000199.parquet",
        "symbol=MNQ/date=2026-11-20/15-000000000201-000000000299.parquet",
    ]
    assert [p.rows for p in added] == [100, 50]
    assert sealer.manifest("trades").snapshot().pruned() == added
    assert sealer.manifest("trades").snapshot().sealed_seq["MNQ"] == 400
    found = pa.Table.from_batches(read_proven(added[0].path))
    assert found["seq"].to_pylist() == [row.seq for row in tape(100)]
    assert found.column_names == [n for n in TABLES["trades"].schema.names if n != "symbol"]


def test_sealing_the_same_rows_again_adds_nothing(sealer, tmp_path):
    rows = [batch(tape(100))]
    assert len(sealer.seal("trades", "MNQ", rows, 200)) == 1
    version = sealer.manifest("trades").snapshot().version
    assert sealer.seal("trades", "MNQ", rows, 200) == []
    assert sealer.manifest("trades").refresh().version == version
    (more,) = sealer.seal("trades", "MNQ", [batch(tape(120))], 300)
    assert (more.first_seq, more.last_seq, more.rows) == (201, 239, 20)
    assert lake_seqs(tmp_path) == [row.seq for row in tape(120)]


def test_rows_after_hi_stay_hot(sealer, tmp_path):
    sealer.seal("trades", "MNQ", [batch(tape(100))], 99)
    assert lake_seqs(tmp_path) == [row.seq for row in tape(50)]


def test_a_late_row_becomes_a_small_file_of_its_own_hour(sealer, tmp_path):
    sealer.seal("trades", "MNQ", [batch(tape(10))], 20)
    late = Trade(seq=31, ts_us=HOUR_14_US + 5, price=1.0, size=9)
    now = hours_later(tape(3), 2, 33)
    sealer.seal("trades", "MNQ", [batch([*now, late])], 40)
    assert "symbol=MNQ/date=2026-11-20/14-000000000031-000000000031.parquet" in names(
        tmp_path / "trades"
    )
    for table, width_us in (("bars_1s", US_PER_S), ("bars_1m", 60 * US_PER_S)):
        assert lake_bars(tmp_path, table) == plain_bars([*tape(10), late, *now], width_us)


def test_several_symbols_share_one_version(sealer, tmp_path):
    jobs = [SealJob(s, [batch(tape(10), s)], 20 + i) for i, s in enumerate(("MNQ", "SPY"))]
    before = sealer.manifest("trades").refresh().version
    assert len(sealer.seal_many("trades", jobs)) == 2
    snapshot = sealer.manifest("trades").snapshot()
    assert snapshot.version == max(before, 0) + 1
    assert dict(snapshot.sealed_seq) == {"MNQ": 20, "SPY": 21}


def test_a_correction_in_another_hour_moves_the_bar_it_corrects(sealer, tmp_path):
    first = tape(10)
    sealer.seal("trades", "MNQ", [batch(first)], 20)
    later = [
        Trade(seq=31, ts_us=HOUR_14_US + HOUR_US, price=7.0, source_seq=3, kind="correction"),
        Trade(seq=32, ts_us=HOUR_14_US + HOUR_US, source_seq=5, kind="cancel", valid=False, size=0),
    ]
    sealer.seal("trades", "MNQ", [batch(later)], 40)
    assert lake_bars(tmp_path, "bars_1s") == plain_bars([*first, *later], US_PER_S)
    last = [Trade(seq=41, ts_us=HOUR_14_US + 2 * HOUR_US, source_seq=3, kind="cancel")]
    sealer.seal("trades", "MNQ", [batch(last)], 50)
    assert lake_bars(tmp_path, "bars_1m") == plain_bars([*first, *later, *last], 60 * US_PER_S)


def test_an_hour_whose_trades_are_all_cancelled_has_no_bars(sealer, tmp_path):
    rows = [Trade(seq=1, ts_us=HOUR_14_US, source_seq=3)]
    sealer.seal("trades", "MNQ", [batch(rows)], 1)
    cancel = [Trade(seq=2, ts_us=HOUR_14_US, source_seq=3, kind="cancel", valid=False)]
    sealer.seal("trades", "MNQ", [batch(cancel)], 2)
    assert sealer.manifest("bars_1s").snapshot().pruned() == []
    assert sealer.manifest("bars_1s").snapshot().sealed_seq["MNQ"] == 2


def test_encodings_are_the_small_ones(sealer):
    (added,) = sealer.seal("trades", "MNQ", [batch(tape(5_000))], 10_000)
    group = pq.read_metadata(added.path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    for name in ("ts_event", "ts_recv", "seq"):
        assert columns[name].encodings == ("RLE", "DELTA_BINARY_PACKED"), name  # RLE: nulls
    for name in ("price", "bid", "ask", "size", "source", "kind"):
        assert "RLE_DICTIONARY" in columns[name].encodings, name


def test_row_groups_have_their_exact_size(sealer):
    rows = pa.concat_batches([batch(tape(30_000, 1 + 60_000 * i, step_us=1)) for i in range(5)])
    start = HOUR_14_US + pa.array(range(rows.num_rows), pa.int64()).to_numpy()
    column = pa.array(start).cast(pa.timestamp("us"))
    at = rows.schema.get_field_index("ts_event")
    rows = rows.set_column(at, rows.schema.field(at), column)
    slices = [rows.slice(i, 16_384) for i in range(0, rows.num_rows, 16_384)]
    (added,) = sealer.seal("trades", "MNQ", slices, 300_000)
    told = pq.read_metadata(added.path)
    assert [told.row_group(i).num_rows for i in range(told.num_row_groups)] == [
        GROUP_ROWS,
        150_000 - GROUP_ROWS,
    ]


def test_a_seal_that_finds_no_room_leaves_everything_as_it_was(tmp_path, manual_clock):
    def fill(name):
        if name == "rename":
            raise OSError(28, "No space left on device")

    with pytest.raises(SealFailed, match="No space"):
        Sealer(str(tmp_path), manual_clock, step=fill).seal("trades", "MNQ", [batch(tape(9))], 9)
    sealer = Sealer(str(tmp_path), manual_clock)
    assert sealer.manifest("trades").refresh().version == -1
    sealer.recover()
    assert [p for p in Path(tmp_path).rglob("*") if p.suffix in (".new", ".parquet")] == []


def test_a_file_that_reads_back_differently_is_never_listed(tmp_path, manual_clock):
    def spoil(name):
        if name == "read_back":
            (path,) = (tmp_path / "trades").rglob("*.parquet")
            spoilt = bytearray(path.read_bytes())
            spoilt[200] ^= 1
            path.write_bytes(spoilt)

    with pytest.raises(SealFailed):
        Sealer(str(tmp_path), manual_clock, step=spoil).seal(
            "trades", "MNQ", [batch(tape(99))], 999
        )
    assert Sealer(str(tmp_path), manual_clock).manifest("trades").refresh().version == -1


def value(kind, i):
    """Something of an Arrow type, different from row to row."""
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        count = kind.list_size if pa.types.is_fixed_size_list(kind) else i % 4
        return [value(kind.value_type, i + k) for k in range(count)]
    if pa.types.is_struct(kind):
        return {field.name: value(field.type, i) for field in kind}
    makers = (
        (pa.types.is_dictionary, lambda: f"word {i % 3}"),
        (pa.types.is_string, lambda: f"text {i % 30}"),
        (pa.types.is_binary, lambda: b"\x00raw %d" % i),
        (pa.types.is_timestamp, lambda: HOUR_14_US + i * 1_000),
        (pa.types.is_boolean, lambda: i % 2 == 0),
        (pa.types.is_floating, lambda: i / 4),
        (pa.types.is_integer, lambda: i % 100),
    )
    return next(make() for is_kind, make in makers if is_kind(kind))


def odd_rows(table, count):
    arrays = []
    for field in TABLES[table].schema:
        values = [
            None if field.nullable and i % 5 == 0 else value(field.type, i) for i in range(count)
        ]
        if field.name == "seq":
            values = list(range(1, count + 1))
        if field.name == "symbol" and TABLES[table].by_symbol:
            values = ["A/B %é"] * count
        plain = pa.int64() if pa.types.is_timestamp(field.type) else field.type
        if pa.types.is_dictionary(field.type):
            arrays.append(pa.array(values).dictionary_encode().cast(field.type))
        else:
            arrays.append(pa.array(values, plain).cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=TABLES[table].schema)


SLOW = ("book", "gex", "gaps", "rejects", "queries")


@pytest.mark.parametrize("table", SLOW)
def test_tables_with_nested_columns_come_back_as_they_were(sealer, table):
    rows = odd_rows(table, 9_000)
    symbol = "A/B %é" if TABLES[table].by_symbol else ""
    (added,) = sealer.seal(table, symbol, [rows], 9_000)
    found = pa.Table.from_batches(read_proven(added.path))
    for name in found.column_names:
        kind = TABLES[table].plain_schema.field(name).type
        expected = rows.column(name).cast(kind).to_pylist()
        assert found[name].to_pylist() == expected, name
    assert sealer.manifest(table).snapshot().sealed_seq[symbol] == 9_000


def test_a_corrupt_partition_keeps_its_bars_back_and_nobody_elses(sealer, tmp_path):
    (added,) = sealer.seal("trades", "MNQ", [batch(tape(500))], 1_000)
    spoilt = bytearray(Path(added.path).read_bytes())
    spoilt[100:110] = b"\xff" * 10
    Path(added.path).write_bytes(spoilt)
    jobs = [SealJob(s, [batch(tape(9, 2_001), s)], 3_000) for s in ("MNQ", "SPY")]
    assert len(sealer.seal_many("trades", jobs)) == 2
    assert dict(sealer.manifest("bars_1s").refresh().sealed_seq) == {"MNQ": 1_000, "SPY": 3_000}
