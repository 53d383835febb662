"""Percentiles of the last few hundred durations."""

from collections import deque

from core.board import Board

WINDOW = 600


class Latencies:
    """A sliding window of durations in milliseconds."""

    def __init__(self, window: int = WINDOW) -> None:
        self._last: deque[float] = deque(maxlen=window)

    def add(self, ms: float) -> None:
        """Take one in; the oldest falls out."""
        self._last.append(ms)

    def percentile(self, percent: float) -> float | None:
        """The duration that `percent` of them do not exceed; None where there is none."""
        ordered = sorted(self._last)
        if not ordered:
            return None
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]

    def show(self, board: Board, name: str) -> None:
        """Set gauges NAME_p50, _p95 and _p99, in milliseconds."""
        for percent in (50, 95, 99):
            ms = self.percentile(percent)
            if ms is not None:
                board.gauge(f"{name}_p{percent}", round(ms, 3))
