"""Bars: exact OHLCV from valid trades, kept as rollups beside them and merged with live rows.

A bar knows its first and last trade by exact time and seq, so bars of one bucket made from
different rows merge into the bar of all of them. A merge cannot take a trade out of a bar, so a
bucket with a revised trade is computed anew from its rows.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.clock import US_PER_S
from core.schema import BARS_1S, TEXT
from storage.partition import whole
from storage.standing import Revisions, standing

WIDTHS_US = {"bars_1s": US_PER_S, "bars_1m": 60 * US_PER_S}
TRADE_COLUMNS = (
    "ts_event", "ts_ns", "seq", "contract", "source", "price", "size", "side", "source_seq", "kind",
    "valid",
)  # fmt: skip

Ints = NDArray[np.int64]
Values = NDArray[np.int64] | NDArray[np.float64]


def bars_of(trades: pa.Table, width_us: int, revisions: Revisions | None = None) -> pa.Table:
    """Bars of valid trades in any order, sorted by (symbol, time), as `BARS_1S.schema`.

    `revisions` are those known from elsewhere; the ones among `trades` always count.
    """
    trades = trades.filter(pa.array(standing(trades, revisions)))
    symbols, codes = _codes(trades)
    seq = whole(trades, "seq")
    time_ns = whole(trades, "ts_event") * 1_000 + whole(trades, "ts_ns")
    order = _order(codes, time_ns, seq)
    price = trades.column("price").to_numpy()
    size, side = whole(trades, "size"), whole(trades, "side")
    if order is not None:
        codes, time_ns, seq = codes[order], time_ns[order], seq[order]
        price, size, side = price[order], size[order], side[order]
    bucket = time_ns // (width_us * 1_000)
    first, last = _runs(codes, bucket)
    columns: dict[str, Values] = {
        "ts_event": bucket[first] * width_us,
        "open": price[first],
        "high": _per_run(np.maximum, price, first),
        "low": _per_run(np.minimum, price, first),
        "close": price[last],
        "volume": _per_run(np.add, size, first),
        "count": last - first + 1,
        "buy_volume": _per_run(np.add, np.where(side > 0, size, 0), first),
        "sell_volume": _per_run(np.add, np.where(side < 0, size, 0), first),
        "notional": _per_run(np.add, price * size, first),
        "first_ns": time_ns[first],
        "first_seq": seq[first],
        "last_ns": time_ns[last],
        "last_seq": seq[last],
    }
    return _table(symbols, codes[first], columns)


def merge(*tables: pa.Table, width_us: int = 1) -> pa.Table:
    """Bars of disjoint sets of trades as the bars of all of them, widened to `width_us`."""
    bars = pa.concat_tables(tables).unify_dictionaries()
    symbols, codes = _codes(bars)
    bucket = whole(bars, "ts_event") // width_us
    start = np.lexsort((whole(bars, "first_seq"), whole(bars, "first_ns"), bucket, codes))
    end = np.lexsort((whole(bars, "last_seq"), whole(bars, "last_ns"), bucket, codes))
    first, last = _runs(codes[start], bucket[start])
    opening, closing = start[first], end[last]

    def taken(name: str, rows: Ints) -> Values:
        values: Values = bars.column(name).to_numpy()[rows]
        return values

    columns: dict[str, Values] = {"ts_event": bucket[opening] * width_us}
    columns |= {n: taken(n, opening) for n in ("open", "first_ns", "first_seq")}
    columns |= {n: taken(n, closing) for n in ("close", "last_ns", "last_seq")}
    columns["high"] = _per_run(np.maximum, taken("high", start), first)
    columns["low"] = _per_run(np.minimum, taken("low", start), first)
    for name in ("volume", "count", "buy_volume", "sell_volume", "notional"):
        columns[name] = _per_run(np.add, taken(name, start), first)
    return _table(symbols, codes[opening], columns)


def _codes(rows: pa.Table) -> tuple[pa.Array, Ints]:
    """Symbols in sorted order, and each row's position among them."""
    if "symbol" not in rows.column_names:
        return pa.array([""]), np.zeros(rows.num_rows, np.int64)
    column = rows.column("symbol")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    words = column.dictionary
    ranks = np.argsort(pc.sort_indices(words).to_numpy())
    return words.take(pc.sort_indices(words)), ranks[column.indices.to_numpy()]


def _order(codes: Ints, time_ns: Ints, seq: Ints) -> Ints | None:
    """The order by (symbol, time, seq); None where the rows already have it."""
    step, tick = np.diff(codes), np.diff(time_ns)
    is_forward = (step > 0) | ((step == 0) & ((tick > 0) | ((tick == 0) & (np.diff(seq) > 0))))
    return None if is_forward.all() else np.lexsort((seq, time_ns, codes))


def _runs(codes: Ints, bucket: Ints) -> tuple[Ints, Ints]:
    """First and last row of each run of equal (symbol, bucket)."""
    if not len(codes):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    cuts = np.flatnonzero((np.diff(codes) != 0) | (np.diff(bucket) != 0))
    return np.concatenate(([0], cuts + 1)), np.concatenate((cuts, [len(codes) - 1]))


def _per_run(operation: np.ufunc, values: Values, first: Ints) -> Values:
    if not len(first):
        return values[:0]
    reduced: Values = operation.reduceat(values, first)
    return reduced


def _table(symbols: pa.Array, codes: Ints, columns: dict[str, Values]) -> pa.Table:
    volume, notional = columns["volume"], columns["notional"]
    with np.errstate(divide="ignore", invalid="ignore"):
        vwap = pa.array(notional / volume, mask=volume == 0)
    text = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int16()), symbols.cast(pa.utf8()))
    arrays = {name: pa.array(values) for name, values in columns.items()}
    arrays |= {"symbol": text.cast(TEXT), "vwap": vwap}
    schema = BARS_1S.schema
    return pa.table([arrays[f.name].cast(f.type) for f in schema], schema=schema)
