"""The machine's clock, moved to a time of the test's choice."""

from core.clock import NS_PER_S, SystemClock


class ShiftedClock(SystemClock):
    def __init__(self, now_ns):
        self._shift_ns = now_ns - SystemClock.now_ns(self)

    def step_s(self, seconds):
        """Set it forward or back."""
        self._shift_ns += seconds * NS_PER_S

    def now_ns(self):
        return SystemClock.now_ns(self) + self._shift_ns
