from hypothesis import given
from hypothesis import strategies as st

from core.clock import DAY_NS, NS_PER_S
from flight_server.bars import bars_question
from flight_server.ticket_kinds import Bars, Span
from tests.fakes.manual_clock import OPEN_NS

MOMENTS = st.integers(OPEN_NS - 400 * DAY_NS, OPEN_NS)


@given(st.integers(1, 90_000), MOMENTS, st.integers(1, DAY_NS))
def test_a_range_is_widened_to_the_whole_bars_it_touches(every_s, start_ns, length_ns):
    end_ns = start_ns + length_ns
    _, span = bars_question(Bars("MNQ", every_s, Span(start_ns, end_ns)), OPEN_NS)
    width_ns = every_s * NS_PER_S
    assert span.start_ns % width_ns == span.end_ns % width_ns == 0
    assert start_ns - width_ns < span.start_ns <= start_ns
    assert end_ns <= span.end_ns < end_ns + width_ns


def test_without_a_range_it_is_the_last_24_hours():
    _, span = bars_question(Bars("MNQ", 60, Span()), OPEN_NS)
    assert (span.start_ns, span.end_ns) == (OPEN_NS - DAY_NS, OPEN_NS)


def test_an_end_alone_means_24_hours_before_it():
    _, span = bars_question(Bars("MNQ", 60, Span(end_ns=OPEN_NS - DAY_NS)), OPEN_NS)
    assert span.start_ns == OPEN_NS - 2 * DAY_NS


def test_minutes_come_from_minute_bars_seconds_from_second_bars_and_known_at_from_trades():
    def source(every_s, known_at_ns=None):
        span = Span(known_at_ns=known_at_ns)
        return (
            bars_question(Bars("MNQ", every_s, span), OPEN_NS)[0].sql.split("FROM ")[1].split()[0]
        )

    assert source(300) == "bars_1m"
    assert source(90) == "bars_1s"
    assert source(300, OPEN_NS) == "trades"


def test_a_symbol_travels_as_a_value_and_as_the_only_one_that_may_be_read():
    question, _ = bars_question(Bars("MNQ", 60, Span(known_at_ns=OPEN_NS)), OPEN_NS)
    assert "MNQ" not in question.sql
    assert question.params[0] == "MNQ"
    assert question.symbols == {"MNQ"}
    assert question.known_at_us == OPEN_NS // 1_000
