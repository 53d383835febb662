import pytest

from core.errors import GapInRange
from flight_server.gapbook import Gap, GapBook, refuse_gaps
from tests.unit.flight_server.house import flight_house


def gap(from_us=100, to_us=200):
    return Gap("trades", "MNQ", from_us, to_us, "line lost", "open")


@pytest.mark.parametrize(
    ("start_us", "end_us", "is_in"),
    [
        (None, None, True),
        (0, 100, False),
        (0, 101, True),
        (200, 300, True),
        (201, 300, False),
        (150, 160, True),
        (None, 100, False),
        (201, None, False),
    ],
)
def test_a_gap_overlaps_a_half_open_range(start_us, end_us, is_in):
    assert gap().overlaps(start_us, end_us) is is_in


def test_a_gap_that_lasts_overlaps_everything_after_its_start():
    assert gap(to_us=None).overlaps(10_000, None)
    assert not gap(to_us=None).overlaps(0, 100)


def test_the_newest_row_of_a_gap_says_how_it_stands(tmp_path):
    with flight_house(tmp_path) as house:
        book, view = GapBook(), house.views.view()
        house.gap(1_000, None, gap_id=1)
        house.gap(1_000, 2_000, gap_id=2, state="unrepairable")
        assert [g.state for g in book.unrepaired(view)] == ["open", "unrepairable"]
        house.gap(1_000, 2_000, gap_id=1, state="backfilled")
        assert [g.state for g in book.unrepaired(view)] == ["unrepairable"]
        assert book.overlapping(view, "trades", "MNQ", 0, 1_500)
        assert not book.overlapping(view, "quotes", "MNQ", 0, 1_500)
        house.gap(5_000, 6_000, gap_id=3, symbol="*")
        assert book.overlapping(view, "trades", "SPY", 5_000, None)


def test_strict_names_the_first_gap():
    refuse_gaps([])
    with pytest.raises(GapInRange, match="line lost") as caught:
        refuse_gaps([gap(), gap(300, 400)])
    assert "2 unrepaired" in caught.value.message
