"""For a server that follows: logs of a lake in a bucket, brought when the first server has sealed.

Readers are told only once a log is here, so what they see is never ahead of what they can read, and
rows stay hot until then. Where the lake is a folder both see, they are told at once.
"""

import threading
from collections.abc import Callable
from typing import Final

from core.board import Board
from core.errors import PipelineError
from core.log import Log
from storage.lake import Lake
from storage.lake_cache import KEPT
from storage.manifest import Manifest
from storage.rollup import WIDTHS_US

log = Log("lake")
LOOK_S: Final = 0.05
AGAIN_S: Final = 5.0
PART: Final = "bucket"


def bring(lake: Lake, table: str) -> None:
    """Bring a table's logs and its rollups', and the files that are always kept.

    Raise LakeError, Unavailable.
    """
    lake.pull(table, *(WIDTHS_US if table == "trades" else ()))
    if table == KEPT:
        lake.fetch(Manifest(lake, table).refresh().pruned())


class LakeNews:
    """What was heard of seals and is not here yet; at most one thing a table."""

    def __init__(self, lake: Lake, tell: Callable[[str, int], None], board: Board) -> None:
        self._lake = lake
        self._tell = tell
        self._board = board
        self._lock = threading.Lock()
        self._heard: dict[str, int] = {}
        self._is_away = False

    def hear(self, table: str, version: int) -> None:
        """A table was sealed further."""
        if self._lake.far is None:
            self._tell(table, version)
            return
        with self._lock:
            self._heard[table] = version

    def run(self, stopping: threading.Event) -> None:
        """Bring what was heard of until told to stop."""
        while not stopping.wait(LOOK_S):
            with self._lock:
                heard = dict(self._heard)
            for table, version in heard.items():
                if not self._bring(table, version):
                    stopping.wait(AGAIN_S)
                    break

    def _bring(self, table: str, version: int) -> bool:
        try:
            bring(self._lake, table)
        except PipelineError as error:
            if not self._is_away:
                log.warning("bucket.away", code=error.code, error=error.message)
            self._is_away = True
            self._board.state(PART, "degraded", f"{error.message}; {error.hint}")
            return False
        if self._is_away:
            log.info("bucket.back")
        self._is_away = False
        self._board.state(PART, "ok")
        self._tell(table, version)
        with self._lock:
            if self._heard.get(table) == version:
                del self._heard[table]
        return True
