"""SQL over the tape, as a service: a `Question` in, a stream of record batches out.

Statements run in a worker process (`query_worker`), which is started here, restarted when it dies,
and stopped here. This side knows no SQL: it hands over the text, waits, and gives the rows on
without copying them. Dropping the reader cancels the statement.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
from pyarrow import ipc

from core.clock import NS_PER_S, Clock, SystemClock
from core.errors import PipelineError, Unavailable
from core.log import Log
from core.schema import TABLES
from core.settings import Settings
from storage.lake import Lake, as_lake, lake_of, pull_at_start
from storage.paths import Paths
from storage.query_lane import Cancelled, Died, Lane, QueryLimits, Question, Worker, never
from storage.query_scan import ScanLimits, parse_scan, scanned
from storage.query_text import literal
from storage.query_wire import GRACE_S, Frame, Kind
from storage.view import Views

__all__ = ["QueryLimits", "QueryService", "Question", "open_service"]
log = Log("query")
LANES = 4
WAITING_MAX = 16
WAIT_S = 10.0
POLL_S = 0.05
RESTART_S = 0.5


class QueryService:
    """Runs statements; safe to use from many threads."""

    def __init__(
        self,
        paths: Paths,
        lake: Lake | str,
        limits: QueryLimits,
        *,
        lanes: int = LANES,
        clock: Clock | None = None,
        views: Views | None = None,
    ) -> None:
        self._paths = paths
        self._lake = as_lake(lake)
        self._limits = limits
        self._scan_limits = ScanLimits(limits.rows, limits.bytes)
        self._views = views
        self._lane_count = lanes
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._worker: Worker | None = None
        self._idle: list[Lane] = []
        self._waiting = 0
        self._is_stopped = True
        self.restarts = 0

    def start(self) -> None:
        """Start the worker and wait until it serves."""
        self._is_stopped = False
        self._use(self._spawn())

    def stop(self) -> None:
        """End the worker; running statements fail."""
        with self._changed:
            self._is_stopped = True
            worker, self._worker = self._worker, None
            self._idle.clear()
            self._changed.notify_all()
        if worker is not None:
            worker.close()

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, for the status page."""
        worker = self._worker
        return worker.process.pid if worker is not None else None

    def run(
        self, question: Question, *, is_cancelled: Callable[[], bool] = never
    ) -> pa.RecordBatchReader:
        """Answer a question; the first rows are ready when this returns.

        Raises BadSql, Forbidden, TooMuch, TooSlow and Unavailable; those that come up later are
        raised by the reader. Dropping the reader, or `is_cancelled`, stops the statement.
        """
        scan = self._scanned(question)
        if scan is not None:
            return scan
        lane, schema, frame = self._begin(question, is_cancelled, is_describe=False)
        rows = _Rows(self, lane, frame, is_cancelled)
        return pa.RecordBatchReader.from_batches(schema, rows)

    def describe(self, question: Question) -> pa.Schema:
        """The columns an answer would have."""
        lane, schema, _ = self._begin(question, never, is_describe=True)
        self.give_back(lane)
        return schema

    def _scanned(self, question: Question) -> pa.RecordBatchReader | None:
        """The answer where the statement is a bare range of rows; None where it is not."""
        if self._is_stopped:
            return None
        scan = parse_scan(question.sql, [literal(value) for value in question.params])
        if scan is None or (question.symbols is not None and scan.symbol not in question.symbols):
            return None
        try:
            if self._views is None:
                self._views = Views(self._paths, self._lake)
            return scanned(self._views.view(), scan, question.known_at_us, self._scan_limits)
        except Unavailable:
            return None  # nothing was ever hot here; the worker reads the lake

    def _begin(
        self, question: Question, is_cancelled: Callable[[], bool], *, is_describe: bool
    ) -> tuple[Lane, pa.Schema, Frame]:
        """Ask, and wait for schema and first rows; ask again where another one ended the worker."""
        for is_last in (False, True):
            lane = self._take(is_cancelled)
            is_done = False
            try:
                lane.ask(question, is_describe=is_describe)
                frame = self.next(lane, is_cancelled)
                assert frame.kind == Kind.SCHEMA, frame.kind
                schema = ipc.read_schema(pa.py_buffer(frame.payload))
                first = self.next(lane, is_cancelled)
                is_done = True
                return lane, schema, first
            except Died:
                is_done = True
                if is_last:
                    raise _restarted() from None
            except Cancelled:
                raise
            except PipelineError:
                is_done = True
                self.give_back(lane)
                raise
            finally:
                if not is_done:
                    self.cancel(lane)
        raise AssertionError

    def next(self, lane: Lane, is_cancelled: Callable[[], bool]) -> Frame:
        """What a lane's worker says next."""
        return lane.next(is_cancelled, self._clock, self._limits.seconds + 3 * GRACE_S)

    def _take(self, is_cancelled: Callable[[], bool]) -> Lane:
        deadline_ns = self._clock.monotonic_ns() + int(WAIT_S * NS_PER_S)
        with self._changed:
            if self._waiting >= WAITING_MAX:
                raise Unavailable("too many statements are waiting", hint="ask again in a moment")
            self._waiting += 1
            try:
                while not self._idle:
                    if self._is_stopped or is_cancelled():
                        raise Unavailable("SQL is not served right now", hint="ask again later")
                    if self._clock.monotonic_ns() > deadline_ns:
                        raise Unavailable(
                            f"{self._lane_count} statements are running and none ended in "
                            f"{WAIT_S:g} s",
                            hint="ask again in a moment",
                        )
                    self._changed.wait(POLL_S)
                return self._idle.pop()
            finally:
                self._waiting -= 1

    def give_back(self, lane: Lane) -> None:
        """The lane is free for the next statement."""
        with self._changed:
            if lane.worker is self._worker:
                self._idle.append(lane)
                self._changed.notify()
            else:
                lane.channel.close()

    def cancel(self, lane: Lane) -> None:
        """Stop the lane's statement in the background; whoever cancels does not wait."""
        threading.Thread(target=self._drain, args=(lane,), daemon=True).start()

    def _drain(self, lane: Lane) -> None:
        if lane.drain(self._clock):
            self.give_back(lane)

    def _spawn(self) -> Worker:
        worker = Worker(self._paths, self._lake, self._limits, self._lane_count)
        try:
            worker.wait_ready(self._clock)
        except Unavailable:
            worker.close()
            raise
        log.info("worker.started", pid=worker.process.pid)
        return worker

    def _use(self, worker: Worker) -> None:
        with self._changed:
            if self._is_stopped:
                worker.close()
                return
            self._worker = worker
            self._idle = list(worker.lanes)
            self._changed.notify_all()
        threading.Thread(target=self._restart_after, args=(worker,), daemon=True).start()

    def _restart_after(self, worker: Worker) -> None:
        """Wait for a worker's end and start the next one."""
        code = worker.process.wait()
        with self._changed:
            if self._is_stopped or self._worker is not worker:
                return
            self._worker = None
            for lane in self._idle:
                lane.channel.close()
            self._idle.clear()
        log.warning("worker.died", pid=worker.process.pid, code=code)
        while not self._is_stopped:
            self.restarts += 1
            try:
                self._use(self._spawn())
                return
            except (Unavailable, OSError) as error:
                log.error("worker.not_started", reason=error)
                self._clock.sleep_s(RESTART_S)


class _Rows:
    """The batches of one answer. Not a generator: one that was never begun cleans nothing up."""

    def __init__(
        self, service: QueryService, lane: Lane, frame: Frame, is_cancelled: Callable[[], bool]
    ) -> None:
        self._service = service
        self._lane = lane
        self._frame: Frame | None = frame
        self._is_cancelled = is_cancelled
        self._is_done = False

    def __iter__(self) -> "_Rows":
        return self

    def __next__(self) -> pa.RecordBatch:
        if self._is_done:
            raise StopIteration
        try:
            frame = self._frame or self._service.next(self._lane, self._is_cancelled)
        except Died:
            self._is_done = True
            raise _restarted() from None
        except Cancelled:
            raise
        except PipelineError:
            self._is_done = True
            self._service.give_back(self._lane)
            raise
        self._frame = None
        if frame.kind == Kind.BATCH:
            return self._lane.slots.read(frame)
        assert frame.kind == Kind.END, frame.kind
        self._is_done = True
        self._service.give_back(self._lane)
        raise StopIteration

    def __del__(self) -> None:
        if self._is_done:
            return
        if self._frame is not None and self._frame.kind == Kind.BATCH:
            self._lane.slots.read(self._frame)  # and let go, so that its slot is free
        self._service.cancel(self._lane)


@contextmanager
def open_service(settings: Settings, *, lanes: int = LANES) -> Iterator[QueryService]:
    """A started service with the limits of the settings, stopped at the end."""
    limits = QueryLimits(
        seconds=settings.number("SQL_SECONDS"),
        rows=settings.number("RESULT_ROWS"),
        bytes=settings.number("RESULT_BYTES"),
        memory_bytes=settings.number("MEMORY_LIMIT"),
    )
    lake = lake_of(settings)
    pull_at_start(lake, list(TABLES))
    service = QueryService(Paths(settings.data_dir), lake, limits, lanes=lanes)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def _restarted() -> Unavailable:
    return Unavailable(
        "the query worker was restarted while it answered", hint="ask again; nothing is lost"
    )
