"""Rows of a slow table in memory: batches with what was found out about them, folded as they grow.

A frame holds one row or few. Pieces of one size are folded into one of the next, so an hour is tens
of pieces and a row is copied a few times at most. The rows of a symbol lie together in a piece, so
nearly every answer is a slice; what is found out about them is found out once.
"""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.schema import TABLES, TEXT
from storage.mapped import HotSlice
from storage.ranges import Range

FANOUT: Final = 8
LEVEL_MAX: Final = 3  # 8 to the power of it frames; then a piece stays as it is
PIECE_BYTES: Final = 1 << 20  # so does one that is as large
FRAMES_MAX: Final = FANOUT**LEVEL_MAX
Ints = NDArray[np.int64]
_FIRST = pa.array([0], pa.int16())


class Group:
    """The rows of one symbol in a piece, in seq order; at least one."""

    def __init__(self, table: str, rows: pa.RecordBatch) -> None:
        self._table = table
        self.rows = rows
        self.seqs: Ints = rows.column("seq").to_numpy()
        self.first_seq = int(self.seqs[0])
        self.last_seq = int(self.seqs[-1])

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest `ts_event` in microseconds."""
        return _bounds(_times(self.rows))

    @cached_property
    def whole(self) -> HotSlice:
        """All its rows, text as codes."""
        return _slice_of(_coded(self.rows, self._table))

    def between(self, after_seq: int, up_to_seq: int, wanted: Range) -> HotSlice | None:
        """Rows with after_seq < seq <= up_to_seq, None where none is or their times are not wanted.

        Rows of other times are among them.
        """
        if self.last_seq <= after_seq or self.first_seq > up_to_seq:
            return None
        if not wanted.overlaps(*self.bounds):
            return None
        if self.first_seq > after_seq and self.last_seq <= up_to_seq:
            return self.whole
        first, end = np.searchsorted(self.seqs, [after_seq, up_to_seq], "right").tolist()
        if end <= first:
            return None
        part = _slice_of(self.whole.batch.slice(first, end - first))
        return part if wanted.overlaps(part.min_ts_us, part.max_ts_us) else None


class Piece:
    """Rows whose seqs lie between those of its neighbours, each symbol's together."""

    def __init__(self, table: str, groups: Mapping[str, Group], *, level: int, size: int) -> None:
        self.table = table
        self.groups = groups
        self.level = LEVEL_MAX if size >= PIECE_BYTES else level
        self.size_bytes = size
        self.last_seq = max(group.last_seq for group in groups.values())

    def between(
        self, symbol: str, after_seq: int, up_to_seq: int, wanted: Range
    ) -> HotSlice | None:
        """See `Group.between`; of every symbol where it is ""."""
        if symbol or len(self.groups) == 1:
            group = self.groups.get(symbol) if symbol else next(iter(self.groups.values()))
            return group.between(after_seq, up_to_seq, wanted) if group is not None else None
        rows = self.plain(after_seq, up_to_seq)
        if rows is None:
            return None
        return Group(self.table, rows).between(after_seq, up_to_seq, wanted)

    def plain(self, after_seq: int, up_to_seq: int) -> pa.RecordBatch | None:
        """Rows of every symbol with after_seq < seq <= up_to_seq in seq order, None where none is.

        Of several symbols they are copied, otherwise not.
        """
        parts = [rows_between(g.rows, after_seq, up_to_seq) for g in self.groups.values()]
        found = [rows for rows in parts if rows is not None]
        if len(found) < 2:
            return found[0] if found else None
        rows = one_batch(found)
        return rows.take(pa.array(np.argsort(rows.column("seq").to_numpy())))


def rows_between(rows: pa.RecordBatch, after_seq: int, up_to_seq: int) -> pa.RecordBatch | None:
    """Those of some rows in seq order with after_seq < seq <= up_to_seq, None where none is."""
    seqs: Ints = rows.column("seq").to_numpy()
    first, end = seqs.searchsorted([after_seq, up_to_seq], "right").tolist()
    return rows.slice(first, end - first) if end > first else None


def piece_of(table: str, batches: Sequence[pa.RecordBatch], size: int) -> Piece:
    """The rows of one frame or of some, at least one row each, in seq order."""
    level = min((len(batches).bit_length() - 1) // (FANOUT.bit_length() - 1), LEVEL_MAX)
    rows = batches[0] if len(batches) == 1 else one_batch(batches)
    return Piece(table, _groups_of(table, rows), level=level, size=size)


def _groups_of(table: str, rows: pa.RecordBatch) -> dict[str, Group]:
    symbols = rows.column("symbol")
    if rows.num_rows == 1:
        return {symbols[0].as_py(): Group(table, rows)}
    codes = symbols.dictionary_encode()
    names = codes.dictionary.to_pylist()
    if len(names) == 1:
        return {names[0]: Group(table, rows)}
    order = codes.indices.to_numpy()
    rows = rows.take(pa.array(np.argsort(order, kind="stable")))
    ends = np.cumsum(np.bincount(order)).tolist()
    return {
        name: Group(table, rows.slice(first, end - first))
        for name, first, end in zip(names, [0, *ends], ends, strict=False)
    }


def add_piece(pieces: list[Piece], piece: Piece) -> None:
    """Put a piece behind the others; fold those at the end where there are enough of a level."""
    pieces.append(piece)
    for level in range(LEVEL_MAX):
        first = len(pieces)
        count = 0
        while first and pieces[first - 1].level <= level:
            first -= 1
            count += pieces[first].level == level
        if count >= FANOUT:
            pieces[first:] = [_fold(pieces[first:], level + 1)]


def one_batch(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one schema as one."""
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _fold(pieces: Sequence[Piece], level: int) -> Piece:
    table = pieces[0].table
    by_symbol: dict[str, list[pa.RecordBatch]] = {}
    for piece in pieces:
        for symbol, group in piece.groups.items():
            by_symbol.setdefault(symbol, []).append(group.rows)
    groups = {symbol: Group(table, one_batch(rows)) for symbol, rows in by_symbol.items()}
    return Piece(table, groups, level=level, size=sum(piece.size_bytes for piece in pieces))


def _coded(rows: pa.RecordBatch, table: str) -> pa.RecordBatch:
    """Rows in the schema of hot answers; nothing but text is copied."""
    columns = rows.columns
    for place in _text_places(table):
        text = columns[place]
        if len(text) == 1 and text.null_count == 0:  # the only word is the first one
            columns[place] = pa.DictionaryArray.from_arrays(_FIRST, text)
        else:
            columns[place] = text.cast(TEXT)
    return pa.RecordBatch.from_arrays(columns, schema=TABLES[table].schema)


@cache
def _text_places(table: str) -> tuple[int, ...]:
    known = TABLES[table]
    return tuple(known.schema.get_field_index(name) for name in known.text_columns)


def _times(rows: pa.RecordBatch) -> Ints:
    times: Ints = rows.column("ts_event").cast(pa.int64()).to_numpy()
    return times


def _slice_of(rows: pa.RecordBatch) -> HotSlice:
    times = _times(rows)
    seqs = rows.column("seq").to_numpy()
    is_sorted = True
    if len(times) > 1:
        keys = times * 1000 + rows.column("ts_ns").to_numpy()
        is_sorted = bool(np.all(keys[1:] >= keys[:-1]))
    return HotSlice(rows, is_sorted, True, *_bounds(times), int(seqs[0]), int(seqs[-1]))


def _bounds(times: Ints) -> tuple[int, int]:
    return int(times.min()), int(times.max())
