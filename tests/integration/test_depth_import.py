"""A whole depth file on the tape, with its book, straight to the lake or through the hot hour."""

import pytest

from core.clock import NS_PER_US, SystemClock
from core.schema import TABLES
from core.settings import load_settings
from ingest.commands import import_command
from ingest.importer import ImportOptions
from ingest.verify_command import verify_command
from storage.opening import open_store
from storage.paths import Paths
from storage.view import Views
from tests.fakes.depth_writer import PairOptions, depth, make_pair, record
from tests.fakes.manual_clock import ManualClock
from tests.fakes.sierra_house import NAME, NOON_US
from tests.integration.test_sierra_feed import plain_rows, told_rows


class Tape:
    def __init__(self, root):
        self.settings = load_settings(
            {"DATA_DIR": str(root / "data")}, environ={}, env_file=root / "none"
        )
        self.path = root / NAME
        self.said = []

    def take(self, records, clock=None):
        self.path.write_bytes(depth(*records))
        clock = clock or SystemClock()
        options = ImportOptions()
        return import_command(self.settings, [self.path], options, clock, self.said.append)

    def rows(self, table):
        views = Views(Paths(self.settings.data_dir), self.settings.lake_url)
        rows = views.view().scan(table, "ES").read_all().cast(TABLES[table].plain_schema)
        return rows.sort_by("seq").to_pylist()


@pytest.fixture
def tape(tmp_path):
    return Tape(tmp_path)


@pytest.fixture(scope="module")
def records():
    options = PairOptions(start_us=NOON_US, events=2_000, snapshot_s=60, hole_s=(100, 130))
    return make_pair(2, options).depth


SOON = ManualClock((NOON_US + 3_600_000_000) * NS_PER_US)


@pytest.mark.parametrize(
    "clock", [None, SOON], ids=["straight to the lake", "through the hot hour"]
)
def test_every_record_and_ladder_is_there_once_however_often_it_is_taken(tape, records, clock):
    for added in (len(records), 0):
        assert tape.take(records, clock) == 0
        assert f"{added:,} added" in tape.said[-1]
        rows = tape.rows("depth")
        numbers = [row["source_seq"] for row in rows]
        assert sorted(numbers) == list(range(numbers[0], numbers[0] + len(records)))
        assert told_rows(tape.rows("book"))[:-1] == plain_rows(records)
    assert [row["valid"] for row in tape.rows("book")].count(False) == 1


def test_a_longer_file_of_the_same_day_adds_what_is_new(tape, records):
    tape.take(records[:500])
    tape.take(records)
    assert f"{len(records) - 500:,} added" in tape.said[-1]
    assert len(tape.rows("depth")) == len(records)
    moments = [row["ts_event"] for row in tape.rows("book")]
    assert len(moments) == len(set(moments))


def test_refused_records_are_counted_and_kept(tape, records):
    odd = [record(NOON_US, 200), record(NOON_US, "add_bid", -5, 1)]
    tape.take([*records[:100], *odd, *records[100:200]])
    assert "200 added, 0 already stored, 2 rejected" in tape.said[-1]
    assert len(tape.rows("rejects")) == 2


def test_what_was_sealed_is_verified_and_a_start_finds_no_loss(tape, records):
    tape.take(records)
    open_store(tape.settings, SystemClock()).close()
    assert tape.rows("gaps") == []
    assert verify_command(tape.settings, SystemClock(), check_all=True, say=tape.said.append) == 0
    assert len(tape.rows("depth")) == len(records)
