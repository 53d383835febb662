"""Raw DXLink values into the typed columns of our tables.

Whole columns at a time, the rows of all symbols together; only where a column holds something of
the wrong kind are its rows looked at one by one. Numbers may be the words "NaN", "Infinity" and
"-Infinity"; a missing text is null or a zero character. A column all of whose values are the
table's default is left out.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from core.batch import Rejected
from ingest.dxlink_decode import SYMBOL_FIELD, Rows
from ingest.dxlink_wire import REMOVE

SOURCE = "dxlink"
_SIDES = {"BUY": 1, "SELL": -1, "UNDEFINED": 0}
_KINDS = {"NEW": "new", "CORRECTION": "correction", "CANCEL": "cancel"}
_NUMBER_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_NS_PER_US = 1_000
# Numbers told as text, which is not documented and not doubtful either.
_WHOLE = re.compile(r"-?\d{1,30}")
_DECIMAL = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
INT64 = 2**63
# The last bits of what `content_of` gives.
VALID, CORRECTION, CANCEL = 1, 2, 4
KIND = CORRECTION | CANCEL

Columns = dict[str, NDArray[Any]]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Picked = NDArray[Any] | slice


@dataclass(frozen=True, slots=True)
class Prints:
    """Prints as columns of table trades, and beside them what the wire says of each.

    `content` tells versions of one print apart; `legs` marks prints of a spread. `is_sound` as in a
    TickBatch.
    """

    columns: Columns
    flags: Ints
    content: Ints
    legs: Mask
    is_sound: bool = False

    def __len__(self) -> int:
        return len(self.flags)

    @property
    def index(self) -> Ints:
        """The source's identity of each print, which also orders them in time."""
        return self.columns["source_seq"]

    @property
    def kinds(self) -> NDArray[Any]:
        """Words of `core.schema.KINDS`."""
        kinds = self.columns.get("kind")
        return np.full(len(self), "new", object) if kinds is None else kinds

    @property
    def valid(self) -> Mask:
        """Whether each print counts."""
        valid = self.columns.get("valid")
        return np.ones(len(self), np.bool_) if valid is None else valid

    def take(self, rows: Picked) -> "Prints":
        """The rows a mask, a slice or a list of places selects."""
        picked = {name: column[rows] for name, column in self.columns.items()}
        told = self.flags[rows], self.content[rows], self.legs[rows]
        return Prints(picked, *told, self.is_sound)


class Read(NamedTuple):
    """What a reader makes of rows: columns of them all, which are good, and why others are not."""

    columns: Columns
    keep: Mask | None
    rejects: list[Rejected]

    def by_symbol(self, rows: Rows) -> Iterator[tuple[str, Columns]]:
        """The good rows of each symbol."""
        order, spans = rows.grouped(self.keep)
        columns = self.columns if order is None else _picked(self.columns, order)
        for symbol, span in spans:
            yield symbol, _picked(columns, span)


class ReadPrints(NamedTuple):
    """Prints of all symbols, each symbol's together; where those lie; why other rows are none."""

    prints: Prints
    spans: list[tuple[str, slice]]
    rejects: list[Rejected]

    def by_symbol(self) -> Iterator[tuple[str, Prints]]:
        """The prints of each symbol."""
        for symbol, span in self.spans:
            yield symbol, self.prints.take(span)


def content_of(
    price: NDArray[np.float64], size: Ints, valid: Mask, kinds: NDArray[Any] | None
) -> Ints:
    """A number that tells versions of one print apart; its last bits are VALID and the kind.

    `kinds` None: all are new, which is no bit of KIND.
    """
    mixed = np.ascontiguousarray(price, np.float64).view(np.int64) * 31 + size  # may wrap around
    whole: Ints = mixed * 8 + valid
    if kinds is not None:
        whole += CORRECTION * (kinds == "correction") + CANCEL * (kinds == "cancel")
    return whole


def read_prints(rows: Rows) -> ReadPrints:
    """TimeAndSale rows as prints; those with a value of the wrong kind are refused.

    A row that only marks the end of a snapshot is kept, with REMOVE among its flags.
    """
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
    index = _whole(values, "index", count, faults)
    flags = _whole(values, "eventFlags", count, faults, default=0)
    columns: Columns = {
        "ts_event": _event_us(index),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "price": _real(values, "price", count, faults),
        "size": _sizes(values, "size", count, faults),
        "side": _sides(values.get("aggressorSide"), count),
        "bid": _real(values, "bidPrice", count, faults),
        "ask": _real(values, "askPrice", count, faults),
        "source_seq": index,
    }
    nano = _whole(values, "timeNanoPart", count, faults, default=0)
    if nano.any():
        columns["ts_event"] += nano // _NS_PER_US
        columns["ts_ns"] = (nano % _NS_PER_US).astype(np.int16)
    if "index" not in values or "price" not in values:
        faults = dict.fromkeys(range(count), "layout lacks index or price")
    valid = _flags(values.get("validTick"), count, default=True)
    kinds = values.get("type")
    if kinds is not None and kinds.count("NEW") != count:
        columns["kind"] = _kinds(kinds, faults)
        valid &= columns["kind"] != "cancel"
    if not valid.all():
        columns["valid"] = valid
    conditions = values.get("exchangeSaleConditions")
    if conditions is not None and conditions.count(None) != count:
        columns["conditions"] = _texts(_words(conditions))
    content = content_of(columns["price"], columns["size"], valid, columns.get("kind"))
    prints = Prints(columns, flags, content, _flags(values.get("spreadLeg"), count, default=False))
    if faults:
        is_marker = (flags & REMOVE) != 0
        faults = {row: reason for row, reason in faults.items() if not is_marker[row]}
    order, spans = rows.grouped(_good(count, faults))
    if order is not None:
        prints = prints.take(order)
    return ReadPrints(prints, spans, _rejects(rows, faults, "trades"))


def read_quotes(rows: Rows) -> Read:
    """Quote rows; their time is ours where the source gives none."""
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
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
    return Read(columns, _good(count, faults), _rejects(rows, faults, "quotes"))


def read_last_trades(rows: Rows) -> Read:
    """Trade or TradeETH rows as trades: the last value alone; what lay between is unknown."""
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
    times = _whole(values, "time", count, faults, default=0)
    nano = _whole(values, "timeNanoPart", count, faults, default=0)
    price = _real(values, "price", count, faults)
    columns: Columns = {
        "ts_event": times * 1_000 + nano // _NS_PER_US,
        "ts_ns": (nano % _NS_PER_US).astype(np.int16),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "price": price,
        "size": _sizes(values, "size", count, faults),
        "grade": np.full(count, "conflated", object),
    }
    keep = (times > 0) & ~np.isnan(price)  # before the first trade of a day there is none
    keep[list(faults)] = False
    return Read(columns, keep, _rejects(rows, faults, "trades"))


def read_day_volumes(rows: Rows) -> Read:
    """What the day has summed up to at each Trade or TradeETH row.

    `index` of its last print, `day`, and `volume`, NaN where the source has none.
    """
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
    times = _whole(values, "time", count, faults, default=0)
    sequence = _whole(values, "sequence", count, faults, default=0)
    columns: Columns = {
        "index": index_of(times, sequence),
        "day": _whole(values, "dayId", count, faults, default=0),
        "volume": _real(values, "dayVolume", count, faults),
    }
    return Read(columns, _good(count, faults), [])


def read_candles(rows: Rows) -> Read:
    """Candle rows: `index`, start in `time_ms`, `count`, `volume`, `close`, the wire's `flags`."""
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
    columns: Columns = {
        "flags": _whole(values, "eventFlags", count, faults, default=0),
        "index": _whole(values, "index", count, faults),
        "time_ms": _whole(values, "time", count, faults, default=0),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "count": _whole(values, "count", count, faults, default=0),
        "volume": _real(values, "volume", count, faults),
        "close": _real(values, "close", count, faults),
    }
    return Read(columns, _good(count, faults), _rejects(rows, faults, "trades"))


def index_of(time_ms: Ints, sequence: Ints) -> Ints:
    """The index of a print that happened at a time with a sequence number."""
    return (time_ms // 1_000 << 32) | (time_ms % 1_000 << 22) | (sequence & 0x3FFFFF)


def event_us(index: int) -> int:
    """The venue's time within an index, microseconds."""
    return (index >> 32) * 1_000_000 + (index >> 22 & 0x3FF) * 1_000


def _event_us(index: Ints) -> Ints:
    return (index >> 32) * 1_000_000 + (index >> 22 & 0x3FF) * 1_000


def _picked(columns: Columns, rows: Picked) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def _good(count: int, faults: dict[int, str]) -> Mask | None:
    if not faults:
        return None
    keep = np.ones(count, np.bool_)
    keep[list(faults)] = False
    return keep


def _flags(column: Sequence[Any] | None, count: int, *, default: bool) -> Mask:
    """A column of booleans; what is none counts as false."""
    if column is None or column.count(default) == count:
        return np.full(count, default)
    return np.fromiter((flag is True for flag in column), np.bool_, count)


def _sides(column: Sequence[Any] | None, count: int) -> NDArray[np.int8]:
    if column is None:
        return np.zeros(count, np.int8)
    try:
        return np.fromiter(map(_SIDES.__getitem__, column), np.int8, count)
    except (KeyError, TypeError):  # none, or something that is no side
        sides = [_SIDES.get(side, 0) if isinstance(side, str) else 0 for side in column]
        return np.array(sides, np.int8)


def _kinds(column: Sequence[Any], faults: dict[int, str]) -> NDArray[Any]:
    kinds = [_KINDS.get(kind, "") for kind in _words(column)]
    for row, kind in enumerate(kinds):
        if not kind:
            faults.setdefault(row, "type is not NEW, CORRECTION or CANCEL")
    return _texts(kinds)


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
        elif isinstance(value, str) and _DECIMAL.fullmatch(value):
            out[row] = float(value)
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
    if column is None or (default == 0 and column.count(0) == count):
        return np.zeros(count, np.int64)
    if set(map(type, column)) == {int}:
        with suppress(OverflowError):
            return np.array(column, np.int64)
    out = np.zeros(count, np.int64)
    for row, value in enumerate(column):
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)  # noqa: PLW2901 - a number told as text
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
    with np.errstate(invalid="ignore"):
        whole = real.astype(np.int64)
    if (whole == real).all() and max(whole.max(initial=0), -whole.min(initial=0)) < 2**53:
        return whole
    known = np.where(np.isfinite(real), real, 0.0)
    is_bad = (known != np.floor(known)) | (np.abs(known) >= INT64)
    for row in np.flatnonzero(is_bad).tolist():
        faults.setdefault(row, f"{name} is not a whole number")
    return np.where(is_bad, 0, known).astype(np.int64)


def _known(price: NDArray[np.float64]) -> NDArray[np.float64]:
    """A one-sided book writes NaN or 0 for the side that is not there."""
    return np.where(price == 0, np.nan, price)


def _words(column: Sequence[Any]) -> list[str]:
    """A column of text; what is none, or a zero character, counts as absent."""
    return [word if isinstance(word, str) and word != "\u0000" else "" for word in column]


def _texts(words: list[str]) -> NDArray[Any]:
    out = np.empty(len(words), object)
    out[:] = words
    return out


def _rejects(rows: Rows, faults: dict[int, str], table: str) -> list[Rejected]:
    """The refused rows, under the source's own name of their symbol."""
    return [
        Rejected(
            table,
            rows.values[SYMBOL_FIELD][row],
            SOURCE,
            reason,
            orjson.dumps({name: column[row] for name, column in rows.values.items()}),
            int(rows.ts_recv_ns[row]) // _NS_PER_US,
        )
        for row, reason in sorted(faults.items())
    ]
