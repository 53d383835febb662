"""Kernels: compiled whether or not there is a place to keep them."""

from ingest.compiled import compiled
from ingest.dxlink_scan_kernel import scan

DOUBLED = "def doubled(number):\n    return number + number"


def test_a_function_without_a_place_to_keep_it_is_compiled_all_the_same():
    names = {}
    exec(compile(DOUBLED, "<nowhere>", "exec"), names)
    kernel = compiled(names["doubled"])
    assert kernel(21) == 42
    assert kernel.nopython_signatures
    assert not kernel.stats.cache_path


def test_kernels_are_kept_where_there_is_a_place():
    assert scan.stats.cache_path
