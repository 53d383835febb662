"""Rows that clients put: which of them the tape holds already.

A client that heard no answer sends its rows again. A row is known by what its source calls it, its
`source_seq`, and is the same where all it says is the same; with another price, or as a correction,
it is a revision and kept. Rows without a number of their source cannot be told apart: all are kept.
"""

import math
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.batch import TickBatch
from core.schema import KINDS
from ingest.stored import column_values
from storage.view import Views

Row = tuple[object, ...]


class PutRows:
    """Takes batches that clients put, one at a time."""

    def __init__(self, views: Views, take: Callable[[TickBatch], int]) -> None:
        self._views = views
        self._take = take
        self._lock = threading.Lock()

    def take(self, batch: TickBatch) -> tuple[int, int]:
        """Store what is not known yet; give the rows stored and the duplicates.

        Raise DiskFull, then nothing is stored.
        """
        with self._lock:
            is_new = self._are_new(batch)
            duplicates = batch.rows - int(np.count_nonzero(is_new))
            fresh = batch.take(is_new) if duplicates else batch
            return (self._take(fresh) if fresh.rows else 0), duplicates

    def _are_new(self, batch: TickBatch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        numbers = batch.columns.get("source_seq")
        if numbers is None or not numbers.any():
            return np.ones(batch.rows, np.bool_)
        names = sorted(set(batch.columns) - {"ts_recv"})
        if batch.table == "trades" and "kind" not in names:
            names.append("kind")
        known = self._known(batch, names)
        is_new = []
        for number, row in zip(numbers.tolist(), _rows(batch, names), strict=True):
            is_new.append(number == 0 or row not in known)
            known.add(row)
        return np.array(is_new, np.bool_)

    def _known(self, batch: TickBatch, names: Sequence[str]) -> set[Row]:
        """Stored rows of the batch's contract, source, times and numbers."""
        times = batch.columns["ts_event"]
        wanted = pa.array(batch.columns["source_seq"], pa.int64())
        view = self._views.view()
        first_us, last_us = int(times.min()), int(times.max())
        known: set[Row] = set()
        for stored in view.scan(batch.table, batch.symbol, start_us=first_us, end_us=last_us + 1):
            is_ours = pc.and_(
                pc.and_(
                    pc.equal(stored.column("contract").cast("string"), batch.contract),
                    pc.equal(stored.column("source").cast("string"), batch.source),
                ),
                pc.is_in(stored.column("source_seq"), value_set=wanted),
            )
            found = pa.Table.from_batches([stored.select(names)]).filter(is_ours)
            values = [_plain(column_values(column).tolist()) for column in found.columns]
            known.update(zip(*values, strict=True))
        return known


def _rows(batch: TickBatch, names: Sequence[str]) -> list[Row]:
    absent = np.full(batch.rows, KINDS[0], object)
    values = [_plain(batch.columns.get(name, absent).tolist()) for name in names]
    return list(zip(*values, strict=True))


def _plain(values: list[object]) -> list[object]:
    """Values that can be compared: what is not a number is not known, and so None."""
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values]
