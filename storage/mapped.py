"""Mapped segments of a fast table and their blocks, as any process may read them: zero-copy.

A reader never writes and never blocks the writer.
"""

import mmap
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.layout import (
    BLOCKS_MAX,
    PAGE,
    TABLE_LINE,
    TABLE_OFFSET,
    VISIBLE_PAGE,
    Layout,
    Physical,
)
from storage.paths import Paths
from storage.words import Words

NO_TIME = (2**63 - 1, -(2**63))


@dataclass(frozen=True, slots=True)
class HotSlice:
    """Some rows of one symbol in arrival order; `is_sorted` by (ts_event, ts_ns, seq)."""

    batch: pa.RecordBatch
    is_sorted: bool
    all_valid: bool
    min_ts_us: int
    max_ts_us: int
    first_seq: int
    last_seq: int


class Span(NamedTuple):
    """Rows [first, end) of a block, at least one."""

    block: "MappedBlock"
    first: int
    end: int


class MappedBlock:
    """One block of a mapped segment: a full-capacity batch, cut to the rows that are visible."""

    def __init__(self, segment: "MappedSegment", number: int, symbol_code: int) -> None:
        self.segment = segment
        self.number = number
        self.symbol_code = symbol_code
        layout = segment.layout
        self._block_rows = layout.block_rows
        start = layout.block_start(number)
        self.values: dict[str, NDArray[np.generic]] = {
            column.name: np.frombuffer(
                segment.buffer, column.dtype, layout.block_rows, start + column.offset
            )
            for column in layout.columns
        }
        self.seqs = self.values["seq"].data
        self._start = start
        self._batch: pa.RecordBatch | None = None
        self._batch_words = -1
        self._seen_rows = 0
        self._is_sorted = True
        self._min_max = NO_TIME
        self._valid_rows = 0
        self._judged_rows = 0
        self._has_revisions = False
        self.full: HotSlice | None = None  # once no row can come any more

    def batch(self, words: Words) -> pa.RecordBatch:
        """All rows the block has room for, as Arrow arrays over the map."""
        if self._batch is None or self._batch_words != words.count:
            by_name = {c.name: self._array(c, words) for c in self.segment.layout.columns}
            by_name["symbol"] = self._symbols(words)
            schema = self.segment.layout.table.schema
            self._batch = pa.RecordBatch.from_arrays(
                [by_name[name] for name in schema.names], schema=schema
            )
            self._batch_words = words.count
        return self._batch

    def bits(self, column: Physical) -> memoryview:
        """The bitmap of a stored column that has one."""
        assert column.bitmap_offset is not None, column.name
        start = self._start + column.bitmap_offset
        return self.segment.buffer[start : start + self._block_rows // 8]

    def cut(self, words: Words, first: int, rows: int) -> HotSlice:
        """Rows [first, rows) of the block as a slice."""
        is_whole = first == 0 and rows == self._block_rows
        if is_whole and self.full is not None and self._batch_words == words.count:
            return self.full
        self._measure(rows)
        seqs = self.values["seq"]
        valid = self.values.get("valid")
        whole = self.batch(words)
        found = HotSlice(
            # As it is, so what Arrow has counted of it is not counted again.
            whole if is_whole else whole.slice(first, rows - first),
            self._is_sorted,
            valid is None or self._valid_rows == self._seen_rows,
            *self._min_max,
            int(seqs[first]),
            int(seqs[rows - 1]),
        )
        if is_whole:
            self.full = found
        return found

    def revising(self, words: Words, up_to_seq: int) -> pa.RecordBatch | None:
        """The corrections and cancels among the rows up to a seq, None where there are none."""
        rows = self.rows_up_to(up_to_seq)
        kinds = self.values["kind"]
        if rows > self._judged_rows:
            self._has_revisions |= bool(kinds[self._judged_rows : rows].any())
            self._judged_rows = rows
        places = np.flatnonzero(kinds[:rows]) if self._has_revisions else ()
        return self.batch(words).take(pa.array(places)) if len(places) else None

    def rows_up_to(self, seq: int) -> int:
        """Visible rows with a seq at or below `seq`."""
        if self.full is not None and self.full.last_seq <= seq:
            return self._block_rows
        rows = self.segment.visible_rows(self.number)
        if rows and self.seqs[rows - 1] > seq:
            rows = bisect_right(self.seqs, seq, 0, rows)
        return rows

    def _measure(self, rows: int) -> None:
        """Bring order, time bounds and the count of valid rows up to date with `rows`."""
        start = self._seen_rows
        if rows <= start:
            return
        times = self.values["ts_event"][max(start - 1, 0) : rows]
        rest = self.values["ts_ns"][max(start - 1, 0) : rows]
        keys = times.astype(np.int64) * 1000 + rest.astype(np.int64)
        if self._is_sorted and len(keys) > 1:
            self._is_sorted = bool(np.all(keys[1:] >= keys[:-1]))
        low, high = self._min_max
        self._min_max = (min(low, int(times.min())), max(high, int(times.max())))
        valid = self.values.get("valid")
        if valid is not None:
            self._valid_rows += int(np.count_nonzero(valid[start:rows]))
        self._seen_rows = rows

    def _symbols(self, words: Words) -> pa.Array:
        codes = self.segment.symbol_codes(self.symbol_code)
        return _dictionary(codes, words.array("symbol"))

    def _array(self, column: Physical, words: Words) -> pa.Array:
        rows, start = self._block_rows, self._start + column.offset
        data = self.segment.arrow.slice(start, rows * column.dtype.itemsize)
        bitmap = None
        if column.bitmap_offset is not None:
            bitmap = self.segment.arrow.slice(
                self._start + column.bitmap_offset, self._block_rows // 8
            )
        if pa.types.is_dictionary(column.arrow):
            return _dictionary(data, words.array(column.name))
        if column.is_flag:
            return pa.Array.from_buffers(pa.bool_(), rows, [None, bitmap], 0)
        return pa.Array.from_buffers(column.arrow, rows, [bitmap, data], -1 if bitmap else 0)


def _dictionary(codes: pa.Buffer, words: pa.StringArray) -> pa.DictionaryArray:
    indices = pa.Array.from_buffers(pa.int16(), codes.size // 2, [None, codes], 0)
    return pa.DictionaryArray.from_arrays(indices, words, safe=False)


class MappedSegment:
    """A segment file mapped read-only."""

    def __init__(self, paths: Paths, layout: Layout, number: int) -> None:
        self.layout = layout
        self.number = number
        with paths.segment(layout.table.name, number).open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.buffer = memoryview(self._map)
        self.arrow = pa.py_buffer(self._map)
        words = self.buffer.cast("Q")
        self._words = words
        self._used = VISIBLE_PAGE * PAGE // 8
        self._lines = TABLE_OFFSET // 8
        self._codes: dict[int, pa.Buffer] = {}
        self.blocks: list[MappedBlock] = []

    def refresh(self) -> list[MappedBlock]:
        """Map blocks that came into use since the last look; give the new ones."""
        fresh = [
            MappedBlock(self, number, int(self._words[self._lines + number * TABLE_LINE // 8]))
            for number in range(len(self.blocks), self.used_blocks())
        ]
        self.blocks += fresh
        return fresh

    def used_blocks(self) -> int:
        """Blocks that are in use by now."""
        return min(self._words[self._used], BLOCKS_MAX)

    def visible_rows(self, block: int) -> int:
        """Rows of a block that the writer has published."""
        return self._words[self._lines + block * TABLE_LINE // 8 + 1]

    def release_pages(self) -> None:
        """Let the kernel take the pages back that were read; reading again brings them back."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def symbol_codes(self, code: int) -> pa.Buffer:
        """A block's worth of one symbol code; shared by the blocks of the segment."""
        if code not in self._codes:
            self._codes[code] = pa.py_buffer(np.full(self.layout.block_rows, code, np.int16))
        return self._codes[code]
