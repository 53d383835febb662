"""`tickflight import` of history files, with and without a running writer."""

import gzip
import io
import zipfile

import pytest

from core.clock import SystemClock
from core.errors import FeedGarbled
from core.settings import load_settings
from ingest.commands import import_command
from ingest.importer import ImportOptions
from ingest.main import Ingest
from storage.paths import Paths
from storage.view import Views
from tests.fakes import gexbot_made as made
from tests.fakes.gexbot_server import day_json, eod_zip

DAY = range(made.OPEN_S, made.OPEN_S + 7_200, 30)
NAME = "2026-11-20_NQ_NDX_classic_gex_zero.json"


class Tape:
    def __init__(self, root):
        self.root = root
        more = {"DATA_DIR": str(root / "data")}
        self.settings = load_settings(more, environ={}, env_file=root / "none")

    def write(self, name, raw):
        path = self.root / name
        path.write_bytes(raw)
        return path

    def take(self, *paths):
        said = []
        import_command(self.settings, paths, ImportOptions(), SystemClock(), said.append)
        return said

    def rows(self, table="gex"):
        views = Views(Paths(self.settings.data_dir), self.settings.lake_url)
        reader = views.view().scan(table, "NQ_NDX")
        return [row for batch in reader for row in batch.to_pylist()]


@pytest.fixture
def tape(tmp_path):
    return Tape(tmp_path)


def test_json_and_gzip_are_imported_once_however_often_given(tape):
    plain = tape.write(NAME, day_json(DAY))
    packed = tape.write(f"{NAME}.gz", gzip.compress(day_json(DAY)))
    assert "240 added, 0 already stored, 0 rejected" in tape.take(plain)[0]
    assert ["0 added, 240 already stored" in line for line in tape.take(packed, plain)] == [
        True
    ] * 2
    assert len(tape.rows()) == 240
    assert {check["outcome"] for check in tape.rows("spot_checks")} == {"unverifiable"}


def test_an_archive_is_imported_with_all_its_series(tape):
    archive = tape.write("eod.zip", eod_zip(DAY))
    (said,) = tape.take(archive)
    assert "480 added" in said
    assert {row["category"] for row in tape.rows()} == {"gex_zero", "gex_full"}
    assert "0 added, 480 already stored" in tape.take(archive)[0]


def test_a_running_writer_takes_the_file(tape):
    tape.settings.data_dir.mkdir()
    ingest = Ingest(tape.settings, SystemClock(), None)
    ingest.start()
    try:
        path = tape.write(NAME, day_json(DAY))
        assert "240 added" in tape.take(path)[0]
        assert len(tape.rows()) == 240
        assert "0 added, 240 already stored" in tape.take(path)[0]
    finally:
        ingest.stop()


def test_a_file_without_a_series_in_its_name_says_how_to_name_it(tape):
    with pytest.raises(FeedGarbled) as caught:
        tape.take(tape.write("history.json", day_json(DAY)))
    assert "2026-11-20_NQ_NDX_classic_gex_zero.json.gz" in caught.value.hint


def test_members_that_are_no_history_files_are_left_out(tape):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("README.txt", b"hello")
        archive.writestr(f"a/{NAME}", day_json(DAY))
    assert "240 rows read" in tape.take(tape.write("some.zip", sink.getvalue()))[0]


def test_an_archive_that_is_none_is_garbled(tape):
    with pytest.raises(FeedGarbled):
        tape.take(tape.write("x.zip", b"PK\x03\x04 no more"))


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"<html>"])
def test_what_is_named_like_a_history_file_is_judged_as_one(tape, raw):
    with pytest.raises(FeedGarbled, match="snapshot"):
        tape.take(tape.write(NAME, raw))
