"""What a value is does not hang on which others came beside it."""

import pytest

from ingest.dxlink_values import read_flags, read_whole


@pytest.mark.parametrize("others", [[], [7]])
def test_a_boolean_is_no_whole_number_whatever_stands_beside_it(others):
    faults = {}
    read_whole({"nano": [False, *others]}, "nano", 1 + len(others), faults, default=0)
    assert faults == {0: "nano is not a whole number"}


@pytest.mark.parametrize("others", [[], [False]])
def test_a_number_is_no_flag_whatever_stands_beside_it(others):
    told = read_flags([1, *others], 1 + len(others), default=True)
    assert not told.any()
