"""The hot rows of a fast table as any process may read them: nothing is copied, nothing locked.

A reader never writes and never blocks the writer. It looks at the table's watermark first and
serves only rows at or below it, so rows of several symbols are seen as of one moment.
"""

import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from core.errors import Unavailable
from core.schema import TABLES
from storage.head import Head, Word
from storage.layout import layout_of
from storage.mapped import HotSlice, MappedBlock, MappedSegment, Span
from storage.paths import Paths
from storage.words import Words

TRIES_MAX = 10


@dataclass(frozen=True, slots=True)
class OldestSegment:
    """A table's oldest segment: each symbol's last seq in it, and its newest row's `ts_event`."""

    number: int
    last_seqs: dict[str, int]
    newest_us: int


class FastReader:
    """The hot rows of one fast table."""

    def __init__(self, paths: Paths, table: str, words: Words) -> None:
        self._paths = paths
        self._layout = layout_of(table)
        self._words = words
        self.table = table
        self.head = open_head(paths, table)
        self._generation = -1
        self._seen: tuple[int, ...] = ()
        self._segments: dict[int, MappedSegment] = {}
        self._by_symbol: dict[int, list[MappedBlock]] = {}
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Notice new blocks and segments, and those that were let go."""
        with self._lock:
            for _ in range(TRIES_MAX):
                try:
                    self._refresh()
                except FileNotFoundError:
                    continue  # let go between reading the head and opening it
                return
            raise Unavailable(f"segments of {self.table} come and go too fast", hint="ask again")

    def _refresh(self) -> None:
        words = self.head.words
        told = words[Word.GENERATION : Word.LAST_SEGMENT + 1].tolist()
        last_one = self._segments.get(told[-1])
        seen = (*told, last_one.used_blocks() if last_one is not None else 0)
        if seen == self._seen:
            return
        if words[Word.GENERATION] != self._generation:
            self._generation = words[Word.GENERATION]
            self._segments.clear()
            self._by_symbol.clear()
        if words[Word.WORDS] > self._words.count:
            self._words.reload()
        first, last = words[Word.FIRST_SEGMENT], words[Word.LAST_SEGMENT]
        for number in [n for n in self._segments if n < first]:
            gone = self._segments.pop(number)
            for blocks in self._by_symbol.values():
                blocks[:] = [block for block in blocks if block.segment is not gone]
            gone.blocks = []  # they know their segment: nothing may wait for a search for circles
        newest = max(self._segments, default=first - 1)
        for number in range(max(first, newest), last + 1):
            if number not in self._segments:
                self._segments[number] = MappedSegment(self._paths, self._layout, number)
            for block in self._segments[number].refresh():
                self._by_symbol.setdefault(block.symbol_code, []).append(block)
        self._seen = seen  # what came since is seen at the next look

    def symbols(self) -> list[str]:
        """Symbols with hot rows."""
        self.refresh()
        with self._lock:
            return sorted(symbol for symbol, _ in self._named())

    def slices(self, symbol: str, *, after_seq: int, up_to_seq: int) -> list[HotSlice]:
        """Visible rows of a symbol with after_seq < seq <= up_to_seq, in seq order."""
        self.refresh()
        with self._lock:
            return self._slices(symbol, after_seq, up_to_seq)

    def spans(self, after_seqs: Mapping[str, int], up_to_seq: int) -> dict[str, list[Span]]:
        """The same of several symbols, each after its own seq, as places."""
        self.refresh()
        with self._lock:
            return {
                symbol: _spans(self._blocks(symbol), after_seq, up_to_seq)
                for symbol, after_seq in after_seqs.items()
            }

    def spans_of_all(
        self, after_seq: int, up_to_seq: int, after_seqs: Mapping[str, int]
    ) -> dict[str, list[Span]]:
        """The same of every symbol with hot rows, of some of them after a later seq."""
        self.refresh()
        with self._lock:
            return {
                symbol: _spans(blocks, max(after_seq, after_seqs.get(symbol, 0)), up_to_seq)
                for symbol, blocks in self._named()
            }

    def _named(self) -> list[tuple[str, list[MappedBlock]]]:
        """Symbols with blocks; one whose word was not told yet has no row to be seen either."""
        names = self._words.by_column.get("symbol", [])
        known = len(names)
        return [
            (names[code], blocks)
            for code, blocks in self._by_symbol.items()
            if blocks and code < known
        ]

    def _blocks(self, symbol: str) -> Sequence[MappedBlock]:
        code = self._words.code("symbol", symbol)
        return self._by_symbol.get(-1 if code is None else code, ())

    def _slices(self, symbol: str, after_seq: int, up_to_seq: int) -> list[HotSlice]:
        spans = _spans(self._blocks(symbol), after_seq, up_to_seq)
        return [span.block.cut(self._words, span.first, span.end) for span in spans]

    def revising(self, symbol: str, up_to_seq: int) -> list[pa.RecordBatch]:
        """Corrections and cancels among a symbol's rows up to a seq; table trades alone has any."""
        self.refresh()
        with self._lock:
            blocks = self._blocks(symbol)
            found = [block.revising(self._words, up_to_seq) for block in blocks]
        return [rows for rows in found if rows is not None]

    def oldest(self) -> OldestSegment | None:
        """The oldest segment; None where it is the one being written."""
        self.refresh()
        number = self.head.words[Word.FIRST_SEGMENT]
        if number >= self.head.words[Word.LAST_SEGMENT]:
            return None
        names = self._words.by_column["symbol"]
        last_seqs: dict[str, int] = {}
        newest_us = 0
        for block in self._segments[number].blocks:
            rows = self._segments[number].visible_rows(block.number)
            if rows:
                last_seqs[names[block.symbol_code]] = int(block.values["seq"][rows - 1])
                newest_us = max(newest_us, int(block.values["ts_event"][:rows].max()))
        return OldestSegment(number, last_seqs, newest_us)

    def release_pages(self) -> None:
        """Do not count what was read as this process's memory any longer."""
        with self._lock:
            for segment in self._segments.values():
                segment.release_pages()

    def block_at(self, segment: int, block: int) -> MappedBlock | None:
        """A block by its place, or None where it was let go."""
        held = self._segments.get(segment)
        if held is None or block >= len(held.blocks):
            self.refresh()
            held = self._segments.get(segment)
        return held.blocks[block] if held is not None and block < len(held.blocks) else None


def _spans(blocks: Sequence[MappedBlock], after_seq: int, up_to_seq: int) -> list[Span]:
    found = []
    # From the newest block back: who follows wants the last rows of an hour of blocks.
    for block in reversed(blocks):
        rows = block.rows_up_to(up_to_seq)
        if rows == 0:
            continue
        full = block.full
        if full is not None and full.first_seq > after_seq:
            found.append(Span(block, 0, rows))
            continue
        seqs = block.seqs
        if seqs[rows - 1] <= after_seq:
            break
        first = 0 if seqs[0] > after_seq else bisect_right(seqs, after_seq, 0, rows)
        found.append(Span(block, first, rows))
        if first:
            break
    return found[::-1]


def open_head(paths: Paths, table: str) -> Head:
    """Map a table's watermarks; raise Unavailable where the store was never started."""
    assert table in TABLES, table
    path = paths.head(table)
    if not path.exists():
        raise Unavailable(
            f"no hot data for {table} in {paths.root}", hint="start it with: tickflight up"
        )
    return Head(path, is_writer=False)
