"""Looks after the history queue from the ingest process: starts the worker when there is work.

Once a day, after the close, it queues the end-of-day file of each polled ticker.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Final

import httpx

from core.board import Board
from core.children import Child, ChildSpec
from core.clock import Clock
from core.errors import PipelineError
from core.log import Log
from core.session import Sessions
from core.settings import Settings
from ingest.gex_links import Series
from ingest.gex_queue import JobQueue
from ingest.gexbot_plan import Plan
from storage.paths import Paths

log = Log("gex")
PART: Final = "gex history"
LOOK_S: Final = 0.5
SILENT_S: Final = 10.0
RESTART_S: Final = 5.0


class Jobs:
    """One life of the look-out, in a thread of its own."""

    def __init__(
        self,
        queue: JobQueue,
        board: Board,
        worker: Child,
        *,
        eod: Callable[[], list[tuple[Series, str]]],
    ) -> None:
        self._queue = queue
        self._board = board
        self._worker = worker
        self._eod = eod

    def run(self, stopping: threading.Event) -> None:
        """Look until told to stop; then the worker is stopped."""
        try:
            while not stopping.is_set():
                for series, host in self._eod():
                    if self._queue.add_eod(series, host):
                        log.info("eod.queued", series=series)
                if self._worker.has_ended() and self._queue.is_due():
                    self._worker.start()
                self._show()
                stopping.wait(LOOK_S)
        finally:
            self._worker.stop()

    def _show(self) -> None:
        counts = self._queue.counts()
        for state, count in counts.items():
            self._board.gauge(f"gex_history.{state}", count)
        for state in {"queued", "running"} - counts.keys():
            self._board.gauge(f"gex_history.{state}", 0)
        failed = self._queue.last_failure()
        told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        if failed is not None:
            detail = f"job {failed.id} {failed.state}: {failed.error}"
            self._board.state(PART, "degraded", detail)
        else:
            self._board.state(PART, "ok", told or "nothing queued", limit_s=SILENT_S)


def start_jobs(
    settings: Settings, board: Board, clock: Clock, stopping: threading.Event
) -> threading.Thread:
    """Look after the queue in a thread, which the caller joins after it set `stopping`."""
    paths = Paths(settings.data_dir)
    command = (sys.executable, "-m", "tickflight", "_child", "history")
    env = {**os.environ, **settings.as_env()}  # noqa: TID251 - for a child of ours

    def body() -> None:
        while not stopping.is_set():
            try:
                worker = Child(ChildSpec("history", command), env, clock)
                with closing(JobQueue(paths.gex_jobs, clock)) as queue:
                    Jobs(queue, board, worker, eod=_eod_of(settings, clock)).run(stopping)
            except PipelineError as error:
                board.state(PART, "down", error.message)
                log.error("jobs.stopped", why=error.message)
                stopping.wait(RESTART_S)
            except Exception as error:
                board.state(PART, "down", type(error).__name__)
                log.exception("jobs.stopped")
                stopping.wait(RESTART_S)

    thread = threading.Thread(target=body, name="gex history")
    thread.start()
    return thread


def _eod_of(settings: Settings, clock: Clock) -> Callable[[], list[tuple[Series, str]]]:
    """The end-of-day files that should be there now, told once a session."""
    plan, told = Plan(Sessions()), ""
    host = httpx.URL(settings.text("GEXBOT_BASE_URL")).host

    def due() -> list[tuple[Series, str]]:
        nonlocal told
        day = plan.finished_session(clock.now_ns())
        if not settings.text("GEXBOT_API_KEY") or day is None or str(day) == told:
            return []
        told = str(day)
        tickers = settings.words("GEXBOT_TICKERS")
        return [(Series(name, "classic", "gex_zero", told), host) for name in tickers]

    return due
