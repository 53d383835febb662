"""The hand-off from the socket reader to the decoder: bounded, in order, dropping nothing.

While the decoder is behind, frames go to a journal file and come back from it in order. When even
that is full the reader is told so; it then hangs up, and the hole is recorded like any other.
"""

import os
import struct
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import FeedLost
from ingest.dxlink_decode import Frame
from ingest.rolls import Instrument

FRAMES_MAX = 50_000
MEMORY_BYTES_MAX = 64 << 20
JOURNAL_BYTES_MAX = 4 << 30
_HEAD = struct.Struct("<QQI")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A frame and the connection it came by."""

    connection: int
    frame: Frame


@dataclass(frozen=True, slots=True)
class Mark:
    """A connection's life, in its place among the frames."""

    connection: int
    what: Literal["live", "lost"]
    ts_ns: int
    reason: str = ""
    instruments: tuple[Instrument, ...] = ()


Entry = Arrived | Mark


class Intake:
    """One reader thread offers, one decoder thread takes."""

    def __init__(
        self,
        journal: Path,
        *,
        frames_max: int = FRAMES_MAX,
        journal_bytes_max: int = JOURNAL_BYTES_MAX,
    ) -> None:
        self._frames_max = frames_max
        self._journal_bytes_max = journal_bytes_max
        self._changed = threading.Condition()
        self._memory: deque[Entry] = deque()
        self._memory_bytes = 0
        # Entries after the journal's first frame wait here: a mark, or None for a journaled frame.
        self._after: deque[Mark | None] = deque()
        self._written = 0
        self._read = 0
        journal.unlink(missing_ok=True)
        self._fd = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self.offered_count = 0
        self.taken_count = 0
        self.spilled_count = 0

    def offer(self, connection: int, frame: Frame) -> None:
        """Hand a frame on; raise FeedLost where neither memory nor journal has room."""
        size = len(frame.payload)
        with self._changed:
            has_room = (
                len(self._memory) < self._frames_max
                and self._memory_bytes + size <= MEMORY_BYTES_MAX
            )
            if self._after or not has_room:
                self._spill(connection, frame)
            else:
                self._memory.append(Arrived(connection, frame))
                self._memory_bytes += size
            self.offered_count += 1
            self._changed.notify()

    def mark(self, mark: Mark) -> None:
        """Say what became of a connection; there is always room for that."""
        with self._changed:
            if self._after:
                self._after.append(mark)
            else:
                self._memory.append(mark)
            self._changed.notify()

    def take(self, entries_max: int, timeout_s: float) -> list[Entry]:
        """The oldest entries; none where nothing came in time."""
        with self._changed:
            if not self._memory and not self._after:
                self._changed.wait(timeout_s)
            taken: list[Entry] = []
            while len(taken) < entries_max and self._memory:
                entry = self._memory.popleft()
                if isinstance(entry, Arrived):
                    self._memory_bytes -= len(entry.frame.payload)
                taken.append(entry)
            while len(taken) < entries_max and self._after:
                taken.append(self._after.popleft() or self._unspill())
            if not self._after and self._written:
                os.ftruncate(self._fd, 0)
                self._written = self._read = 0
            self.taken_count += sum(isinstance(entry, Arrived) for entry in taken)
            return taken

    @property
    def waiting_count(self) -> int:
        """Entries nobody has taken yet."""
        with self._changed:
            return len(self._memory) + len(self._after)

    def close(self) -> None:
        """Let go of the journal."""
        os.close(self._fd)

    def _spill(self, connection: int, frame: Frame) -> None:
        raw = _HEAD.pack(connection, frame.ts_recv_ns, len(frame.payload)) + frame.payload
        if self._written + len(raw) > self._journal_bytes_max:
            raise FeedLost(f"the decoder is {self._written} bytes behind and the journal is full")
        try:
            done = os.pwrite(self._fd, raw, self._written)
        except OSError as error:
            raise FeedLost(f"the decoder is behind and the journal failed: {error}") from error
        if done < len(raw):
            raise FeedLost("the decoder is behind and the disk has no room for the journal")
        self._written += len(raw)
        self._after.append(None)
        self.spilled_count += 1

    def _unspill(self) -> Arrived:
        connection, ts_recv_ns, size = _HEAD.unpack(os.pread(self._fd, _HEAD.size, self._read))
        payload = os.pread(self._fd, size, self._read + _HEAD.size)
        assert len(payload) == size, "the journal is ours alone"
        self._read += _HEAD.size + size
        return Arrived(connection, Frame(ts_recv_ns, payload))
