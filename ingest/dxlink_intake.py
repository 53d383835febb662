"""The hand-off from the socket reader to the decoder: bounded, in order, dropping nothing.

While the decoder is behind, frames go to a journal file and come back from it in order. When even
that is full the reader is told so; it then hangs up, and the hole is recorded like any other.
"""

import os
import struct
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import FeedLost
from ingest.dxlink_decode import Frame
from ingest.rolls import Instrument

FRAMES_MAX = 50_000
MEMORY_BYTES_MAX = 64 << 20
JOURNAL_BYTES_MAX = 4 << 30
TAKEN_BYTES_MAX = 4 << 20  # what is decoded together at most; about 27,000 prints
_HEAD = struct.Struct("<QQI")


@dataclass(frozen=True, slots=True)
class Mark:
    """A connection's life, in its place among the frames."""

    connection: int
    what: Literal["live", "lost"]
    ts_ns: int
    reason: str = ""
    instruments: tuple[Instrument, ...] = ()


Entry = Frame | Mark


class Intake:
    """One reader thread offers, one decoder thread takes.

    While memory has room they share a deque, each changing its own end and its own counts; only the
    way through the journal takes a lock.
    """

    def __init__(
        self,
        journal: Path,
        *,
        frames_max: int = FRAMES_MAX,
        journal_bytes_max: int = JOURNAL_BYTES_MAX,
    ) -> None:
        self._frames_max = frames_max
        self._journal_bytes_max = journal_bytes_max
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._is_awaited = False
        self._memory: deque[Entry] = deque()
        self._offered_bytes = 0  # into memory, ever
        self._taken_bytes = 0  # out of memory, ever
        # While the journal is in use entries wait here: a mark, or None for a journaled frame.
        self._after: deque[Mark | None] = deque()
        self._is_spilling = False
        self._written = 0
        self._read = 0
        journal.unlink(missing_ok=True)
        self._fd = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self.offered_count = 0
        self.taken_count = 0
        self.spilled_count = 0

    def offer(self, frames: Sequence[Frame]) -> None:
        """Hand frames on; raise FeedLost where neither memory nor journal has room for all."""
        size = sum([len(frame.payload) for frame in frames])
        has_room = (
            len(self._memory) + len(frames) <= self._frames_max
            and self._offered_bytes - self._taken_bytes + size <= MEMORY_BYTES_MAX
        )
        if has_room and not self._is_spilling:
            self._memory.extend(frames)
            self._offered_bytes += size
            self.offered_count += len(frames)
        else:
            for frame in frames:
                self._spill(frame)
                self.offered_count += 1
        if self._is_awaited:
            self._arrived.set()

    def mark(self, mark: Mark) -> None:
        """Say what became of a connection; there is always room for that."""
        with self._lock:
            (self._after if self._is_spilling else self._memory).append(mark)
        self._arrived.set()

    def take(self, entries_max: int, timeout_s: float) -> list[Entry]:
        """The oldest entries, about TAKEN_BYTES_MAX at most; none where nothing came in time."""
        if not self._memory and not self._is_spilling and timeout_s > 0:
            self._wait(timeout_s)
        taken: list[Entry] = []
        size = 0
        while len(taken) < entries_max and size < TAKEN_BYTES_MAX and self._memory:
            entry = self._memory.popleft()
            if isinstance(entry, Frame):
                size += len(entry.payload)
            taken.append(entry)
        self._taken_bytes += size
        if self._is_spilling and not self._memory:
            with self._lock:
                self._take_spilled(taken, entries_max, size)
        self.taken_count += sum(isinstance(entry, Frame) for entry in taken)
        return taken

    @property
    def waiting_count(self) -> int:
        """Entries nobody has taken yet."""
        return len(self._memory) + len(self._after)

    def close(self) -> None:
        """Let go of the journal."""
        os.close(self._fd)

    def _wait(self, timeout_s: float) -> None:
        self._arrived.clear()
        self._is_awaited = True
        if not self._memory and not self._is_spilling:  # nothing came in between
            self._arrived.wait(timeout_s)
        self._is_awaited = False

    def _spill(self, frame: Frame) -> None:
        head = _HEAD.pack(frame.connection, frame.ts_recv_ns, len(frame.payload))
        raw = head + frame.payload
        with self._lock:
            if self._written + len(raw) > self._journal_bytes_max:
                raise FeedLost(
                    f"the decoder is {self._written} bytes behind and the journal is full"
                )
            try:
                done = os.pwrite(self._fd, raw, self._written)
            except OSError as error:
                raise FeedLost(f"the decoder is behind and the journal failed: {error}") from error
            if done < len(raw):
                raise FeedLost("the decoder is behind and the disk has no room for the journal")
            self._written += len(raw)
            self._after.append(None)
            self._is_spilling = True
            self.spilled_count += 1

    def _take_spilled(self, taken: list[Entry], entries_max: int, size: int) -> None:
        while len(taken) < entries_max and size < TAKEN_BYTES_MAX and self._after:
            entry = self._after.popleft() or self._unspill()
            if isinstance(entry, Frame):
                size += len(entry.payload)
            taken.append(entry)
        if not self._after:
            os.ftruncate(self._fd, 0)
            self._written = self._read = 0
            self._is_spilling = False

    def _unspill(self) -> Frame:
        connection, ts_recv_ns, size = _HEAD.unpack(os.pread(self._fd, _HEAD.size, self._read))
        payload = os.pread(self._fd, size, self._read + _HEAD.size)
        assert len(payload) == size, "the journal is ours alone"
        self._read += _HEAD.size + size
        return Frame(ts_recv_ns, payload, connection)
