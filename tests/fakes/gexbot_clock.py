"""The machine's clock, moved to a time of the test's choice."""

from core.clock import SystemClock


class ShiftedClock(SystemClock):
    def __init__(self, now_ns):
        self._shift_ns = now_ns - SystemClock.now_ns(self)

    def now_ns(self):
        return SystemClock.now_ns(self) + self._shift_ns
