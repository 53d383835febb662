"""Which rows a question wants, and taking them out of a batch."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.partition import whole
from storage.standing import Revisions, standing_rows

Seqs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Range:
    """Half-open [start_us, end_us); `known_at_us` hides rows received later.

    With `standing_only` only trades that stand are wanted, given what `revisions` of them are known
    (None: none is). Rows with a seq of `left_out` are not wanted.
    """

    start_us: int | None = None
    end_us: int | None = None
    known_at_us: int | None = None
    standing_only: bool = False
    revisions: Revisions | None = None
    left_out: Seqs | None = None

    def overlaps(self, low_us: int, high_us: int) -> bool:
        """Whether any time from `low_us` to `high_us` is wanted."""
        return (self.start_us is None or high_us >= self.start_us) and (
            self.end_us is None or low_us < self.end_us
        )

    def holds(self, low_us: int, high_us: int) -> bool:
        """Whether every time from `low_us` to `high_us` is wanted."""
        return (self.start_us is None or self.start_us <= low_us) and (
            self.end_us is None or high_us < self.end_us
        )


ANY_TIME = Range()


def cut(batch: pa.RecordBatch, wanted: Range) -> pa.RecordBatch:
    """Rows of the time range by binary search."""
    times = batch.column("ts_event").cast(pa.int64()).to_numpy()
    start, end = 0, len(times)
    if wanted.start_us is not None:
        start = int(np.searchsorted(times, wanted.start_us, "left"))
    if wanted.end_us is not None:
        end = int(np.searchsorted(times, wanted.end_us, "left"))
    return batch.slice(start, max(end - start, 0))


def in_range(batch: pa.RecordBatch, wanted: Range) -> pa.Array:
    times = batch.column("ts_event").cast(pa.int64()).to_numpy()
    keep = np.ones(len(times), np.bool_)
    if wanted.start_us is not None:
        keep &= times >= wanted.start_us
    if wanted.end_us is not None:
        keep &= times < wanted.end_us
    return pa.array(keep)


def filtered(batch: pa.RecordBatch, wanted: Range, *, all_valid: bool) -> pa.RecordBatch:
    if wanted.standing_only and not all_valid:
        batch = batch.filter(batch.column("valid"))
    if wanted.standing_only and wanted.revisions is not None:
        batch = standing_rows(batch, wanted.revisions)
    if wanted.left_out is not None and len(wanted.left_out):
        is_left_out = np.isin(whole(batch, "seq"), wanted.left_out)
        batch = batch.filter(pa.array(~is_left_out)) if is_left_out.any() else batch
    if wanted.known_at_us is not None:
        received = batch.column("ts_recv").cast(pa.int64())
        batch = batch.filter(pc.less_equal(received, wanted.known_at_us))
    return batch
