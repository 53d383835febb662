"""A clock that stands still until a test moves it."""

from core.clock import NS_PER_S

# 2026-11-20 14:30:00 UTC, a Friday's cash open in New York.
OPEN_NS = 1_795_185_000 * NS_PER_S


class ManualClock:
    """Wall time and monotonic time move together, and only through `advance_*` and `sleep_s`."""

    def __init__(self, now_ns: int = OPEN_NS) -> None:
        self._now_ns = now_ns
        self._start_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns - self._start_ns

    def sleep_s(self, seconds: float) -> None:
        """Return at once, that much later."""
        self.advance_s(seconds)

    def advance_s(self, seconds: float) -> None:
        self.advance_ns(round(seconds * NS_PER_S))

    def advance_ns(self, nanoseconds: int) -> None:
        assert nanoseconds >= 0, "use set_wall_ns to step the wall clock back"
        self._now_ns += nanoseconds

    def set_wall_ns(self, now_ns: int) -> None:
        """Step the wall clock, as an operator or NTP would; monotonic time does not move."""
        self._start_ns += now_ns - self._now_ns
        self._now_ns = now_ns
