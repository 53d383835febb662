"""When markets are open: the New York Stock Exchange and CME Globex equity index futures.

The only place that knows time zones. Rules hold from 2016 on; days no rule can foresee are listed
or given as overrides. All arithmetic is in UTC: the difference of two local times is wrong by an
hour over a change of the clocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from core.clock import MINUTE_NS, NS_PER_S

Market = Literal["nyse", "cme"]
State = Literal["rth", "eth", "closed"]
Interval = tuple[int, int]  # UTC nanoseconds, the end not in it

NEW_YORK = ZoneInfo("America/New_York")
_DAY = timedelta(days=1)
_SEARCH_DAYS = 14  # longer than any run of closed days

_PRE_OPEN, _RTH_OPEN, _RTH_CLOSE, _POST_CLOSE = time(4), time(9, 30), time(16), time(20)
_HALF_CLOSE, _HALF_POST_CLOSE = time(13), time(17)
_GLOBEX_OPEN, _GLOBEX_CLOSE = time(18), time(17)
_GLOBEX_HOLIDAY_CLOSE, _GLOBEX_HALF_CLOSE = time(13), time(13, 15)
_GLOBEX_JOBS_FRIDAY_CLOSE, _GLOBEX_MOURNING_CLOSE = time(9, 15), time(9, 30)
_PAUSE = (time(16, 15), time(16, 30))
_PAUSE_ENDED = date(2021, 6, 28)

_MOURNING = frozenset({date(2018, 12, 5), date(2025, 1, 9)})
_JUNETEENTH_SINCE = 2022


@dataclass(frozen=True, slots=True)
class Overrides:
    """Days on which a market does not keep to the rules: its closing time, or None for no session.

    A Globex session begins on the evening before the day it is named after.
    """

    nyse: Mapping[date, time | None] = field(default_factory=dict)
    cme: Mapping[date, time | None] = field(default_factory=dict)


class Sessions:
    """The calendar of both markets, with overrides."""

    def __init__(self, overrides: Overrides | None = None) -> None:
        self._overrides = overrides or Overrides()

    def rth(self, day: date) -> Interval | None:
        """Regular trading hours of a day in New York, None where there are none."""
        close = self._nyse_close(day)
        return None if close is None else (_utc_ns(day, _RTH_OPEN), _utc_ns(day, close))

    def rth_open(self, day: date) -> int | None:
        """When regular trading begins, UTC nanoseconds; None where there is none that day."""
        hours = self.rth(day)
        return None if hours is None else hours[0]

    def is_half_day(self, day: date) -> bool:
        """Whether regular trading ends early."""
        close = self._nyse_close(day)
        return close is not None and close < _RTH_CLOSE

    def globex(self, day: date) -> list[Interval]:
        """Open hours of the Globex session named after a day; it begins the evening before."""
        close = self._globex_close(day)
        if close is None:
            return []
        begin, end = _utc_ns(day - _DAY, _GLOBEX_OPEN), _utc_ns(day, close)
        if day < _PAUSE_ENDED and close > _PAUSE[1]:
            return [(begin, _utc_ns(day, _PAUSE[0])), (_utc_ns(day, _PAUSE[1]), end)]
        return [(begin, end)]

    def session_at(self, ts_ns: int, market: Market) -> State:
        """Regular hours, extended hours or closed.

        Globex is in regular hours while it is open and New York trades stocks.
        """
        today = _new_york_day(ts_ns)
        hours = self.rth(today)
        is_rth = hours is not None and hours[0] <= ts_ns < hours[1]
        is_open = any(
            begin <= ts_ns < end
            for day in (today, today + _DAY)
            for begin, end in self._open_hours(day, market)
        )
        if not is_open:
            return "closed"
        return "rth" if is_rth else "eth"

    def next_change_ns(self, ts_ns: int, market: Market) -> int:
        """The first moment after `ts_ns` at which `session_at` changes."""
        now = self.session_at(ts_ns, market)
        today = _new_york_day(ts_ns)
        for ahead in range(_SEARCH_DAYS):
            day = today + ahead * _DAY
            hours = list(filter(None, [self.rth(day), self.rth(day + _DAY)]))
            hours += self._open_hours(day, market) + self._open_hours(day + _DAY, market)
            for edge in sorted({edge for interval in hours for edge in interval}):
                if edge > ts_ns and self.session_at(edge, market) != now:
                    return edge
        raise AssertionError(f"no session within {_SEARCH_DAYS} days of {today}")

    def _open_hours(self, day: date, market: Market) -> list[Interval]:
        if market == "cme":
            return self.globex(day)
        close = self._nyse_close(day)
        if close is None:
            return []
        post_close = _POST_CLOSE if close == _RTH_CLOSE else _HALF_POST_CLOSE
        return [(_utc_ns(day, _PRE_OPEN), _utc_ns(day, post_close))]

    def _nyse_close(self, day: date) -> time | None:
        if day in self._overrides.nyse:
            return self._overrides.nyse[day]
        if day.weekday() >= 5 or day in _nyse_holidays(day.year):
            return None
        return _HALF_CLOSE if day in _half_days(day.year) else _RTH_CLOSE

    def _globex_close(self, day: date) -> time | None:
        if day in self._overrides.cme:
            return self._overrides.cme[day]
        return None if day.weekday() >= 5 else _globex_close(day)


def _globex_close(day: date) -> time | None:
    """When the session named after a weekday ends, None where there is none."""
    holiday = _nyse_holidays(day.year).get(day)
    match holiday:
        case None:
            return _GLOBEX_HALF_CLOSE if day in _half_days(day.year) else _GLOBEX_CLOSE
        case "new year" | "christmas":
            return None
        case "good friday":
            # The employment report comes out on a month's first Friday, holiday or not.
            is_first = day.day <= 7 and day.year > 2020
            return _GLOBEX_JOBS_FRIDAY_CLOSE if is_first else None
        case "mourning":
            return _GLOBEX_MOURNING_CLOSE
        case _:
            return _GLOBEX_HOLIDAY_CLOSE


@lru_cache(maxsize=64)
def _nyse_holidays(year: int) -> dict[date, str]:
    """Weekdays without trading in New York, and why."""
    days = {
        _nth_weekday(year, 1, 0, 3): "king",
        _nth_weekday(year, 2, 0, 3): "presidents",
        _easter(year) - 2 * _DAY: "good friday",
        _last_monday_of_may(year): "memorial",
        _observed(date(year, 7, 4)): "independence",
        _nth_weekday(year, 9, 0, 1): "labor",
        _nth_weekday(year, 11, 3, 4): "thanksgiving",
        _observed(date(year, 12, 25)): "christmas",
    }
    new_year = date(year, 1, 1)
    if new_year.weekday() != 5:  # a Saturday's new year is not made up for
        days[_observed(new_year)] = "new year"
    if year >= _JUNETEENTH_SINCE:
        days[_observed(date(year, 6, 19))] = "juneteenth"
    days |= {day: "mourning" for day in _MOURNING if day.year == year}
    return days


@lru_cache(maxsize=64)
def _half_days(year: int) -> frozenset[date]:
    """Days on which New York closes at 13:00."""
    days = {_nth_weekday(year, 11, 3, 4) + _DAY}
    eve = date(year, 12, 24)
    if eve.weekday() < 5 and eve not in _nyse_holidays(year):
        days.add(eve)
    if date(year, 7, 4).weekday() in {1, 2, 3, 4}:
        days.add(date(year, 7, 3))
    return frozenset(days)


def _observed(day: date) -> date:
    """Saturday's holiday is kept on Friday, Sunday's on Monday."""
    return day + {5: -_DAY, 6: _DAY}.get(day.weekday(), timedelta(0))


def _nth_weekday(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _last_monday_of_may(year: int) -> date:
    last = date(year, 5, 31)
    return last - last.weekday() * _DAY


def _easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Jones and Butcher)."""
    golden, century, rest = year % 19, year // 100, year % 100
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - century // 4 - correction + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    shift = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * shift + 114, 31)
    return date(year, month, day + 1)


def _new_york_day(ts_ns: int) -> date:
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).astimezone(NEW_YORK).date()


def _utc_ns(day: date, at: time) -> int:
    return int(datetime.combine(day, at, NEW_YORK).timestamp()) * NS_PER_S


_RULES = Sessions()
rth_open = _RULES.rth_open


def session_at(ts_ns: int, market: Market) -> State:
    """`Sessions.session_at` by the rules alone; kept, for sessions change on whole minutes."""
    return _session_of(ts_ns // MINUTE_NS, market)


def next_change_ns(ts_ns: int, market: Market) -> int:
    """`Sessions.next_change_ns` by the rules alone, kept likewise."""
    return _next_change_of(ts_ns // MINUTE_NS, market)


@lru_cache(maxsize=64)
def _session_of(minute: int, market: Market) -> State:
    return _RULES.session_at(minute * MINUTE_NS, market)


@lru_cache(maxsize=64)
def _next_change_of(minute: int, market: Market) -> int:
    return _RULES.next_change_ns(minute * MINUTE_NS, market)
