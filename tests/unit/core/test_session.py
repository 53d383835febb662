import random
import warnings
from datetime import UTC, date, datetime, time, timedelta

import pytest
from exchange_calendars import get_calendar

from core.clock import HOUR_NS, MINUTE_NS, NS_PER_S
from core.session import NEW_YORK, Overrides, Sessions, next_change_ns, rth_open, session_at

SESSIONS = Sessions()


def ny(text):
    """UTC nanoseconds of a moment in New York."""
    moment = datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)
    return int(moment.timestamp()) * NS_PER_S


def utc(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


@pytest.fixture(scope="module")
def kept_days():
    """(open, close) of each day New York trades, from a calendar others keep."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what its own libraries deprecate
        calendar = get_calendar("XNYS", start="2016-01-01", end="2030-12-31")
        schedule = calendar.schedule
    return {
        day.date(): (int(opened.timestamp()) * NS_PER_S, int(closed.timestamp()) * NS_PER_S)
        for day, opened, closed in zip(
            schedule.index, schedule["open"], schedule["close"], strict=True
        )
    }


def test_regular_hours_equal_those_of_a_kept_calendar_from_2016_to_2030(kept_days):
    first, last = date(2016, 1, 1), date(2030, 12, 31)
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    ours = {day: hours for day in days if (hours := SESSIONS.rth(day)) is not None}
    assert len(ours) > 3_700
    assert ours == kept_days


@pytest.mark.parametrize(
    ("day", "opens"),
    [
        (date(2026, 3, 6), utc("2026-03-06 14:30")),
        (date(2026, 3, 9), utc("2026-03-09 13:30")),
        (date(2026, 11, 2), utc("2026-11-02 14:30")),
        (date(2026, 11, 1), None),
        (date(2026, 11, 26), None),
        (date(2025, 1, 9), None),
    ],
    ids=["winter", "summer", "winter again", "Sunday", "Thanksgiving", "mourning"],
)
def test_regular_hours_begin_at_half_past_nine_in_new_york(day, opens):
    assert rth_open(day) == opens


def test_half_days_are_known():
    assert SESSIONS.is_half_day(date(2026, 11, 27))
    assert SESSIONS.is_half_day(date(2026, 12, 24))
    assert not SESSIONS.is_half_day(date(2026, 12, 23))
    assert not SESSIONS.is_half_day(date(2026, 12, 25))
    assert SESSIONS.rth(date(2026, 11, 27))[1] == ny("2026-11-27 13:00")


@pytest.mark.parametrize(
    ("moment", "nyse", "cme"),
    [
        ("2026-11-20 03:59:59", "closed", "eth"),
        ("2026-11-20 04:00", "eth", "eth"),
        ("2026-11-20 09:29:59", "eth", "eth"),
        ("2026-11-20 09:30", "rth", "rth"),
        ("2026-11-20 15:59:59", "rth", "rth"),
        ("2026-11-20 16:00", "eth", "eth"),
        ("2026-11-20 17:00", "eth", "closed"),
        ("2026-11-20 20:00", "closed", "closed"),
        ("2026-11-22 17:59:59", "closed", "closed"),
        ("2026-11-22 18:00", "closed", "eth"),
        ("2026-11-23 17:30", "eth", "closed"),
        ("2026-11-23 18:00", "eth", "eth"),
    ],
)
def test_a_common_week(moment, nyse, cme):
    assert (session_at(ny(moment), "nyse"), session_at(ny(moment), "cme")) == (nyse, cme)


@pytest.mark.parametrize(
    ("moment", "state"),
    [
        ("2026-11-26 12:59:59", "eth"),
        ("2026-11-26 13:00", "closed"),
        ("2026-11-26 18:00", "eth"),
        ("2026-11-27 12:59:59", "rth"),
        ("2026-11-27 13:00", "eth"),
        ("2026-11-27 13:15", "closed"),
        ("2026-11-27 18:00", "closed"),
        ("2023-12-25 17:59:59", "closed"),
        ("2023-12-25 18:00", "eth"),
        ("2025-12-24 13:15", "closed"),
        ("2025-12-25 12:00", "closed"),
        ("2026-01-01 17:59", "closed"),
        ("2026-01-01 18:00", "eth"),
        ("2026-06-19 12:00", "eth"),
        ("2026-06-19 13:00", "closed"),
        ("2026-06-19 19:00", "closed"),
        ("2026-07-03 13:00", "closed"),
        ("2022-12-26 12:00", "closed"),
        ("2022-12-25 19:00", "closed"),
        ("2022-12-26 18:00", "eth"),
        ("2025-04-18 08:00", "closed"),
        ("2026-04-03 09:14", "eth"),
        ("2026-04-03 09:15", "closed"),
        ("2025-01-09 09:30", "closed"),
        ("2025-01-09 18:00", "eth"),
        ("2020-06-15 16:20", "closed"),
        ("2020-06-15 16:30", "eth"),
        ("2021-07-15 16:20", "eth"),
    ],
)
def test_globex_on_days_that_are_not_common(moment, state):
    assert session_at(ny(moment), "cme") == state


@pytest.mark.parametrize(
    ("moment", "market", "change"),
    [
        ("2026-11-20 08:00", "cme", "2026-11-20 09:30"),
        ("2026-11-20 09:30", "cme", "2026-11-20 16:00"),
        ("2026-11-19 19:00", "cme", "2026-11-20 09:30"),
        ("2026-11-20 16:59:59", "cme", "2026-11-20 17:00"),
        ("2026-11-20 17:00", "cme", "2026-11-22 18:00"),
        ("2026-11-25 18:00", "cme", "2026-11-26 13:00"),
        ("2023-12-22 17:00", "cme", "2023-12-25 18:00"),
        ("2026-11-20 20:00", "nyse", "2026-11-23 04:00"),
        ("2026-11-25 21:00", "nyse", "2026-11-27 04:00"),
        ("2026-10-31 12:00", "cme", "2026-11-01 18:00"),
        ("2026-03-07 12:00", "cme", "2026-03-08 18:00"),
    ],
)
def test_the_next_change(moment, market, change):
    assert next_change_ns(ny(moment), market) == ny(change)


@pytest.mark.parametrize("market", ["nyse", "cme"])
def test_nothing_changes_before_the_next_change_and_something_does_at_it(market):
    numbers = random.Random(5)
    begin = ny("2019-01-01 00:00")
    for _ in range(60):
        at = begin + numbers.randrange(10 * 365 * 24 * 60) * MINUTE_NS
        change, state = next_change_ns(at, market), session_at(at, market)
        assert change > at
        assert session_at(change, market) != state
        for _ in range(10):
            assert session_at(numbers.randrange(at, change), market) == state


def test_hours_over_a_change_of_the_clocks_have_their_true_length():
    monday = date(2026, 3, 9)
    assert SESSIONS.globex(monday)[0][1] - SESSIONS.globex(monday)[0][0] == 23 * HOUR_NS
    spring = Sessions(Overrides(cme={date(2026, 3, 8): time(17)}))
    (begin, end), *_ = spring.globex(date(2026, 3, 8))
    assert end - begin == 22 * HOUR_NS


def test_overrides_close_a_day_or_end_it_early():
    surprise = date(2026, 11, 24)
    sessions = Sessions(Overrides(nyse={surprise: None}, cme={surprise: time(12)}))
    assert sessions.rth_open(surprise) is None
    assert sessions.session_at(ny("2026-11-24 11:00"), "nyse") == "closed"
    assert sessions.session_at(ny("2026-11-24 11:00"), "cme") == "eth"
    assert sessions.session_at(ny("2026-11-24 12:00"), "cme") == "closed"
    assert session_at(ny("2026-11-24 12:00"), "nyse") == "rth"


@pytest.mark.parametrize("market", ["nyse", "cme"])
def test_what_is_kept_for_a_minute_is_what_the_rules_say_at_every_moment_of_it(market):
    opens = ny("2026-11-25T09:30:00")
    for edge in (opens, ny("2026-11-25T16:00:00"), ny("2026-11-25T17:00:00")):
        for off_ns in (-MINUTE_NS, -1, 0, 1, MINUTE_NS - 1):
            assert session_at(edge + off_ns, market) == SESSIONS.session_at(edge + off_ns, market)
            assert next_change_ns(edge + off_ns, market) == SESSIONS.next_change_ns(
                edge + off_ns, market
            )
