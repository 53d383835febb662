"""A scan: the pieces that hold a range's rows, hot and cold, streamed as one in time order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import pyarrow as pa

from core.schema import TABLES
from storage.cold import ColdPart
from storage.mapped import HotSlice
from storage.ranges import Range, cut, filtered, in_range

BATCH_ROWS = 16_384
LINED_UP_MAX = 256
SORT_ORDER = [("ts_event", "ascending"), ("ts_ns", "ascending"), ("seq", "ascending")]


@dataclass(frozen=True, slots=True)
class HotPart:
    """A slice of a hot block as a part of a scan."""

    slice: HotSlice

    @property
    def rows(self) -> int:
        return int(self.slice.batch.num_rows)

    @property
    def bounds(self) -> tuple[int, int]:
        return self.slice.min_ts_us, self.slice.max_ts_us

    @property
    def is_sorted(self) -> bool:
        return self.slice.is_sorted

    @property
    def is_hot(self) -> bool:
        return True

    def columns(self, names: Sequence[str], wanted: Range) -> Iterator[pa.RecordBatch]:
        """Some columns of the range."""
        rows = self.slice.batch
        yield rows.select(list(names)).filter(in_range(rows, wanted))

    def batches(self, wanted: Range) -> Iterator[pa.RecordBatch]:
        """Rows of the range; zero-copy where the slice is sorted and all rows are wanted."""
        batch = self.slice.batch
        low, high = self.bounds
        if wanted.holds(low, high):
            pass
        elif self.slice.is_sorted:
            batch = cut(batch, wanted)
        else:
            batch = batch.filter(in_range(batch, wanted))
        yield filtered(batch, wanted, all_valid=self.slice.all_valid)


Part: TypeAlias = ColdPart | HotPart


class Scan:
    """Rows of one symbol and range; what they are was settled when it was made, read once.

    Batches have at most 16,384 rows and text as dictionary.
    """

    def __init__(self, table: str, parts: Sequence[Part], wanted: Range) -> None:
        self._table = table
        self._parts = parts
        self._wanted = wanted
        self.schema: pa.Schema = TABLES[table].schema

    @property
    def rows_max(self) -> int:
        """At most how many rows there are; none is read for this."""
        return sum(part.rows for part in self._parts)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return chain.from_iterable(self.runs())

    def runs(self) -> Iterator[Sequence[pa.RecordBatch]]:
        """The batches, some at a time: those that are at hand together."""
        return _in_order(self._parts, self._wanted, self._table)

    def read_all(self) -> pa.Table:
        """Every row."""
        return pa.Table.from_batches(self, self.schema)


def _in_order(
    parts: Sequence[Part], wanted: Range, table: str
) -> Iterator[Sequence[pa.RecordBatch]]:
    """Stream the parts in time order; only parts whose times overlap are read at once."""
    waiting = sorted(parts, key=lambda part: (*part.bounds, part.is_hot))
    while waiting:
        together = [waiting.pop(0)]
        end = together[0].bounds[1]
        while waiting and _overlaps(together[-1], waiting[0], end):
            end = max(end, waiting[0].bounds[1])
            together.append(waiting.pop(0))
        if len(together) == 1 and together[0].is_sorted:
            # Slices of memory cost next to nothing to line up; doing so ahead keeps the sender
            # from waiting for each of them.
            while len(together) < LINED_UP_MAX and _follows(together[-1], waiting):
                together.append(waiting.pop(0))
            if together[0].is_hot:
                yield [c for part in together for b in part.batches(wanted) for c in _chunks(b)]
            else:
                for batch in together[0].batches(wanted):
                    yield [*_chunks(batch)]
            continue
        rows = [b for part in together for b in part.batches(wanted) if b.num_rows]
        merged = pa.Table.from_batches(rows, TABLES[table].schema).unify_dictionaries()
        for batch in merged.sort_by(SORT_ORDER).combine_chunks().to_batches():
            yield [*_chunks(batch)]


def _follows(before: Part, waiting: list[Part]) -> bool:
    """Whether the next part is sorted, hot as this one is, and wholly before the one after it."""
    if not waiting or not (before.is_hot and waiting[0].is_hot and waiting[0].is_sorted):
        return False
    after, following = waiting[0], waiting[1:2]
    return not _overlaps(before, after, before.bounds[1]) and not any(
        _overlaps(after, part, after.bounds[1]) for part in following
    )


def _overlaps(before: Part, after: Part, end: int) -> bool:
    """Whether `after` may hold rows older than the last ones that were taken, until `end`."""
    start = after.bounds[0]
    if start != end or before.bounds[1] != end:
        return start <= end
    if isinstance(before, HotPart) and isinstance(after, HotPart):
        return not (before.is_sorted and after.is_sorted and _edge(before, -1) <= _edge(after, 0))
    return True


def _edge(part: HotPart, row: int) -> tuple[int, int]:
    """What orders a row among those of one microsecond."""
    rows = part.slice.batch
    return rows.column("ts_ns")[row].as_py(), rows.column("seq")[row].as_py()


def _chunks(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if 0 < batch.num_rows <= BATCH_ROWS:
        yield batch
        return
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)
