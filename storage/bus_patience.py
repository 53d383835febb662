"""What to do when Redis fails: say it once, wait ever longer, never two callers in step."""

import random
import threading
from typing import Final

from core.board import Board
from core.errors import PipelineError
from core.log import Log

FIRST_S: Final = 0.1
LOST_S_MAX: Final = 5.0
MUST_ACT_S: Final = 15.0


class Patience:
    """Waits between attempts; one part of a board shows why."""

    def __init__(self, log: Log, board: Board, part: str) -> None:
        self._log = log
        self._board = board
        self._part = part
        self._said = ""
        self._failures = 0

    def failed(self, error: PipelineError, stopping: threading.Event) -> None:
        """Show the fault, log it where it is a new one, and wait."""
        must_act = not error.retry
        told = f"{error.message}; {error.hint}" if error.hint else error.message
        self._board.state(self._part, "down" if must_act else "degraded", told)
        self._board.count("failures")
        if told != self._said:
            say = self._log.error if must_act else self._log.warning
            say("redis.failed", code=error.code, error=error.message, hint=error.hint)
            self._said = told
        pause_s = MUST_ACT_S if must_act else min(FIRST_S * 2**self._failures, LOST_S_MAX)
        self._failures = min(self._failures + 1, 16)
        stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret

    def succeeded(self) -> None:
        """Forget past failures."""
        if self._said:
            self._log.info("redis.recovered", failures=self._failures)
        self._said, self._failures = "", 0
        self._board.state(self._part, "ok")
