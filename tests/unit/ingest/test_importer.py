import hashlib

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet
import pytest

from core.errors import DiskFull, FeedGarbled
from ingest.importer import ImportOptions, import_file
from tests.fakes.memory_tape import MemoryTape
from tests.fakes.scid_writer import bar, bundle, quote, record
from tests.fakes.scid_writer import scid as scid_bytes

T_US = 1_703_545_200_000_000
NOW_US = T_US + 86_400_000_000


def take(path, tape, now_us=NOW_US, **options):
    """Import in chunks of three records, so that edges are everywhere."""
    how = ImportOptions(chunk_records=3, **options)
    done = import_file(path, sink=tape, existing=tape, now_us=now_us, options=how)
    tape.settle()
    return done


def trades(count, *, first=0):
    return [
        record(T_US + place * 1_000, 480_000 + 25 * (place % 7), 1 + place % 3, side=1)
        for place in range(first, first + count)
    ]


@pytest.fixture
def es(tmp_path):
    """Writes records into a file with a contract's name."""

    def write(*records, name="ESH24_FUT_CME.scid", **about):
        path = tmp_path / name
        path.write_bytes(scid_bytes(*records, **about))
        return path

    return write


def test_a_scid_file_comes_in_whole_with_its_contract_and_counts(es):
    tape = MemoryTape()
    path = es(*trades(10), quote(T_US, 480_000, 480_025), bar(T_US, 1, 1, 1, 1), bytes(40))
    done = take(path, tape)
    assert done.symbols == ("ES",)
    assert (done.rows_read, done.added, done.duplicates, done.rejected) == (13, 10, 0, 0)
    assert done.skipped == {"quotes": 1, "bars": 1, "blanks": 1}
    assert {(b.symbol, b.contract, b.source) for b in tape.batches} == {("ES", "ESH24", "scid")}
    assert tape.column("price")[:2] == [4800.0, 4800.25]
    assert set(tape.column("ts_recv")) == {NOW_US}


def test_the_same_file_again_adds_nothing_and_changes_nothing(es):
    tape = MemoryTape()
    path = es(*trades(10), *bundle(T_US + 99_000, 480_025, [1, 2, 3]), record(T_US, -1.0))
    before = hashlib.sha256(path.read_bytes()).digest()
    first, second = take(path, tape), take(path, tape, now_us=NOW_US + 5)
    assert (first.added, first.rejected) == (13, 1)
    assert (second.added, second.duplicates, second.rejected) == (0, 13, 1)
    assert tape.rows == 13
    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_a_file_that_has_grown_adds_its_new_trades_alone(es):
    tape = MemoryTape()
    take(es(*trades(10)), tape)
    done = take(es(*trades(17)), tape)
    assert (done.added, done.duplicates) == (7, 10)
    assert tape.column("source_seq") == [T_US + place * 1_000 for place in range(17)]


@pytest.mark.parametrize("is_blind", [False, True], ids=["live view", "old view"])
def test_trades_with_one_and_the_same_number_all_stay_once(es, is_blind):
    tape = MemoryTape(is_blind=is_blind)
    same = [record(T_US, 480_000, size) for size in (1, 2, 3, 4, 5)]
    path = es(*trades(2), *same, *trades(2, first=5))
    assert take(path, tape).added == 9
    assert take(path, tape).duplicates == 9
    assert sorted(tape.column("size")) == sorted([1, 2, 1, 2, 3, 4, 5, 3, 1])


@pytest.mark.parametrize("is_blind", [False, True], ids=["live view", "old view"])
def test_a_file_that_goes_back_in_time_loses_and_doubles_nothing(es, is_blind):
    tape = MemoryTape(is_blind=is_blind)
    path = es(*trades(7), *trades(7), *trades(3))
    assert take(path, tape).added == 17
    assert take(path, tape).duplicates == 17
    assert tape.rows == 17


def test_an_import_cut_off_in_the_middle_is_completed_by_the_next(es):
    class FullAfterTwo(MemoryTape):
        def append(self, batch, /):
            if len(self.batches) == 2:
                raise DiskFull("no room")
            super().append(batch)

    tape = FullAfterTwo()
    path = es(*trades(10))
    with pytest.raises(DiskFull):
        take(path, tape)
    whole = MemoryTape()
    whole.batches = tape.batches
    done = take(path, whole)
    assert (done.added, done.duplicates) == (4, 6)


def test_impossible_trades_become_rejects_once_and_are_counted_each_time(es):
    tape = MemoryTape()
    path = es(*trades(3), record(T_US + 5, float("nan")), record(-1, 480_000), *trades(3, first=9))
    first = take(path, tape)
    assert (first.added, first.rejected) == (6, 2)
    assert [reject.reason for reject in tape.rejects] == [
        "price is not a number",
        "ts_event is before 1990",
    ]
    second = take(path, tape)
    assert (second.duplicates, second.rejected) == (6, 2)
    assert len(tape.rejects) == 2


def test_a_half_record_at_the_end_is_told(es):
    done = take(es(*trades(2), tail=b"\0" * 17), MemoryTape())
    assert (done.rows_read, done.partial_bytes) == (2, 17)


def test_bundles_go_on_over_the_edge_of_a_chunk(es):
    tape = MemoryTape()
    take(es(*trades(2), *bundle(T_US + 9_000, 480_025, [1] * 5)), tape)
    words = [w for b in tape.batches for w in b.columns.get("conditions", [""] * b.rows)]
    assert words == ["", "", "bundle_first", "bundle", "bundle", "bundle", "bundle_last"]


def test_stored_trades_are_asked_for_by_the_chunks_own_time_range(es):
    tape = MemoryTape()
    take(es(*trades(3)), tape)
    assert tape.asked == [("ES", "ESH24", "scid", T_US, T_US + 2_001)]


@pytest.mark.parametrize(
    ("name", "symbol", "expected"),
    [
        ("NQH4.CME.scid", None, ("NQ", "NQH24")),
        ("my trades.scid", "SPY", ("SPY", "SPY")),
        ("ESH24_FUT_CME.scid", "MES", ("MES", "MESH24")),
        ("whatever.scid", "ESM24", ("ES", "ESM24")),
    ],
)
def test_the_name_comes_from_the_file_unless_the_caller_says_better(es, name, symbol, expected):
    tape = MemoryTape()
    take(es(*trades(3), name=name), tape, symbol=symbol, scale=100)
    assert {(batch.symbol, batch.contract) for batch in tape.batches} == {expected}


def test_scale_and_reference_can_be_told(es):
    tape = MemoryTape()
    take(es(*trades(1), name="XXH24.scid"), tape, reference=4_800.0)
    take(es(*trades(1), name="XYH24.scid"), tape, scale=10)
    assert tape.column("price") == [4_800.0, 48_000.0]


def test_a_file_without_trades_adds_nothing(es):
    done = take(es(), MemoryTape())
    assert (done.symbols, done.rows_read, done.added) == (("ES",), 0, 0)


def test_progress_goes_up_to_the_whole_file(es):
    told = []
    path = es(*trades(10))
    tape = MemoryTape()
    import_file(
        path,
        sink=tape,
        existing=tape,
        now_us=NOW_US,
        options=ImportOptions(chunk_records=3),
        progress=lambda done, whole: told.append((done, whole)),
    )
    size = path.stat().st_size
    assert told[-1] == (size, size)
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.depth", b"SCDD@\0\0\0", "at least 64 bytes"),
        ("a.json", b'[{"ticker": 1}]', "JSON"),
        ("a.json.gz", b"\x1f\x8b\x08\0", "gzip"),
        ("a.zip", b"PK\x03\x04", "ZIP"),
        ("a.bin", b"\0\1\2", "begins with"),
        ("a.scid", b"SCDD" + bytes(60), "SCDD"),
        ("a.scid", b"", "found 0"),
        ("a.csv", b"", "Empty CSV"),
        ("a.parquet", b"PAR1 and then nothing", "to be Parquet"),
        ("a.csv", b"a,b\n1,2\n", "columns price, symbol, ts_event"),
        ("a.csv", b"symbol,ts_event,price\nES,\xff\xfe,1\n", "to be CSV"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_can_be_read(tmp_path, name, content, found):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FeedGarbled, match=found) as caught:
        take(path, MemoryTape())
    assert caught.value.hint


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.scid", tmp_path):
        with pytest.raises(FeedGarbled, match="expected a readable file"):
            take(path, MemoryTape())


CSV = """symbol,timestamp,price,volume,side,bid
MNQZ26,2023-12-25T23:00:00.000000123Z,20000.25,3,buy,20000
SPY,1703545201000,475.12,100,S,
MNQZ26,2023-12-25 23:00:01,abc,1,,
MNQZ26,yesterday,20000.25,1,1,
MNQZ26,2023-12-25T18:00:02-05:00,20000.50,1.5,-1,
short,line
MNQZ26,2023-12-25T18:00:02-05:00,20000.50,2,0,20000.25
"""


def test_csv_ticks_come_in_by_the_usual_names_and_bad_cells_become_rejects(tmp_path):
    path = tmp_path / "ticks.csv"
    path.write_text(CSV)
    tape = MemoryTape()
    done = take(path, tape)
    assert done.symbols == ("MNQ", "SPY")
    assert (done.rows_read, done.added, done.rejected) == (7, 3, 4)
    mnq, spy = tape.batches
    assert (mnq.symbol, mnq.contract, spy.contract) == ("MNQ", "MNQZ26", "SPY")
    assert mnq.columns["ts_event"].tolist() == [T_US, T_US + 2_000_000]
    assert mnq.columns["ts_ns"].tolist() == [123, 0]
    assert mnq.columns["price"].tolist() == [20000.25, 20000.5]
    assert mnq.columns["side"].tolist() == [1, 0]
    assert spy.columns["ts_event"].tolist() == [T_US + 1_000_000]
    assert (spy.columns["side"].tolist(), spy.columns["size"].tolist()) == ([-1], [100])
    assert np.isnan(spy.columns["bid"][0])
    assert [reject.reason for reject in tape.rejects] == [
        "price is not a number",
        "ts_event is before 1990",
        "size is negative",
        "line has 2 columns, the header has 6",
    ]
    assert tape.rejects[-1].raw == b"short,line"
    assert orjson.loads(tape.rejects[0].raw)["price"] == "nan"


def test_the_same_csv_again_adds_nothing(tmp_path):
    path = tmp_path / "ticks.csv"
    path.write_text(CSV)
    tape = MemoryTape()
    take(path, tape)
    done = take(path, tape)
    assert (done.added, done.duplicates, done.rejected) == (0, 3, 4)
    assert tape.rows == 3


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_ticks_come_in_with_times_of_any_unit(tmp_path, unit):
    path = tmp_path / "ticks.parquet"
    times = pa.array([T_US * 1_000, T_US * 1_000 + 3_000_000_000]).cast(pa.timestamp("ns"))
    table = pa.table(
        {
            "ts_event": times.cast(pa.timestamp(unit, "America/New_York")),
            "price": pa.array([100.5, 101.0], pa.float32()),
            "size": pa.array([1.0, None]),
        }
    )
    pa.parquet.write_table(table, path)
    tape = MemoryTape()
    done = take(path, tape, symbol="QQQ")
    assert (done.symbols, done.added) == (("QQQ",), 2)
    assert tape.column("ts_event") == [T_US, T_US + 3_000_000]
    assert tape.column("size") == [1, 0]
    assert take(path, tape, symbol="QQQ").duplicates == 2


def test_parquet_and_csv_of_the_same_ticks_are_the_same_ticks(tmp_path):
    table = pa.table({"symbol": ["QQQ"] * 3, "timestamp": [T_US] * 3, "price": [1.0, 2.0, 2.0]})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(
        "Symbol,Timestamp,Price\n" + f"QQQ,{T_US},1\n" + f"QQQ,{T_US},2\n" * 2
    )
    tape = MemoryTape()
    assert take(tmp_path / "a.parquet", tape).added == 3
    assert take(tmp_path / "a.csv", tape).duplicates == 3


def test_voided_and_corrected_rows_keep_their_marks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "symbol,ts_event,price,kind,valid,source_seq,contract,ts_ns\n"
        f"ES,{T_US},4800,cancel,false,17,ESH24,5\n"
        f"ES,{T_US},4800,perhaps,true,18,ESH24,5\n"
    )
    tape = MemoryTape()
    assert (take(path, tape).added, len(tape.rejects)) == (1, 1)
    (batch,) = tape.batches
    assert (batch.symbol, batch.contract) == ("ES", "ESH24")
    got = {name: batch.columns[name].tolist() for name in ("kind", "valid", "source_seq", "ts_ns")}
    assert got == {"kind": ["cancel"], "valid": [False], "source_seq": [17], "ts_ns": [5]}
