import pytest

from webui.words import format_age, format_number


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\N{EN DASH}"), (0, "0"), (31_200, "31,200"), (24_916.25, "24,916.25")],
)
def test_numbers_are_grouped_and_the_unknown_is_a_dash(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\N{EN DASH}"),
        (0.084, "84 ms"),
        (7.21, "7.21 s"),
        (74, "74 s"),
        (120, "2 m"),
        (7860, "2 h 11 m"),
    ],
)
def test_ages_use_the_unit_that_fits(seconds, text):
    assert format_age(seconds) == text
