from datetime import date, datetime

import pytest

from core.clock import NS_PER_S
from core.session import NEW_YORK, Sessions
from ingest.gexbot_plan import Grid, Plan

PLAN = Plan(Sessions())
LONG_AGO = 1


def at(text):
    """A moment in New York, in nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * NS_PER_S


@pytest.mark.parametrize(
    ("moment", "hours"),
    [
        ("2026-11-20T09:29:59", "eth"),
        ("2026-11-20T09:30:00", "rth"),
        ("2026-11-20T16:00:04", "rth"),
        ("2026-11-20T16:00:05", "eth"),
        ("2026-11-20T17:30:00", "closed"),  # the daily break
        ("2026-11-21T12:00:00", "closed"),  # a Saturday in regular hours' time
        ("2026-11-26T11:00:00", "eth"),  # Thanksgiving: stocks are closed, Globex is not
        ("2026-11-27T13:00:10", "rth"),  # a half day, within its grace
        ("2026-11-27T13:20:00", "closed"),
        ("2026-12-25T11:00:00", "closed"),
        ("2027-07-05T11:00:00", "eth"),  # Independence Day, observed
    ],
)
def test_hours_follow_the_calendar_and_not_the_clock_alone(moment, hours):
    assert PLAN.hours(at(moment)) == hours


def test_extended_hours_are_asked_once_an_hour_and_closed_ones_never():
    assert PLAN.is_due(at("2026-11-20T03:20:00"), 0)
    assert not PLAN.is_due(at("2026-11-20T03:59:59"), at("2026-11-20T03:20:00"))
    assert PLAN.is_due(at("2026-11-20T04:00:00"), at("2026-11-20T03:20:00"))
    assert not PLAN.is_due(at("2026-11-21T12:00:00"), 0)


def test_the_close_is_looked_at_once_more():
    last = at("2026-11-20T16:00:04")
    assert not PLAN.is_due(at("2026-11-20T16:01:59"), last)
    assert PLAN.is_due(at("2026-11-20T16:02:00"), last)
    assert not PLAN.is_due(at("2026-11-20T16:02:01"), at("2026-11-20T16:02:00"))


def test_a_full_session_is_a_poll_a_second_and_five():
    opened, closed = at("2026-11-20T09:30:00"), at("2026-11-20T16:10:00")
    last, polls = at("2026-11-20T09:00:00"), 0
    for now in range(opened, closed, NS_PER_S):
        if PLAN.is_due(now, last):
            last, polls = now, polls + 1
    assert polls == 6.5 * 3_600 + 5 + 1


def test_the_connection_is_warmed_just_before_the_open():
    assert not PLAN.is_warming(at("2026-11-20T09:29:29"))
    assert PLAN.is_warming(at("2026-11-20T09:29:30"))
    assert not PLAN.is_warming(at("2026-11-20T09:30:00"))
    assert not PLAN.is_warming(at("2026-11-21T09:29:45"))


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-11-20T16:14:59", date(2026, 11, 19)),
        ("2026-11-20T16:15:00", date(2026, 11, 20)),
        ("2026-11-22T12:00:00", date(2026, 11, 20)),
        ("2026-11-27T13:16:00", date(2026, 11, 27)),
    ],
)
def test_the_newest_finished_session_is_known(moment, day):
    assert PLAN.finished_session(at(moment)) == day


def test_a_grid_leaves_missed_moments_out():
    grid = Grid(100, 10)
    assert [grid.after(now) for now in (100, 101, 109, 110, 157)] == [110, 110, 110, 120, 160]
