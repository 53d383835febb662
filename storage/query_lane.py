"""The asker's side of one query worker: its process, and a lane for each statement it runs."""

import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.clock import NS_PER_S, Clock
from core.errors import PartitionCorrupt, PipelineError, TooSlow, Unavailable
from core.log import Log
from storage.lake import Lake
from storage.paths import Paths
from storage.query_text import literal
from storage.query_wire import (
    GRACE_S,
    Channel,
    Frame,
    Kind,
    SlotReader,
    WorkerOptions,
    create_slots,
    error_of,
    facts_of,
)

log = Log("query")
POLL_S = 0.05
START_S = 60.0
ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    # Keep what batches are made of mapped: handing it back after each costs a fifth of the time.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one statement may use; `memory_bytes` is of the worker, shared by its statements."""

    seconds: float
    rows: int
    bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Question:
    """A statement and what its asker may see: `symbols` None means all."""

    sql: str
    params: tuple[object, ...] = ()
    symbols: frozenset[str] | None = None
    known_at_us: int | None = None


def never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A sealed file a worker is about to read."""

    path: str
    bytes: int


class Died(Exception):
    """The worker went away before it answered."""


class Cancelled(Unavailable):
    """Nobody wants the answer any more; the worker may still be at work on it."""


class Deaf(TooSlow):
    """The worker did not say anything in time, so it was ended."""


class Lane:
    """One statement at a time over one channel."""

    def __init__(self, worker: "Worker", sock: socket.socket, slots: list[int]) -> None:
        self.worker = worker
        self.channel = Channel(sock)
        self.slots = SlotReader(slots, self.channel)
        self.number = 0

    def ask(self, question: Question, *, is_describe: bool) -> None:
        """Send a question."""
        self.number += 1
        known = question.symbols
        facts: dict[str, object] = {
            "number": self.number,
            "sql": question.sql,
            "literals": [literal(value) for value in question.params],
            "symbols": None if known is None else sorted(known),
            "known_at_us": question.known_at_us,
            "is_describe": is_describe,
        }
        try:
            self.channel.send_facts(Kind.QUESTION, facts)
        except OSError as error:
            self.channel.close()
            raise Died from error

    def next(self, is_cancelled: Callable[[], bool], clock: Clock, seconds: float) -> Frame:
        """The next frame; raise what it says went wrong, or Unavailable where cancelled.

        Files it wants meanwhile are fetched for it, which may take as long again.
        """
        while True:
            deadline_ns = clock.monotonic_ns() + int(seconds * NS_PER_S)
            while not self._is_ready():
                if is_cancelled():
                    raise Cancelled("the statement was cancelled", hint="ask again")
                if clock.monotonic_ns() > deadline_ns:
                    self.worker.kill()
                    raise Deaf("the query worker did not answer in time", hint="ask for less")
            frame = self.channel.receive()
            if frame is None:
                self.channel.close()
                raise Died
            if frame.kind == Kind.ERROR:
                raise error_of(frame.facts())
            if frame.kind != Kind.WANT:
                return frame
            self._fetch(frame, is_cancelled)

    def _fetch(self, frame: Frame, is_cancelled: Callable[[], bool]) -> None:
        """Have files on this machine and say so, or what went wrong."""
        wanted = frame.facts()["files"]
        assert isinstance(wanted, list)
        files = [WantedFile(str(path), int(size)) for path, size in wanted]
        told: dict[str, object] = {}
        try:
            lake, seconds = self.worker.lake, self.worker.seconds
            lake.fetch(files, is_cancelled=is_cancelled, seconds=seconds)
        except PartitionCorrupt as error:
            log.error("partition.unreadable", error=error.message)
            told = facts_of(Unavailable("a sealed partition cannot be read", hint=error.hint))
        except PipelineError as error:
            told = facts_of(error)
        self.channel.send_facts(Kind.HAVE, told)

    def _is_ready(self) -> bool:
        """Wait a moment for the worker to say something, or to be gone."""
        fd = self.channel.sock.fileno()
        if fd < 0:
            raise Died
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(POLL_S * 1000))

    def drain(self, clock: Clock) -> bool:
        """Cancel and wait until the worker has let go; False where it does not."""
        try:
            self.channel.send(Kind.CANCEL, str(self.number).encode())
            while True:
                frame = self.next(never, clock, 2 * GRACE_S)
                if frame.kind == Kind.END:
                    return True
                if frame.kind == Kind.BATCH:
                    self.slots.read(frame)
        except (Died, Deaf, OSError):
            self.channel.close()
            return False
        except PipelineError:
            return True


class Worker:
    """One worker process and its lanes."""

    def __init__(self, paths: Paths, lake: Lake, limits: QueryLimits, lanes: int) -> None:
        self.lake = lake
        self.seconds = limits.seconds
        pairs = [socket.socketpair() for _ in range(lanes)]
        slots = [create_slots() for _ in range(lanes)]
        theirs = [(pair[1].fileno(), fds) for pair, fds in zip(pairs, slots, strict=True)]
        options = WorkerOptions(
            root=str(paths.root),
            lake=str(lake.folder),
            is_partial=lake.far is not None,
            **asdict(limits),
            threads=max(1, (os.cpu_count() or 1) - 1),
            lanes=theirs,
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "storage.query_worker", json.dumps(asdict(options))],
            # Nothing of our environment: it may hold secrets.
            env={**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            stdin=subprocess.DEVNULL,
            # The worker may not write files, and our stderr may be one.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[fd for sock, fds in theirs for fd in (sock, *fds)],
        )
        self.lanes = [Lane(self, pair[0], fds) for pair, fds in zip(pairs, slots, strict=True)]
        for pair, fds in zip(pairs, slots, strict=True):
            pair[1].close()
            for fd in fds:
                os.close(fd)
        threading.Thread(target=self._copy_log, daemon=True).start()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()

    def wait_ready(self, clock: Clock) -> None:
        """Return when every lane is served; raise Unavailable."""
        try:
            for lane in self.lanes:
                frame = lane.next(never, clock, START_S)
                assert frame.kind == Kind.READY, frame.kind
        except (Died, Deaf) as error:
            raise Unavailable("the query worker does not start", hint="see the log") from error

    def close(self) -> None:
        """End the process and let go of the lanes."""
        self.kill()
        self.process.wait()
        for lane in self.lanes:
            lane.channel.close()

    def _copy_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                sys.stderr.write(line.decode(errors="replace"))
