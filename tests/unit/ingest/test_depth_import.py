import numpy as np
import pytest

from core.batch import TickBatch
from core.errors import FeedGarbled
from core.schema import DEPTH_COMMANDS
from ingest.depth import UNKNOWN_COMMAND
from ingest.guard import check
from ingest.importer import ImportOptions, import_file
from tests.fakes.depth_writer import DAY_US, NAME, clear, make_pair, record
from tests.fakes.depth_writer import depth as depth_bytes
from tests.fakes.memory_tape import MemoryTape
from tests.fakes.scid_writer import record as trade
from tests.fakes.scid_writer import scid as scid_bytes

T_US = DAY_US + 50_400_000_000
NOW_US = DAY_US + 86_400_000_000
SEQ = 20231225_0000000000


def take(path, tape, *, chunk_records=3, **options):
    how = ImportOptions(chunk_records=chunk_records, **options)
    return import_file(path, sink=tape, existing=tape, now_us=NOW_US, options=how)


def levels(count, *, first=0):
    return [
        record(T_US + place * 1_000, "modify_bid", 480_000 - 25 * (place % 7), 1 + place)
        for place in range(first, first + count)
    ]


@pytest.fixture
def es(tmp_path):
    """Writes records into a file with a contract's and a day's name."""

    def write(*records, name=NAME, **about):
        path = tmp_path / name
        path.write_bytes(depth_bytes(*records, **about))
        return path

    return write


def test_a_depth_file_comes_in_whole_with_its_contract_and_counts(es):
    tape = MemoryTape()
    done = take(es(clear(T_US), *levels(9), bytes(24), tail=b"\1" * 7), tape)
    assert done.symbols == ("ES",)
    assert (done.rows_read, done.added, done.duplicates, done.rejected) == (11, 10, 0, 0)
    assert (done.skipped, done.partial_bytes) == ({"blanks": 1}, 7)
    names = {(b.table, b.symbol, b.contract, b.source) for b in tape.batches}
    assert names == {("depth", "ES", "ESH24", "sierra")}
    assert tape.column("source_seq") == [SEQ + place for place in range(10)]
    assert tape.column("price")[:3] == [0.0, 4800.0, 4799.75]


def test_the_same_depth_file_again_adds_nothing(es):
    tape = MemoryTape()
    path = es(*levels(4), record(T_US, 9, 480_000, 1), *levels(4, first=4))
    first, second = take(path, tape), take(path, tape)
    assert (first.added, first.rejected) == (8, 1)
    assert (second.added, second.duplicates, second.rejected) == (0, 8, 1)
    assert [reject.reason for reject in tape.rejects] == [UNKNOWN_COMMAND]


def test_a_depth_file_that_has_grown_adds_its_new_records_alone(es):
    tape = MemoryTape()
    take(es(*levels(10)), tape)
    done = take(es(*levels(17)), tape)
    assert (done.added, done.duplicates) == (7, 10)
    assert tape.column("source_seq") == [SEQ + place for place in range(17)]


def test_records_of_one_number_in_two_days_files_are_two_records(es):
    tape = MemoryTape()
    midnight_us = DAY_US + 86_400_000_000
    late = record(midnight_us + 5, "modify_bid", 480_000, 1)
    take(es(late), tape)
    name = "ESH24_FUT_CME.2023-12-26.depth"
    assert take(es(late, name=name), tape).added == 1


def test_trades_with_the_same_names_and_times_hide_no_depth(es, tmp_path):
    tape = MemoryTape()
    path = tmp_path / "ESH24_FUT_CME.scid"
    path.write_bytes(scid_bytes(trade(T_US, 480_000)))
    take(path, tape)
    assert take(es(*levels(3)), tape).added == 3


def test_a_whole_pair_comes_in_without_a_reject(es):
    pair = make_pair(1)
    tape = MemoryTape()
    done = take(es(*pair.depth), tape, chunk_records=500)
    assert (done.added, done.rejected) == (len(pair.depth), 0)


def test_an_unnamed_depth_file_takes_its_day_from_its_records(es):
    tape = MemoryTape()
    take(es(*levels(2), name="whatever.depth"), tape, symbol="ESH24")
    assert tape.column("source_seq") == [SEQ, SEQ + 1]


def test_a_depth_file_without_records_adds_nothing(es):
    done = take(es(), MemoryTape())
    assert (done.symbols, done.rows_read, done.added) == (("ES",), 0, 0)


def test_a_trades_file_with_a_depth_files_name_is_refused(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(b"NONE" + bytes(60))
    with pytest.raises(FeedGarbled, match="begin with b'SCDD'"):
        take(path, MemoryTape())


def test_the_guard_knows_commands_by_their_codes():
    codes = np.array([*range(len(DEPTH_COMMANDS)), len(DEPTH_COMMANDS), -1], np.int16)
    rows = len(codes)
    columns = {
        "ts_event": np.full(rows, T_US),
        "ts_recv": np.full(rows, T_US),
        "command": codes,
        "price": np.where(codes == DEPTH_COMMANDS.index("clear"), 0.0, 4800.0),
    }
    batch = TickBatch("depth", "ES", "ESH24", "sierra", columns)
    good, rejected = check(batch, NOW_US)
    assert good.columns["command"].tolist() == list(range(len(DEPTH_COMMANDS)))
    reason = "command is not one of " + ", ".join(DEPTH_COMMANDS)
    assert [reject.reason for reject in rejected] == [reason] * 2
    good, rejected = check(batch.take(codes > 1), NOW_US)
    assert (good.rows, len(rejected)) == (len(DEPTH_COMMANDS) - 2, 1)
