"""The newest trades of a symbol that are in memory: for the tape of a page, samples and pivots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from core.clock import NS_PER_MS
from storage.mapped import HotSlice
from webui.sheet import Row
from webui.tape import StoreTape
from webui.words import DASH, format_millis, format_price

SAMPLE_COLUMNS = ("ts_event", "price", "size", "side", "bid", "ask", "contract", "seq")
LOOK_BACK_ROWS = 1_000
LOOK_BACK_GROWTH = 8
SIDES = {1: ("buy", "up"), -1: ("sell", "down")}


def newest_trades(tape: StoreTape, symbol: str, rows: int) -> pa.Table:
    """The newest valid trades, oldest first; ever longer looks back."""
    seq = tape.watermarks("trades").visible_seq
    back = max(rows * LOOK_BACK_GROWTH, LOOK_BACK_ROWS)
    while True:
        slices = tape.after("trades", symbol, max(seq - back, 0))
        if sum(s.batch.num_rows for s in slices) >= rows or back >= seq:
            return last_valid(slices, rows)
        back *= LOOK_BACK_GROWTH


def trades_after(tape: StoreTape, symbol: str, seq: int, rows: int) -> pa.Table:
    """The newest valid trades whose seq is above `seq`, oldest first."""
    return last_valid(tape.after("trades", symbol, seq), rows)


def last_valid(slices: Sequence[HotSlice], rows: int) -> pa.Table:
    """The last valid rows of some slices, oldest first."""
    if not slices:
        return pa.table({name: pa.array([], pa.int64()) for name in SAMPLE_COLUMNS})
    found = pa.Table.from_batches([s.batch for s in slices]).select([*SAMPLE_COLUMNS, "valid"])
    found = found.filter(found.column("valid")).drop_columns(["valid"])
    return found.slice(max(found.num_rows - rows, 0))


def newest_first(table: pa.Table) -> pa.Table:
    """The same rows the other way round."""
    return table.take(np.arange(table.num_rows - 1, -1, -1))


def as_lists(table: pa.Table) -> list[list[Any]]:
    """Rows as plain values, times in epoch ms."""
    columns = [table.column(name).to_pylist() for name in SAMPLE_COLUMNS[1:]]
    times = table.column("ts_event").cast(pa.int64()).to_numpy() * 1_000 / NS_PER_MS
    return [list(row) for row in zip(times.tolist(), *columns, strict=True)]


def tick_rows(table: pa.Table) -> list[Row]:
    """Trades as the page writes them; `state` is the side."""
    found = []
    for ts_ms, price, size, side, bid, ask, contract, seq in as_lists(table):
        word, look = SIDES.get(side, (DASH, ""))
        cells = [format_millis(ts_ms), format_price(price), f"{size:,}", word]
        cells += [format_price(bid), format_price(ask), contract, f"{seq:,}"]
        found.append(Row(key=str(seq), state=look, cells=cells))
    return found
