"""When GEXBot is asked: every second of regular hours, hourly while only Globex is open. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from core.clock import HOUR_NS, MINUTE_NS, NS_PER_S
from core.session import NEW_YORK, Sessions

GRACE_NS = 5 * NS_PER_S  # the last record of a session is stamped with its very end
HALF_DAY_GRACE_NS = 15 * MINUTE_NS  # whether they stop with stocks or with options is unknown
FINAL_NS = 2 * MINUTE_NS
WARM_NS = 30 * NS_PER_S
EOD_NS = 15 * MINUTE_NS
EOD_DAYS_BACK = 14
Hours = Literal["rth", "eth", "closed"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Evenly spaced moments of a clock that never runs back; a missed one is left out."""

    start_ns: int
    period_ns: int

    def after(self, now_ns: int) -> int:
        """The first moment later than `now_ns`."""
        return self.start_ns + ((now_ns - self.start_ns) // self.period_ns + 1) * self.period_ns


class Plan:
    """What is due, by the market's calendar."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def hours(self, now_ns: int) -> Hours:
        """Which hours it is for polling: regular ones last a little longer than the market's."""
        span = self._rth(now_ns)
        if span is not None and span[0] <= now_ns < span[1] + self._grace_ns(now_ns):
            return "rth"
        state = self._sessions.session_at(now_ns, "cme")
        return "closed" if state == "closed" else "eth"

    def is_due(self, now_ns: int, last_ns: int) -> bool:
        """Whether to ask now, when last asked at `last_ns` (0: never)."""
        match self.hours(now_ns):
            case "rth":
                return True
            case "eth":
                return now_ns // HOUR_NS != last_ns // HOUR_NS or self._is_final(now_ns, last_ns)
            case _:
                return False

    def is_warming(self, now_ns: int) -> bool:
        """Whether regular hours begin within half a minute."""
        span = self._rth(now_ns)
        return span is not None and span[0] - WARM_NS <= now_ns < span[0]

    def finished_session(self, now_ns: int) -> date | None:
        """The newest day whose end-of-day file should be there."""
        today = _day(now_ns)
        for back in range(EOD_DAYS_BACK):
            day = today - timedelta(days=back)
            span = self._sessions.rth(day)
            if span is not None and span[1] + EOD_NS <= now_ns:
                return day
        return None

    def _is_final(self, now_ns: int, last_ns: int) -> bool:
        """One more look two minutes after the close."""
        span = self._rth(now_ns)
        return span is not None and last_ns < span[1] + FINAL_NS <= now_ns and last_ns >= span[0]

    def _rth(self, now_ns: int) -> tuple[int, int] | None:
        return self._sessions.rth(_day(now_ns))

    def _grace_ns(self, now_ns: int) -> int:
        return HALF_DAY_GRACE_NS if self._sessions.is_half_day(_day(now_ns)) else GRACE_NS


def _day(now_ns: int) -> date:
    return datetime.fromtimestamp(now_ns // NS_PER_S, UTC).astimezone(NEW_YORK).date()
