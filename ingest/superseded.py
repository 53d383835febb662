"""Copies of trades that a second witness repaired, where the feed's own history brings them late.

Both would count the trade twice. The feed's print is the better row, for later corrections name it;
so the copy is cancelled, and stays on the tape as what was known until then. Pure.
"""

import numpy as np

from core.batch import TickBatch
from ingest.align import SLACK_US_MAX, align

NEAR_US = 2 * SLACK_US_MAX


def cancels(fresh: TickBatch, copies: TickBatch) -> TickBatch | None:
    """Cancels of the copies that fresh prints are the original of; None where there are none.

    `copies` are standing trades of one source, in time order and at most NEAR_US away.
    """
    if copies.rows == 0 or fresh.rows == 0:
        return None
    found = align(fresh, copies)
    has = found.partner >= 0
    is_told = np.zeros(copies.rows, np.bool_)
    prints = found.reference
    for first, rows in zip(prints.first_row[has].tolist(), prints.rows[has].tolist(), strict=True):
        is_told[first : first + rows] = True
    if not is_told.any():
        return None
    told = copies.take(is_told)
    columns = {
        **told.columns,
        "ts_recv": np.full(told.rows, np.asarray(fresh.columns["ts_recv"]).max(), np.int64),
        "kind": np.full(told.rows, "cancel", object),
        "valid": np.zeros(told.rows, np.bool_),
        "repaired": np.ones(told.rows, np.bool_),
    }
    return TickBatch(told.table, told.symbol, told.contract, told.source, columns)
