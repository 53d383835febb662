"""From which seq on a table's rows must be shared, so that another server lacks nothing."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.schema import TABLES
from storage.hot import HotReader
from storage.partition import whole
from storage.view import View

Ints = NDArray[np.int64]
Rows = tuple[Ints, Ints, Ints | int]  # seqs, venue times, and the seq their symbol is sealed to


def first_needed(view: View, table: str, *, cutoff_us: int, after_seq: int) -> int:
    """Smallest hot seq above `after_seq` that is not sealed yet, or is as new as the cutoff.

    The next seq where there is none. Everything before it is in the lake.
    """
    # Read before the manifest: what was sealed by then is known to be.
    durable_seq = view.watermarks(table).durable_seq
    sealed_seq = view.snapshot(table).sealed_seq
    rows_of = _fast if TABLES[table].is_fast else _slow
    first = durable_seq + 1
    for group in rows_of(view.hot, table, sealed_seq, (after_seq, durable_seq)):
        for seqs, times_us, sealed in group:
            needed = (seqs > sealed) | (times_us >= cutoff_us)
            if needed.any():
                first = min(first, int(seqs[np.argmax(needed)]))
                break  # what follows in the group has higher seqs
    return first


def _fast(
    hot: HotReader, table: str, sealed_seq: Mapping[str, int], seqs: tuple[int, int]
) -> Iterator[Iterator[Rows]]:
    """A group a symbol."""
    for symbol in hot.symbols(table):
        slices = hot.slices(table, symbol, after_seq=seqs[0], up_to_seq=seqs[1])
        sealed = sealed_seq.get(symbol, 0)
        yield ((whole(part.batch, "seq"), whole(part.batch, "ts_event"), sealed) for part in slices)


def _slow(
    hot: HotReader, table: str, sealed_seq: Mapping[str, int], seqs: tuple[int, int]
) -> Iterator[Iterator[Rows]]:
    """One group of all symbols."""

    def rows(batch: pa.RecordBatch) -> Rows:
        sealed: Ints | int = sealed_seq.get("", 0)
        if TABLES[table].by_symbol:
            symbols = batch.column("symbol").dictionary_encode()
            known = [sealed_seq.get(symbol, 0) for symbol in symbols.dictionary.to_pylist()]
            sealed = np.array(known, np.int64)[symbols.indices.to_numpy()]
        return whole(batch, "seq"), whole(batch, "ts_event"), sealed

    yield (rows(batch) for batch in hot.plain(table, after_seq=seqs[0], up_to_seq=seqs[1]))
