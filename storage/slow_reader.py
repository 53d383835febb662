"""The hot rows of a slow table as any process may read them: frames of a log, decoded once.

Frames wait undecoded until rows are asked for, or are so many that they make a piece of their own:
decoding and folding many together takes a fraction of what they take one by one, and whoever wants
a symbol's newest row, again and again, needs hardly any of them.
"""

import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from core.errors import Unavailable
from storage.arrow_stream import arrow_batch, arrow_batches
from storage.head import Word
from storage.mapped import HotSlice
from storage.one_row import Shapes, plain_row
from storage.paths import Paths
from storage.pieces import FRAMES_MAX, PIECE_BYTES, Piece, add_piece, piece_of, rows_between
from storage.ranges import ANY_TIME, Range
from storage.reader import TRIES_MAX, OldestSegment, open_head
from storage.slow import Frame, scan_frames

READ_BYTES = 1 << 20
READ_FRAMES_MAX = 64
NEWS = (Word.GENERATION, Word.FIRST_SEGMENT, Word.LAST_SEGMENT, Word.VISIBLE_SEQ)

Part = TypeVar("Part", Frame, Piece)


class _Log:
    """One log file: how far it was read, and its rows."""

    def __init__(self, path: Path, table: str) -> None:
        # Kept open, since it is read again and again; the name may be gone before we are.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        self._table = table
        self._read_bytes = 0
        self.waiting: list[Frame] = []
        self._waiting_bytes = 0
        self.pieces: list[Piece] = []

    def refresh(self) -> None:
        """Read what was written since."""
        found = []
        place = self._read_bytes
        while part := os.pread(self._file, READ_BYTES, place):
            found.append(part)
            place += len(part)
        raw = memoryview(b"".join(found))
        end = 0
        for frame in scan_frames(raw):
            if not frame.is_reservation:
                self.waiting.append(frame)
                self._waiting_bytes += len(frame.payload)
                if len(self.waiting) >= FRAMES_MAX or self._waiting_bytes >= PIECE_BYTES:
                    self.decode()
            end = frame.end
        self._read_bytes += end

    def decode(self) -> None:
        """Make a piece of the frames that wait."""
        if self.waiting:
            batches = arrow_batches([frame.payload for frame in self.waiting])
            piece = piece_of(self._table, batches, self._waiting_bytes)
            add_piece(self.pieces, piece)
            self.waiting, self._waiting_bytes = [], 0


class SlowReader:
    """The hot rows of one slow table; safe to use from several threads."""

    def __init__(self, paths: Paths, table: str) -> None:
        self._paths = paths
        self.table = table
        self.head = open_head(paths, table)
        self._seen: tuple[int, ...] = ()
        self._decoded: tuple[int, ...] = ()
        self._shapes = Shapes()
        self._generation = -1
        self._logs: dict[int, _Log] = {}
        self._pieces: tuple[Piece, ...] = ()
        self._lock = threading.Lock()

    def symbols(self) -> list[str]:
        """Symbols with hot rows."""
        return sorted({symbol for piece in self._news() for symbol in piece.groups})

    def slices(
        self, symbol: str, *, after_seq: int, up_to_seq: int, wanted: Range = ANY_TIME
    ) -> list[HotSlice]:
        """Visible rows of a symbol ("" for all) with after_seq < seq <= up_to_seq, in seq order.

        Where none of a slice's times is wanted it is left out.
        """
        found = [
            piece.between(symbol, after_seq, up_to_seq, wanted)
            for piece in _after(self._news(), after_seq)
        ]
        return [part for part in reversed(found) if part is not None]

    def plain(self, *, after_seq: int, up_to_seq: int) -> list[pa.RecordBatch]:
        """Visible rows with after_seq < seq <= up_to_seq, in seq order, with text as stored."""
        found: list[pa.RecordBatch | None] = []
        with self._lock:
            self._look()
            for _, log in sorted(self._logs.items(), reverse=True):
                # Few frames are read as they are: who follows a table has no use for groups.
                frames = [frame.payload for frame in _after(log.waiting, after_seq)]
                if len(frames) > READ_FRAMES_MAX:
                    log.decode()
                    frames = []
                waiting = arrow_batches(frames)
                found += [rows_between(rows, after_seq, up_to_seq) for rows in waiting]
                found += [p.plain(after_seq, up_to_seq) for p in _after(log.pieces, after_seq)]
        return [rows for rows in reversed(found) if rows is not None]

    def last_values(
        self, symbol: str, names: Sequence[str], *, after_seq: int, up_to_seq: int
    ) -> dict[str, object] | None:
        """Columns of the row of a symbol stored last with after_seq < seq <= up_to_seq."""
        with self._lock:
            self._look()
            for _, log in sorted(self._logs.items(), reverse=True):
                for frame in reversed(log.waiting):
                    if frame.last_seq <= after_seq:
                        return None
                    if frame.first_seq <= up_to_seq:
                        found = self._values(frame, symbol, names, after_seq, up_to_seq)
                        if found is not None:
                            return found
                for piece in reversed(log.pieces):
                    if piece.last_seq <= after_seq:
                        return None
                    row = _last_of(piece, symbol, after_seq, up_to_seq)
                    if row is not None:
                        return plain_row(row, names)
        return None

    def _values(
        self, frame: Frame, symbol: str, names: Sequence[str], after_seq: int, up_to_seq: int
    ) -> dict[str, object] | None:
        if frame.rows == 1:
            shape = self._shapes.of(frame.payload)
            if shape.values(frame.payload, ("symbol",)) != {"symbol": symbol}:
                return None
            found = shape.values(frame.payload, names)
            if found is not None:
                return found
        piece = piece_of(self.table, [arrow_batch(frame.payload)], len(frame.payload))
        row = _last_of(piece, symbol, after_seq, up_to_seq)
        return None if row is None else plain_row(row, names)

    def oldest(self) -> OldestSegment | None:
        """The oldest log; None where it is the one being written."""
        words = self.head.words
        if words[Word.FIRST_SEGMENT] >= words[Word.LAST_SEGMENT]:
            return None  # asked every second: nothing is read for that
        self._news()
        number = words[Word.FIRST_SEGMENT]
        if number >= words[Word.LAST_SEGMENT]:
            return None
        groups = [pair for piece in self._logs[number].pieces for pair in piece.groups.items()]
        last_seqs = {symbol: group.last_seq for symbol, group in groups}
        newest_us = max((group.bounds[1] for _, group in groups), default=0)
        return OldestSegment(number, last_seqs, newest_us)

    def release_pages(self) -> None:
        """What was read of a log is held as batches, not as pages."""

    def _news(self) -> tuple[Piece, ...]:
        """Every log there is, read to its end."""
        with self._lock:
            self._look()
            if self._decoded != self._seen:
                for log in self._logs.values():
                    log.decode()
                self._decoded = self._seen
                self._pieces = tuple(p for _, log in sorted(self._logs.items()) for p in log.pieces)
            return self._pieces

    def _look(self) -> None:
        """Read what was written since the last look."""
        for _ in range(TRIES_MAX):
            # Before the files: what is written after is seen at the next look.
            seen = tuple(self.head.words[word] for word in NEWS)
            if seen == self._seen:
                return
            try:
                self._refresh()
            except FileNotFoundError:
                continue  # let go between reading the head and opening it
            self._seen = seen
            return
        raise Unavailable(f"logs of {self.table} come and go too fast", hint="ask again")

    def _refresh(self) -> None:
        words = self.head.words
        if words[Word.GENERATION] != self._generation:
            self._generation = words[Word.GENERATION]
            self._logs.clear()
        first, last = words[Word.FIRST_SEGMENT], words[Word.LAST_SEGMENT]
        for number in [n for n in self._logs if n < first]:
            del self._logs[number]
        for number in range(first, last + 1):
            if number not in self._logs:
                path = self._paths.segment(self.table, number)
                self._logs[number] = _Log(path, self.table)
            self._logs[number].refresh()


def _after(parts: Sequence[Part], seq: int) -> Iterator[Part]:
    """Those with rows after a seq, the newest first."""
    return takewhile(lambda part: part.last_seq > seq, reversed(parts))


def _last_of(piece: Piece, symbol: str, after_seq: int, up_to_seq: int) -> pa.RecordBatch | None:
    """The row of a symbol stored last in a piece with after_seq < seq <= up_to_seq."""
    group = piece.groups.get(symbol)
    if group is None:
        return None
    end = int(group.seqs.searchsorted(up_to_seq, "right"))
    return group.rows.slice(end - 1, 1) if end and group.seqs[end - 1] > after_seq else None
