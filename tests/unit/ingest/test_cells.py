import math

import pyarrow as pa
import pytest

from ingest.cells import to_flags, to_numbers, to_sides, to_texts, to_times, to_whole_numbers

T_US = 1_703_545_200_000_000
T_S = T_US // 1_000_000


def one_time(cell, kind=None):
    us, ns = to_times(pa.array([cell], kind))
    return us[0], ns[0]


@pytest.mark.parametrize(
    ("cell", "us", "ns"),
    [
        ("2023-12-25T23:00:00Z", T_US, 0),
        (" 2023-12-25 23:00 ", T_US, 0),
        ("2023-12-25T23:00:00.000000999", T_US, 999),
        ("2023-12-25T18:00:00.000001-05:00", T_US + 1, 0),
        ("2023-12-25 18:00:00-0500", T_US, 0),
        (str(T_S), T_US, 0),
        (str(T_US // 1_000), T_US, 0),
        (str(T_US), T_US, 0),
        (str(T_US * 1_000 + 7), T_US, 7),
        ("2023-13-25T23:00:00Z", 0, 0),
        ("9999-01-01T00:00:00Z", 0, 0),
        ("", 0, 0),
        ("99999999999999999999999", 0, 0),
        (None, 0, 0),
    ],
)
def test_times_as_text(cell, us, ns):
    assert one_time(cell, pa.utf8()) == (us, ns)


def test_texts_of_several_forms_in_one_column():
    us, _ = to_times(pa.array([str(T_S), "2023-12-25T23:00:00Z", "2023-12-25 23:00:00", "?"]))
    assert us.tolist() == [T_US, T_US, T_US, 0]


def test_epoch_numbers_of_every_unit():
    assert one_time(T_S) == (T_US, 0)
    assert one_time(T_US // 1_000) == (T_US, 0)
    assert one_time(T_US * 1_000 + 999) == (T_US, 999)
    assert one_time(-1) == (-1_000_000, 0)
    assert one_time(-(10**18) - 1) == (-(10**15) - 1, 999)


def test_epoch_times_with_a_fraction_are_not_guessed_at():
    assert one_time(1_703_545_200.5) == (0, 0)


def test_numbers_from_text_and_from_what_is_none():
    numbers = to_numbers(pa.array(["1.5", " 2 ", "", "abc", None, "nan", "1e3"])).tolist()
    assert numbers[:2] == [1.5, 2.0]
    assert all(math.isnan(number) for number in numbers[2:6])
    assert numbers[6] == 1_000.0


def test_whole_numbers_tell_empty_from_bad():
    cells = pa.array(["3", "3.0", "3.5", "", None, "x", "-1"])
    assert to_whole_numbers(cells, -9, empty=0).tolist() == [3, 3, -9, 0, 0, -9, -1]
    assert to_whole_numbers(pa.array([2.0, None, 2.5]), -9).tolist() == [2, -9, -9]


def test_sides_from_words_and_numbers():
    cells = pa.array(["buy", "S", " Sell", "1", "-1", "0", "", "maybe", "7"])
    assert to_sides(cells).tolist() == [1, -1, -1, 1, -1, 0, 0, 2, 2]
    assert to_sides(pa.array([1, -1, None, 300])).tolist() == [1, -1, 0, 2]


def test_texts_and_dictionaries():
    assert to_texts(pa.array(["a", None, "b"])).tolist() == ["a", "", "b"]
    assert to_texts(pa.array(["a", "a"]).dictionary_encode()).tolist() == ["a", "a"]
    assert to_numbers(pa.array(["1", "x"]).dictionary_encode()).tolist()[0] == 1.0


def test_doubtful_flags_are_false():
    assert to_flags(pa.array(["true", "false", "", "1", "x"])).tolist() == [
        True,
        False,
        False,
        True,
        False,
    ]
