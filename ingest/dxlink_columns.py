"""Raw DXLink values into the typed columns of our tables.

Whole columns at a time; only where a column holds something of the wrong kind are its rows looked
at one by one. Numbers may be the words "NaN", "Infinity" and "-Infinity"; a missing text is null or
a zero character.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from core.batch import Rejected
from ingest.dxlink_decode import Rows
from ingest.dxlink_wire import REMOVE

SOURCE = "dxlink"
_SIDES = {"BUY": 1, "SELL": -1}
_KINDS = {"NEW": "new", "CORRECTION": "correction", "CANCEL": "cancel"}
_NUMBER_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_NS_PER_US = 1_000
INT64 = 2**63

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Prints:
    """Prints of one symbol as columns of table trades, the wire's flags beside them."""

    columns: Columns
    flags: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.flags)

    @property
    def index(self) -> NDArray[np.int64]:
        """The source's identity of each print, which also orders them in time."""
        return self.columns["source_seq"]

    def take(self, rows: NDArray[Any]) -> "Prints":
        """The rows a mask or a list of places selects."""
        picked = {name: column[rows] for name, column in self.columns.items()}
        return Prints(picked, self.flags[rows])


def prints_of(rows: Rows, symbol: str) -> tuple[Prints, list[Rejected]]:
    """TimeAndSale rows of one symbol; those with a value of the wrong kind are refused.

    A row that only marks the end of a snapshot is kept, with REMOVE among its flags.
    """
    values = rows.values
    count = len(rows)
    faults: dict[int, str] = {}
    index = _whole(values, "index", count, faults)
    flags = _whole(values, "eventFlags", count, faults, default=0)
    nano = _whole(values, "timeNanoPart", count, faults, default=0)
    price = _real(values, "price", count, faults)
    size = _sizes(values, "size", count, faults)
    if "index" not in values or "price" not in values:
        faults = dict.fromkeys(range(count), "layout lacks index or price")
    kinds = [_KINDS.get(kind, "") for kind in _words(values, "type", count, "NEW")]
    for row, kind in enumerate(kinds):
        if not kind:
            faults.setdefault(row, "type is not NEW, CORRECTION or CANCEL")
    valid = [flag is True for flag in _column(values, "validTick", count, True)]
    columns: Columns = {
        "ts_event": _event_us(index) + nano // _NS_PER_US,
        "ts_ns": (nano % _NS_PER_US).astype(np.int16),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "price": price,
        "size": size,
        "side": np.array(
            [_SIDES.get(side, 0) for side in _words(values, "aggressorSide", count)], np.int8
        ),
        "bid": _real(values, "bidPrice", count, faults),
        "ask": _real(values, "askPrice", count, faults),
        "source_seq": index,
        "conditions": _texts(_words(values, "exchangeSaleConditions", count)),
        "kind": np.array(kinds, object),
        "valid": np.array(valid, np.bool_) & np.array([kind != "cancel" for kind in kinds]),
    }
    is_marker = (flags & REMOVE) != 0
    faults = {row: reason for row, reason in faults.items() if not is_marker[row]}
    prints = Prints(columns, flags)
    if not faults:
        return prints, []
    keep = np.ones(count, np.bool_)
    keep[list(faults)] = False
    return prints.take(keep), _rejects(rows, symbol, faults, "trades")


def quotes_of(rows: Rows, symbol: str) -> tuple[Columns, list[Rejected]]:
    """Quote rows of one symbol; their time is ours where the source gives none."""
    count = len(rows)
    faults: dict[int, str] = {}
    values = rows.values
    times = np.maximum(
        _whole(values, "bidTime", count, faults, default=0),
        _whole(values, "askTime", count, faults, default=0),
    )
    ts_recv = rows.ts_recv_ns // _NS_PER_US
    columns: Columns = {
        "ts_event": np.where(times > 0, times * 1_000, ts_recv),
        "ts_recv": ts_recv,
        "bid": _known(_real(values, "bidPrice", count, faults)),
        "ask": _known(_real(values, "askPrice", count, faults)),
        "bid_size": _sizes(values, "bidSize", count, faults),
        "ask_size": _sizes(values, "askSize", count, faults),
    }
    keep = np.ones(count, np.bool_)
    keep[list(faults)] = False
    if faults:
        columns = {name: column[keep] for name, column in columns.items()}
    return columns, _rejects(rows, symbol, faults, "quotes")


def last_trades_of(rows: Rows, symbol: str) -> tuple[Columns, list[Rejected]]:
    """Trade or TradeETH rows: the last value alone, so what lay between them is unknown."""
    count = len(rows)
    faults: dict[int, str] = {}
    values = rows.values
    times = _whole(values, "time", count, faults, default=0)
    nano = _whole(values, "timeNanoPart", count, faults, default=0)
    price = _real(values, "price", count, faults)
    is_told = (times > 0) & ~np.isnan(price)  # before the first trade of a day there is none
    columns: Columns = {
        "ts_event": times * 1_000 + nano // _NS_PER_US,
        "ts_ns": (nano % _NS_PER_US).astype(np.int16),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "price": price,
        "size": _sizes(values, "size", count, faults),
        "grade": np.full(count, "conflated", object),
    }
    keep = is_told.copy()
    keep[list(faults)] = False
    columns = {name: column[keep] for name, column in columns.items()}
    return columns, _rejects(rows, symbol, faults, "trades")


def event_us(index: int) -> int:
    """The venue's time within an index, microseconds."""
    return (index >> 32) * 1_000_000 + (index >> 22 & 0x3FF) * 1_000


def _event_us(index: NDArray[np.int64]) -> NDArray[np.int64]:
    return (index >> 32) * 1_000_000 + (index >> 22 & 0x3FF) * 1_000


def _column(values: dict[str, list[Any]], name: str, count: int, default: Any) -> Sequence[Any]:
    column = values.get(name)
    return [default] * count if column is None else column


def _real(
    values: dict[str, list[Any]], name: str, count: int, faults: dict[int, str]
) -> NDArray[np.float64]:
    column = values.get(name)
    if column is None:
        return np.full(count, np.nan)
    if not set(map(type, column)) - {float, int}:
        return np.array(column, np.float64)
    out = np.full(count, np.nan)
    for row, value in enumerate(column):
        if type(value) in (float, int):
            out[row] = value
        elif isinstance(value, str) and value in _NUMBER_WORDS:
            out[row] = _NUMBER_WORDS[value]
        elif value is not None:
            faults.setdefault(row, f"{name} is not a number")
    return out


def _whole(
    values: dict[str, list[Any]],
    name: str,
    count: int,
    faults: dict[int, str],
    default: int | None = None,
) -> NDArray[np.int64]:
    column = values.get(name)
    if column is None:
        return np.zeros(count, np.int64)
    if set(map(type, column)) == {int} and min(column) >= -INT64 and max(column) < INT64:
        return np.array(column, np.int64)
    out = np.zeros(count, np.int64)
    for row, value in enumerate(column):
        if (
            type(value) in (int, float)
            and abs(value) < INT64
            and (type(value) is int or value.is_integer())
        ):
            out[row] = int(value)
        elif default is not None and (
            value is None or (isinstance(value, str) and value in _NUMBER_WORDS)
        ):
            out[row] = default
        else:
            faults.setdefault(row, f"{name} is not a whole number")
    return out


def _sizes(
    values: dict[str, list[Any]], name: str, count: int, faults: dict[int, str]
) -> NDArray[np.int64]:
    """Sizes come as 1.0 and, where there is none, as NaN."""
    real = _real(values, name, count, faults)
    known = np.where(np.isfinite(real), real, 0.0)
    is_bad = (known != np.floor(known)) | (np.abs(known) >= INT64)
    for row in np.flatnonzero(is_bad).tolist():
        faults.setdefault(row, f"{name} is not a whole number")
    return np.where(is_bad, 0, known).astype(np.int64)


def _known(price: NDArray[np.float64]) -> NDArray[np.float64]:
    """A one-sided book writes NaN or 0 for the side that is not there."""
    return np.where(price == 0, np.nan, price)


def _words(values: dict[str, list[Any]], name: str, count: int, default: str = "") -> list[str]:
    """A column of text; what is none, or a zero character, counts as absent."""
    column = _column(values, name, count, default)
    return [word if isinstance(word, str) and word != "\u0000" else "" for word in column]


def _texts(words: list[str]) -> NDArray[Any]:
    out = np.empty(len(words), object)
    out[:] = words
    return out


def _rejects(rows: Rows, symbol: str, faults: dict[int, str], table: str) -> list[Rejected]:
    return [
        Rejected(
            table,
            symbol,
            SOURCE,
            reason,
            orjson.dumps({name: column[row] for name, column in rows.values.items()}),
            int(rows.ts_recv_ns[row]) // _NS_PER_US,
        )
        for row, reason in sorted(faults.items())
    ]
