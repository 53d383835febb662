import pytest

from ingest.clock_proof import clock_error_s

DATE, DATE_NS = "Wed, 25 Nov 2026 16:30:10 GMT", 1_795_624_210_000_000_000
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("asked", "came", "error_s"),
    [
        (0.2, 0.3, 0.0),  # within the second it names
        (-0.5, 0.1, 0.0),  # stamped on the way
        (0.99, 1.4, 0.0),  # asked within it, came after it
        (3.5, 3.6, 2.5),  # asked when that second was long over
        (-4.0, -3.0, -3.0),  # came before it began
    ],
)
def test_only_what_cannot_be_otherwise_counts_as_an_error(asked, came, error_s):
    asked_ns, came_ns = (DATE_NS + int(s * SECOND) for s in (asked, came))
    assert clock_error_s(DATE, asked_ns, came_ns) == pytest.approx(error_s)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Wed, 99 Nov 2026 16:30:10 GMT"])
def test_an_answer_without_a_time_proves_nothing(date):
    assert clock_error_s(date, DATE_NS, DATE_NS) is None
