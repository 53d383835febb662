"""Follows Sierra Chart's files while they are being written, by polling.

A file may lie behind a mount that serves stale or zero-filled tails and tells no changes. So each
poll opens it anew, trusts its size alone, takes whole records only, compares the last record it
took with what stands there now, and goes no further than the first record that cannot be meant yet.
A file that shrank or was rewritten is given again from its first record, and said to be so.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.clock import DAY_US, MINUTE_NS, NS_PER_US, US_PER_S
from core.errors import FeedGarbled
from core.log import Log
from ingest import depth, scid
from ingest.sierra_file import EPOCH_US, Format, ReadAt, RecordFile, Records

log = Log("tail")
CHUNK_RECORDS = 65_536
CHUNKS_PER_POLL_MAX = 64  # of one file, so that one file's backlog does not starve the others
STUCK_US_MAX = 30 * US_PER_S  # then an odd record is no half-written one and is handed on
CLOSE_AFTER_US = 30 * US_PER_S  # without growth, once the file's day is over
REOPEN_US_MAX = DAY_US
RELIST_US = US_PER_S
IDLE_US = 60 * US_PER_S  # then a file is looked at once in RELIST_US
FILES_MAX = 64
EARLY_US = 60 * US_PER_S  # the next day's file is looked for before its day begins
_MINUTE_US = MINUTE_NS // NS_PER_US
_AHEAD_US_MAX = 5 * _MINUTE_US
_FOREVER = 2**62


@dataclass(frozen=True, slots=True)
class Kind:
    """What following a file needs to know of its format.

    `find_unready` says which records cannot be what the writer means to leave there, at a time.
    """

    format: Format
    prove: Callable[[ReadAt, int, str], RecordFile]
    find_unready: Callable[[Records, int], NDArray[np.bool_] | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is to be followed: its kind, and when its writing begins and ends."""

    kind: Kind
    opens_us: int = 0
    ends_us: int = _FOREVER


@dataclass(frozen=True, slots=True)
class Grown:
    """Records from number `first` on; `is_again` where they had been given before."""

    first: int
    records: Records
    is_again: bool


def depth_plan(name: str) -> Plan | None:
    """The plan for a market depth file; None where the name is of none."""
    parsed = depth.parse_name(name)
    if parsed is None:
        return None
    day_us = depth.DepthNaming("", "", 1, parsed[1]).day_us
    kind = Kind(
        depth.FORMAT,
        depth.open_depth,
        lambda records, _now_us: depth.find_unready(records, day_us),
    )
    return Plan(kind, day_us - EARLY_US, day_us + DAY_US)


def scid_plan(name: str) -> Plan | None:
    """The plan for an intraday file; None where the name is of none."""
    if not name.lower().endswith(".scid"):
        return None
    return Plan(Kind(scid.FORMAT, scid.open_scid, _unready_trades))


@dataclass(slots=True)
class FileTail:
    """One file being followed. `given` is the number of records given so far, at most."""

    path: Path
    kind: Kind
    given: int = 0
    rewrites: int = 0
    _next: int = field(init=False)
    _last: bytes | None = None  # the record before `_next`, as it was; None: not seen yet
    _header_bytes: int | None = None
    _stuck_since_us: int | None = None

    def __post_init__(self) -> None:
        self._next = self.given

    def poll(self, now_us: int) -> Grown | None:
        """What has come, at most CHUNK_RECORDS; None where nothing whole has.

        Raise FeedGarbled where the file's header is not of its kind.
        """
        with suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(descriptor).st_size
                return self._read(partial(os.pread, descriptor), size, now_us)
            finally:
                os.close(descriptor)
        return None

    def _read(self, read_at: ReadAt, size: int, now_us: int) -> Grown | None:
        start = self._header(read_at, size)
        if start is None:
            return None
        step = self.kind.format.record.itemsize
        whole = max(0, size - start) // step
        before = read_at(step, start + (self._next - 1) * step) if 0 < self._next <= whole else b""
        if self._next > whole or (self._last is not None and self._last != before):
            log.warning("file.rewritten", file=self.path.name, records=whole, given=self.given)
            self.rewrites += 1
            self._next, before, self._stuck_since_us = 0, b"", None
            self._header_bytes = None
            start = self._header(read_at, size)
            if start is None:
                self._last = None
                return None
            whole = max(0, size - start) // step
        self._last = before
        count = min(whole - self._next, CHUNK_RECORDS)
        is_again = self._next < self.given
        if is_again:
            count = min(count, self.given - self._next)
        raw = read_at(count * step, start + self._next * step)
        records = np.frombuffer(raw, self.kind.format.record, len(raw) // step)
        records = records[: self._ready(records, now_us)]
        if len(records) == 0:
            return None
        grown = Grown(self._next, records, is_again)
        self._next += len(records)
        self._last = records[-1].tobytes()
        self.given = max(self.given, self._next)
        return grown

    def _header(self, read_at: ReadAt, size: int) -> int | None:
        """Bytes before the first record; None while the header is not written yet."""
        if size < self.kind.format.header_bytes:
            return self._header_bytes  # where it had one, the file has shrunk
        if self._header_bytes is None:
            if not any(read_at(self.kind.format.header_bytes, 0)):
                return None
            self._header_bytes = self.kind.prove(read_at, size, self.path.name).header_bytes
        return self._header_bytes

    def _ready(self, records: Records, now_us: int) -> int:
        """How many records from the first on can be taken now."""
        unready = self.kind.find_unready(records, now_us)
        first_bad = len(records) if unready is None else int(np.argmax(unready))
        if unready is None or first_bad > 0:
            self._stuck_since_us = None
            return first_bad
        if self._stuck_since_us is None:
            self._stuck_since_us = now_us
        if now_us - self._stuck_since_us < STUCK_US_MAX:
            return 0
        bad = len(records) if unready.all() else int(np.argmin(unready))
        is_blank = not any(records[:bad].tobytes())
        # Zeros up to the end are room the writer has not filled yet, however long it takes.
        return 0 if is_blank and bad == len(records) else bad


@dataclass(slots=True)
class _Watched:
    tail: FileTail
    plan: Plan
    grown_us: int  # when it grew last, or was first seen
    is_closed: bool = False
    closed_bytes: int = 0
    due_us: int = 0


@dataclass(slots=True)
class FolderTail:
    """Every file of a folder that `plan` has a plan for, opened, followed and closed in its time.

    `given` says how many of a file's records are known already, `dropped` hears of files no longer
    followed. A closed file is opened again where it grew within a day; older ones are for the
    importer. A file that does not grow is looked at less often.
    """

    folder: Path
    plan: Callable[[str], Plan | None]
    given: Callable[[str], int] = lambda _name: 0
    dropped: Callable[[str], None] = lambda _name: None
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _refused: dict[str, int] = field(default_factory=dict)  # sizes they had
    _listed_us: int = -_FOREVER

    def poll(self, now_us: int) -> Iterator[tuple[str, Grown]]:
        """What has come in each file, file by file, each file's records in order."""
        if now_us - self._listed_us >= RELIST_US:
            self._listed_us = now_us
            self._relist(now_us)
        for name, watched in list(self._watched.items()):
            if not watched.is_closed and now_us >= watched.due_us:
                yield from ((name, grown) for grown in self._poll_file(name, watched, now_us))

    def refuse(self, name: str, error: FeedGarbled) -> None:
        """Leave a file alone until its size changes; it is then begun anew."""
        if name not in self._refused:
            log.error("file.refused", file=name, error=error.message, hint=error.hint)
        self._refused[name] = _size(self.folder / name)
        self._drop(name)

    @property
    def refused(self) -> list[str]:
        """Names of files that are left alone."""
        return list(self._refused)

    @property
    def open_names(self) -> list[str]:
        """Names of the files being followed."""
        return [name for name, watched in self._watched.items() if not watched.is_closed]

    def _poll_file(self, name: str, watched: _Watched, now_us: int) -> Iterator[Grown]:
        for _ in range(CHUNKS_PER_POLL_MAX):
            try:
                grown = watched.tail.poll(now_us)
            except FeedGarbled as error:
                self.refuse(name, error)
                return
            if grown is None:
                break
            watched.grown_us = now_us
            yield grown
            if name not in self._watched:
                return  # refused by who took it
            self._refused.pop(name, None)
        watched.due_us = now_us + RELIST_US if now_us - watched.grown_us > IDLE_US else now_us
        if now_us >= watched.plan.ends_us and now_us - watched.grown_us >= CLOSE_AFTER_US:
            watched.is_closed = True
            watched.closed_bytes = _size(watched.tail.path)
            log.info("file.closed", file=name, records=watched.tail.given)

    def _relist(self, now_us: int) -> None:
        try:
            names = sorted(os.listdir(self.folder))
        except OSError as error:
            log.warning("folder.unreadable", folder=self.folder, error=error)
            return
        for name in names:
            watched = self._watched.get(name)
            if watched is None:
                self._open(name, now_us)
            elif watched.is_closed and _size(watched.tail.path) != watched.closed_bytes:
                watched.is_closed, watched.grown_us = False, now_us
        for name, watched in list(self._watched.items()):
            is_over = watched.is_closed and now_us >= watched.plan.ends_us + REOPEN_US_MAX
            if is_over or self.plan(name) is None:
                self._drop(name)

    def _open(self, name: str, now_us: int) -> None:
        plan = self.plan(name)
        if plan is not None and name in self._refused:
            plan = None if self._refused[name] == _size(self.folder / name) else plan
        if plan is not None and plan.opens_us <= now_us < plan.ends_us + REOPEN_US_MAX:
            if len(self._watched) >= FILES_MAX:
                log.error("folder.full", folder=self.folder, file=name, files=FILES_MAX)
                return
            tail = FileTail(self.folder / name, plan.kind, self.given(name))
            self._watched[name] = _Watched(tail, plan, now_us)
            log.info("file.opened", file=name, given=tail.given)

    def _drop(self, name: str) -> None:
        del self._watched[name]
        self.dropped(name)


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _unready_trades(records: Records, now_us: int) -> NDArray[np.bool_] | None:
    """Trades' records without a time, or from the future."""
    times = records["time"]
    end = now_us + _AHEAD_US_MAX + EPOCH_US
    if len(times) == 0 or (times.min() > 0 and times.max() < end):
        return None
    unready: NDArray[np.bool_] = (times <= 0) | (times >= end)
    return unready
