"""A start never fails for the cache of compiled functions, whatever became of that."""

import logging

import numba
import pytest

from ingest import compiled as room
from ingest.compiled import compiled
from ingest.dxlink_scan_kernel import scan


def _twice(number):
    return 2 * number


@pytest.fixture(autouse=True)
def warnings(monkeypatch, caplog):
    """What is warned of; each is told once a process, and anew in each test."""
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    monkeypatch.setattr(room, "_told", set())
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage().partition(" ")[0] for record in caplog.records]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def hits(function):
    return sum(function.stats.cache_hits.values())


def test_a_function_is_compiled_once_for_all_starts(folder, warnings):
    assert compiled(_twice)(21) == 42
    again = compiled(_twice)
    assert again(21) == 42
    assert hits(again) == 1
    assert not warnings()


def test_without_a_folder_that_can_be_written_it_is_compiled_in_memory_and_told_once(
    monkeypatch, warnings
):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "/dev/null/nowhere")
    assert compiled(_twice)(21) == 42
    assert compiled(_twice)(21) == 42
    assert warnings() == ["cache.missing"]


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_cache_torn_by_a_power_cut_is_told_and_written_anew(folder, warnings, suffix):
    compiled(_twice)(21)
    torn = [path for path in files(folder) if path.suffix == suffix]
    assert torn
    for path in torn:
        path.write_bytes(path.read_bytes()[:5])
    assert compiled(_twice)(21) == 42
    assert warnings() == ["cache.unreadable"]
    again = compiled(_twice)
    assert again(21) == 42
    assert hits(again) == 1


def test_a_cache_that_goes_away_before_it_is_written_costs_nothing_but_time(folder, warnings):
    function = compiled(_twice)
    for path in [*folder.iterdir()]:
        path.rmdir()
        path.write_bytes(b"")
    assert function(21) == 42
    assert warnings() == ["cache.unreadable", "cache.unwritable"]


def test_kernels_are_kept_where_there_is_a_place():
    assert scan.stats.cache_path
