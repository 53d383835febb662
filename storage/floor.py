"""From which seq on a table's rows must be shared, so that another server lacks nothing."""

import numpy as np

from core.schema import TABLES
from storage.partition import whole
from storage.view import View


def first_needed(view: View, table: str, *, cutoff_us: int, after_seq: int) -> int:
    """Smallest hot seq above `after_seq` that is not sealed yet, or is as new as the cutoff.

    The next seq where there is none. Everything before it is in the lake.
    """
    # Read before the manifest: what was sealed by then is known to be.
    durable_seq = view.watermarks(table).durable_seq
    sealed_seq = view.snapshot(table).sealed_seq
    first = durable_seq + 1
    for symbol in view.hot.symbols(table) if TABLES[table].by_symbol else [""]:
        sealed = sealed_seq.get(symbol, 0)
        for part in view.hot.slices(table, symbol, after_seq=after_seq, up_to_seq=durable_seq):
            seqs = whole(part.batch, "seq")
            needed = (seqs > sealed) | (whole(part.batch, "ts_event") >= cutoff_us)
            if needed.any():
                first = min(first, int(seqs[np.argmax(needed)]))
                break  # what follows of this symbol has higher seqs
    return first
