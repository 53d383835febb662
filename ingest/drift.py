"""How far our clock is behind for sure, so that true rows are not refused as of the future.

A server's `Date` proves it, and so does a live print that comes before it happened. A single print
may be wrong; prints are believed as far as most of the last do agree.
"""

from collections import deque
from statistics import median_low

from core.board import Board
from core.clock import DAY_US, US_PER_S
from core.log import Log

log = Log("clock")
PART = "clock"
HEARD_MIN, HEARD_MAX = 3, 15
BEHIND_US_MAX = 7 * DAY_US  # nobody is believed who says more
TOLD_US_MIN = 5 * US_PER_S


class Drift:
    """What is proven by now: `behind_us`, 0 where nothing is."""

    def __init__(self) -> None:
        self.behind_us = 0
        self._told_us = 0
        self._is_shown = False
        self._ahead_us: deque[int] = deque(maxlen=HEARD_MAX)

    def tell(self, error_s: float) -> None:
        """A server's time proves so much of our clock; below 0 it is slow."""
        self._told_us = int(max(-error_s, 0) * US_PER_S)
        self._judge()

    def hear(self, ahead_us: int) -> None:
        """The newest of some live rows happened so much after they came."""
        self._ahead_us.append(ahead_us)
        if ahead_us > 0 or self.behind_us > 0:
            self._judge()

    def show(self, board: Board) -> None:
        """Tell the board, of a clock that was never slow nothing."""
        board.gauge("clock.behind_s", self.behind_us / US_PER_S)
        if self.behind_us >= TOLD_US_MIN:
            told = f"at least {self.behind_us // US_PER_S} s slow; switch time sync on"
            board.state(PART, "degraded", told)
            self._is_shown = True
        elif self._is_shown:
            board.state(PART, "ok", "right again")

    def _judge(self) -> None:
        """Prints are newer evidence than the server's time when the connection was made."""
        is_heard = len(self._ahead_us) >= HEARD_MIN
        proven_us = max(median_low(self._ahead_us), 0) if is_heard else self._told_us
        behind_us = min(proven_us, BEHIND_US_MAX)
        if behind_us >= TOLD_US_MIN > self.behind_us:
            log.error("clock.slow", behind_s=behind_us // US_PER_S, todo="switch time sync on")
        self.behind_us = behind_us
