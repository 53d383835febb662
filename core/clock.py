"""The only place that reads a clock.

Everything else takes a `Clock` as a parameter, so a test can hand in its own time.
"""

import time
from typing import Protocol

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
US_PER_S = 1_000_000
MINUTE_NS = 60 * NS_PER_S
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
HOUR_US = HOUR_NS // NS_PER_US
DAY_US = DAY_NS // NS_PER_US


class Clock(Protocol):
    """What the program may know of time."""

    def now_ns(self) -> int:
        """Wall time: nanoseconds since 1970-01-01 UTC."""

    def monotonic_ns(self) -> int:
        """Time that never runs backwards, for durations."""

    def sleep_s(self, seconds: float) -> None:
        """Block this thread."""


class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_s(self, seconds: float) -> None:
        time.sleep(seconds)
