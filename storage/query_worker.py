"""The process that runs SQL: low priority, bounded memory, no writing, restarted when it dies.

It serves a few lanes, one statement at a time each. A watchdog interrupts a statement that is
cancelled or over its time, and kills the process if the interrupt is not heeded. It holds nothing
anybody needs: hot rows are copies of the segments.

    python -m storage.query_worker '{"root": ..., "lake": ..., "lanes": [...], ...}'
"""

import os
import queue
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from core.clock import NS_PER_S, Clock, SystemClock
from core.errors import PipelineError, TooMuch, TooSlow, Unavailable
from core.log import Log, start_logging
from storage.manifest import Partition
from storage.paths import Paths
from storage.query_engine import Engine, EngineOptions, Session, translated
from storage.query_tables import Scope, no_need
from storage.query_wire import (
    GRACE_S,
    Channel,
    Frame,
    Kind,
    SlotWriter,
    WorkerOptions,
    error_of,
    facts_of,
    parse_options,
)

log = Log("query")
STALL_S = 60.0
WATCH_S = 0.05
LOAD_S = 0.1
PRIORITY = 19
FILES_MAX = 4_096
FILES_ASKED_MAX = 50_000  # in one frame


class Run:
    """One statement being run: its time, and whether it should stop."""

    def __init__(self, number: int, session: Session, clock: Clock) -> None:
        self.number = number
        self.session = session
        self.stop_reason = ""
        self.stopped_ns = 0
        self._clock = clock
        self._spent_ns = 0
        self._since_ns: int | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time DuckDB works; waiting for the consumer is not counted."""
        self._since_ns = self._clock.monotonic_ns()
        try:
            yield
        finally:
            self._spent_ns += self._clock.monotonic_ns() - self._since_ns
            self._since_ns = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Leave out the time somebody else works for it."""
        assert self._since_ns is not None
        self._spent_ns += self._clock.monotonic_ns() - self._since_ns
        self._since_ns = None
        try:
            yield
        finally:
            self._since_ns = self._clock.monotonic_ns()

    @property
    def is_working(self) -> bool:
        """Whether DuckDB has the thread right now."""
        return self._since_ns is not None

    def spent_ns(self) -> int:
        """How long DuckDB has worked on it."""
        since = self._since_ns
        running = self._clock.monotonic_ns() - since if since is not None else 0
        return self._spent_ns + running

    def stop(self, reason: str) -> None:
        """Interrupt it; said again by the watchdog until it is heeded."""
        if not self.stop_reason:
            self.stopped_ns = self._clock.monotonic_ns()
            self.stop_reason = reason
        self.session.interrupt()


class LaneServer:
    """Serves one lane: a thread that listens, a thread that runs."""

    def __init__(
        self, channel: Channel, slots: SlotWriter, engine: Engine, options: WorkerOptions
    ) -> None:
        self.channel = channel
        self.run: Run | None = None
        self._slots = slots
        self._engine = engine
        self._options = options
        self._clock = SystemClock()
        self._questions: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._had: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._cancelled = 0

    def start(self) -> None:
        """Start both threads."""
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._serve, daemon=True).start()

    def _listen(self) -> None:
        while True:
            frame = self.channel.receive()
            if frame is None:
                os._exit(0)  # whoever started us is gone
            match frame.kind:
                case Kind.FREE:
                    self._slots.free(frame.payload[0])
                case Kind.CANCEL:
                    self._cancelled = int(frame.payload)
                    run = self.run
                    if run is not None and run.number == self._cancelled:
                        run.stop("cancelled")
                        self._slots.wake()
                case Kind.QUESTION:
                    self._questions.put(frame)
                case Kind.HAVE:
                    self._had.put(frame)
                case _:
                    raise AssertionError(frame.kind)

    def _serve(self) -> None:
        while True:
            facts = self._questions.get().facts()
            try:
                self._answer(facts)
            except PipelineError as error:
                self._fail(error)
            except (duckdb.Error, pa.ArrowException, MemoryError, OSError) as error:
                self._fail(self._judged(error))
            except Exception:
                log.exception("query.failed")
                self._fail(Unavailable("the query worker failed on this statement"))
            finally:
                run, self.run = self.run, None
                if run is not None:
                    run.session.close()

    def _answer(self, facts: dict[str, object]) -> None:
        sql, literals, number = facts["sql"], facts["literals"], facts["number"]
        assert isinstance(sql, str)
        assert isinstance(literals, list)
        assert isinstance(number, int)
        statement = self._engine.check(sql, literals)
        run = self.run = Run(number, self._engine.session(), self._clock)
        if self._cancelled >= number:
            run.stop("cancelled")
        with run.working():
            need = partial(self._need, run) if self._options.is_partial else no_need
            answer = self._engine.open(run.session, statement, _scope(facts), need)
            if facts.get("is_describe"):
                self.channel.send(Kind.SCHEMA, answer.schema().serialize().to_pybytes())
                self.channel.send_facts(Kind.END, {"rows": 0, "bytes": 0})
                return
            schema, batches = answer.batches()
        self.channel.send(Kind.SCHEMA, schema.serialize().to_pybytes())
        self._stream(run, batches)

    def _need(self, run: Run, files: Sequence[Partition]) -> None:
        """Have the asker fetch files of a bucket: this process reaches no network."""
        wanted = [(file.path, file.bytes) for file in files]
        for start in range(0, len(wanted), FILES_ASKED_MAX):
            self.channel.send_facts(Kind.WANT, {"files": wanted[start : start + FILES_ASKED_MAX]})
            with run.waiting():
                facts = self._had.get().facts()
            if "code" in facts:
                raise error_of(facts)

    def _stream(self, run: Run, batches: Iterator[pa.RecordBatch]) -> None:
        rows = sent_bytes = 0
        while True:
            with run.working():
                batch = next(batches, None)
            if batch is None:
                break
            if run.stop_reason:
                raise _stopped(run, self._options)
            rows += batch.num_rows
            sent_bytes += batch.nbytes
            if rows > self._options.rows or sent_bytes > self._options.bytes:
                raise TooMuch(
                    f"the answer is larger than {self._options.rows} rows or "
                    f"{self._options.bytes} bytes",
                    hint="narrow the range, add LIMIT, or read ticks: in parts",
                )
            if not self._slots.write(batch, lambda: bool(run.stop_reason), STALL_S):
                raise TooSlow(f"nobody took rows for {STALL_S:g} s", hint="read faster")
        self.channel.send_facts(Kind.END, {"rows": rows, "bytes": sent_bytes})

    def _judged(self, error: BaseException) -> PipelineError:
        run = self.run
        if run is not None and run.stop_reason:
            return _stopped(run, self._options)
        return translated(error)

    def _fail(self, error: PipelineError) -> None:
        self.channel.send_facts(Kind.ERROR, facts_of(error))

    def watch(self) -> None:
        """Stop a statement that is over its time; end the process if it does not stop."""
        run = self.run
        if run is None or not run.is_working:
            return
        if run.stop_reason or run.spent_ns() > self._options.seconds * NS_PER_S:
            run.stop("slow")
            waited_ns = self._clock.monotonic_ns() - run.stopped_ns
            if waited_ns > GRACE_S * NS_PER_S and run.is_working:
                self._fail(_stopped(run, self._options))
                log.warning("worker.gave_up", reason=run.stop_reason)
                os.kill(os.getpid(), signal.SIGKILL)


def _scope(facts: dict[str, object]) -> Scope:
    symbols, known_at_us = facts.get("symbols"), facts.get("known_at_us")
    assert symbols is None or isinstance(symbols, list)
    assert known_at_us is None or isinstance(known_at_us, int)
    return Scope(None if symbols is None else frozenset(symbols), known_at_us)


def _stopped(run: Run, options: WorkerOptions) -> PipelineError:
    if run.stop_reason == "slow":
        return TooSlow(
            f"the statement was stopped after {options.seconds:g} s",
            hint="narrow the time range or ask the bars tables",
        )
    return Unavailable("the statement was cancelled", hint="ask again")


def _limit_process() -> None:
    os.nice(PRIORITY)
    # No file can grow by this process, whatever SQL finds to write with.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES_MAX, hard), min(FILES_MAX, hard)))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _limit_memory(memory_bytes: int) -> None:
    """Bound what statements may add to what the idle process has reserved."""
    status = Path("/proc/self/status").read_text()
    idle_bytes = int(status.split("VmData:")[1].split()[0]) * 1024
    limit_bytes = idle_bytes + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def main(argument: str) -> None:
    """Serve until whoever started the process is gone."""
    start_logging("query")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = parse_options(argument)
    clock = SystemClock()
    _limit_process()
    engine = Engine(
        Paths(Path(options.root)),
        options.lake,
        EngineOptions(options.memory_bytes, options.threads),
        clock,
    )
    lanes = []
    for fd, slots in options.lanes:
        channel = Channel(socket.socket(fileno=fd))
        lanes.append(LaneServer(channel, SlotWriter(slots, channel), engine, options))
    for lane in lanes:
        lane.start()
    threading.Thread(target=_load_forever, args=(engine, clock), daemon=True).start()
    _limit_memory(options.memory_bytes)
    for lane in lanes:
        lane.channel.send(Kind.READY)
    while True:
        for lane in lanes:
            lane.watch()
        clock.sleep_s(WATCH_S)


def _load_forever(engine: Engine, clock: Clock) -> None:
    while True:
        try:
            engine.load_hot()
        except Exception:
            # Without it queries read the segments, so this thread must only not go away.
            log.exception("hot.load_failed")
            clock.sleep_s(1)
        clock.sleep_s(LOAD_S)


if __name__ == "__main__":
    main(sys.argv[1])
