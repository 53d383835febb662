"""The hot rows of a slow table as any process may read them: frames of a log, decoded once.

Frames of one or few rows are folded into larger batches, so an hour of them is not thousands.
"""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import Unavailable
from core.schema import TABLES
from storage.head import Word
from storage.paths import Paths
from storage.reader import TRIES_MAX, HotSlice, OldestSegment, open_head
from storage.slow import scan_frames

FOLD_ROWS = 1024


class _Log:
    """One log file: how far it was read, and its rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self.folded: list[pa.RecordBatch] = []
        self._loose: list[pa.RecordBatch] = []
        self._loose_rows = 0  # counted as they come: summing up each time is dear

    def refresh(self) -> None:
        if self._path.stat().st_size == self._read_bytes:
            return
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            raw = memoryview(file.read())
        end = 0
        for frame in scan_frames(raw):
            if not frame.is_reservation:
                batch = frame.batch()
                self._loose.append(batch)
                self._loose_rows += batch.num_rows
            end = frame.end
        self._read_bytes += end
        if self._loose_rows >= FOLD_ROWS:
            self.folded.append(_one_batch(self._loose))
            self._loose, self._loose_rows = [], 0

    def pieces(self) -> list[pa.RecordBatch]:
        """The rows as they lie; never an empty batch."""
        return self.folded + self._loose

    def batches(self) -> list[pa.RecordBatch]:
        if not self._loose:
            return self.folded
        self._loose = [_one_batch(self._loose)]
        return self.folded + self._loose


def _one_batch(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


class SlowReader:
    """The hot rows of one slow table."""

    def __init__(self, paths: Paths, table: str) -> None:
        self._paths = paths
        self.table = table
        self.head = open_head(paths, table)
        self._generation = -1
        self._logs: dict[int, _Log] = {}
        self._lock = threading.Lock()

    def symbols(self) -> list[str]:
        """Symbols with hot rows."""
        names: set[str] = set()
        for batch in self._batches():
            names.update(pc.unique(batch.column("symbol")).to_pylist())
        return sorted(names)

    def slices(self, symbol: str, *, after_seq: int, up_to_seq: int) -> list[HotSlice]:
        """Visible rows of a symbol ("" for all) with after_seq < seq <= up_to_seq."""
        found = []
        for batch in self._batches():
            seqs = batch.column("seq").to_numpy()
            first = int(np.searchsorted(seqs, after_seq, "right"))
            end = int(np.searchsorted(seqs, up_to_seq, "right"))
            part = batch.slice(first, max(end - first, 0))
            if symbol:
                part = part.filter(pc.equal(part.column("symbol"), symbol))
            if part.num_rows:
                found.append(_slice_of(part, self.table))
        return found

    def plain(self, *, after_seq: int, up_to_seq: int) -> list[pa.RecordBatch]:
        """Visible rows with after_seq < seq <= up_to_seq, in seq order, with text as stored.

        For who follows: nothing is folded or cast, and old rows are not looked at.
        """
        with self._lock:
            pieces = [piece for log in self._refreshed() for piece in log.pieces()]
        found = []
        for piece in reversed(pieces):
            seqs = piece.column("seq").to_numpy()
            if seqs[-1] <= after_seq:
                break
            first, end = np.searchsorted(seqs, [after_seq, up_to_seq], "right").tolist()
            if end > first:
                found.append(piece.slice(first, end - first))
        return found[::-1]

    def oldest(self) -> OldestSegment | None:
        """The oldest log; None where it is the one being written."""
        self._batches()
        number = self.head.words[Word.FIRST_SEGMENT]
        if number >= self.head.words[Word.LAST_SEGMENT]:
            return None
        last_seqs: dict[str, int] = {}
        newest_us = 0
        for batch in self._logs[number].batches():
            symbols = batch.column("symbol").to_pylist()
            last_seqs.update(zip(symbols, batch.column("seq").to_pylist(), strict=True))
            newest_us = max(newest_us, pc.max(batch.column("ts_event").cast(pa.int64())).as_py())
        return OldestSegment(number, last_seqs, newest_us)

    def release_pages(self) -> None:
        """What was read of a log is held as batches, not as pages."""

    def _batches(self) -> list[pa.RecordBatch]:
        with self._lock:
            return [batch for log in self._refreshed() for batch in log.batches()]

    def _refreshed(self) -> list[_Log]:
        """Every log there is, read to its end."""
        for _ in range(TRIES_MAX):
            try:
                return self._refresh()
            except FileNotFoundError:
                continue  # let go between reading the head and opening it
        raise Unavailable(f"logs of {self.table} come and go too fast", hint="ask again")

    def _refresh(self) -> list[_Log]:
        words = self.head.words
        if words[Word.GENERATION] != self._generation:
            self._generation = words[Word.GENERATION]
            self._logs.clear()
        first, last = words[Word.FIRST_SEGMENT], words[Word.LAST_SEGMENT]
        for number in [n for n in self._logs if n < first]:
            del self._logs[number]
        for number in range(first, last + 1):
            if number not in self._logs:
                self._logs[number] = _Log(self._paths.segment(self.table, number))
            self._logs[number].refresh()
        return [self._logs[number] for number in range(first, last + 1)]


def _slice_of(batch: pa.RecordBatch, table: str) -> HotSlice:
    times = batch.column("ts_event").cast(pa.int64()).to_numpy()
    seqs = batch.column("seq").to_numpy()
    keys = times * 1000 + batch.column("ts_ns").to_numpy().astype(np.int64)
    return HotSlice(
        batch.cast(TABLES[table].schema),
        bool(np.all(keys[1:] >= keys[:-1])),
        True,
        int(times.min()),
        int(times.max()),
        int(seqs[0]),
        int(seqs[-1]),
    )
