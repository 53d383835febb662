"""Raw DXLink values into the typed columns of our tables.

The rows of all symbols together. A column all of whose values are the table's default is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from core.batch import Rejected
from core.schema import KINDS
from ingest.dxlink_decode import SYMBOL_FIELD, Rows, Scanned
from ingest.dxlink_values import (
    as_texts,
    read_flags,
    read_real,
    read_sizes,
    read_whole,
    read_words,
)
from ingest.dxlink_wire import REMOVE

SOURCE = "dxlink"
_SIDES = {"BUY": 1, "SELL": -1, "UNDEFINED": 0}
_KINDS = {"NEW": "new", "CORRECTION": "correction", "CANCEL": "cancel"}
_NS_PER_US = 1_000
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


def read_prints(rows: Rows | Scanned) -> ReadPrints:
    """TimeAndSale rows as prints; those with a value of the wrong kind are refused.

    A row that only marks the end of a snapshot is kept, with REMOVE among its flags.
    """
    if isinstance(rows, Scanned):
        return ReadPrints(_scanned_prints(rows), rows.spans, [])
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
    index = read_whole(values, "index", count, faults)
    flags = read_whole(values, "eventFlags", count, faults, default=0)
    columns: Columns = {
        "ts_event": _event_us(index),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "price": read_real(values, "price", count, faults),
        "size": read_sizes(values, "size", count, faults),
        "side": _sides(values.get("aggressorSide"), count),
        "bid": read_real(values, "bidPrice", count, faults),
        "ask": read_real(values, "askPrice", count, faults),
        "source_seq": index,
    }
    nano = read_whole(values, "timeNanoPart", count, faults, default=0)
    if "index" not in values or "price" not in values:
        faults = dict.fromkeys(range(count), "layout lacks index or price")
    valid = read_flags(values.get("validTick"), count, default=True)
    kinds = values.get("type")
    if kinds is not None and kinds.count("NEW") != count:
        columns["kind"] = _kinds(kinds, faults)
    conditions = values.get("exchangeSaleConditions")
    if conditions is not None and conditions.count(None) != count:
        columns["conditions"] = as_texts(read_words(conditions))
    legs = read_flags(values.get("spreadLeg"), count, default=False)
    prints = _prints(columns, flags, nano, valid, legs)
    if faults:
        is_marker = (flags & REMOVE) != 0
        faults = {row: reason for row, reason in faults.items() if not is_marker[row]}
    order, spans = rows.grouped(_good(count, faults))
    if order is not None:
        prints = prints.take(order)
    return ReadPrints(prints, spans, _rejects(rows, faults, "trades"))


def _scanned_prints(rows: Scanned) -> Prints:
    values, words = rows.values, rows.words
    index = values["index"]
    columns: Columns = {
        "ts_event": _event_us(index),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "price": values["price"],
        "size": values["size"],
        "side": values["aggressorSide"],
        "bid": values["bidPrice"],
        "ask": values["askPrice"],
        "source_seq": index,
    }
    if values["type"].any():
        columns["kind"] = as_texts([KINDS[kind] for kind in values["type"].tolist()])
    conditions = values["exchangeSaleConditions"].tolist()
    if conditions.count(-1) != len(rows):
        columns["conditions"] = as_texts([words[c] if c >= 0 else "" for c in conditions])
    told = values["eventFlags"], values["timeNanoPart"], values["validTick"], values["spreadLeg"]
    return _prints(columns, *told)


def _prints(columns: Columns, flags: Ints, nano: Ints, valid: Mask, legs: Mask) -> Prints:
    """Prints of typed columns: those left out that say nothing, and what follows from them."""
    if nano.any():
        columns["ts_event"] += nano // _NS_PER_US
        columns["ts_ns"] = (nano % _NS_PER_US).astype(np.int16)
    kinds = columns.get("kind")
    if kinds is not None:
        valid = valid & (kinds != "cancel")
    if not valid.all():
        columns["valid"] = valid
    return Prints(columns, flags, content_of(columns["price"], columns["size"], valid, kinds), legs)


def read_quotes(rows: Rows) -> Read:
    """Quote rows; their time is ours where the source gives none."""
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
    times = np.maximum(
        read_whole(values, "bidTime", count, faults, default=0),
        read_whole(values, "askTime", count, faults, default=0),
    )
    ts_recv = rows.ts_recv_ns // _NS_PER_US
    columns: Columns = {
        "ts_event": np.where(times > 0, times * 1_000, ts_recv),
        "ts_recv": ts_recv,
        "bid": _known(read_real(values, "bidPrice", count, faults)),
        "ask": _known(read_real(values, "askPrice", count, faults)),
        "bid_size": read_sizes(values, "bidSize", count, faults),
        "ask_size": read_sizes(values, "askSize", count, faults),
    }
    return Read(columns, _good(count, faults), _rejects(rows, faults, "quotes"))


def read_last_trades(rows: Rows) -> Read:
    """Trade or TradeETH rows as trades: the last value alone; what lay between is unknown."""
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
    times = read_whole(values, "time", count, faults, default=0)
    nano = read_whole(values, "timeNanoPart", count, faults, default=0)
    price = read_real(values, "price", count, faults)
    columns: Columns = {
        "ts_event": times * 1_000 + nano // _NS_PER_US,
        "ts_ns": (nano % _NS_PER_US).astype(np.int16),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "price": price,
        "size": read_sizes(values, "size", count, faults),
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
    times = read_whole(values, "time", count, faults, default=0)
    sequence = read_whole(values, "sequence", count, faults, default=0)
    columns: Columns = {
        "index": index_of(times, sequence),
        "day": read_whole(values, "dayId", count, faults, default=0),
        "volume": read_real(values, "dayVolume", count, faults),
    }
    return Read(columns, _good(count, faults), [])


def read_candles(rows: Rows) -> Read:
    """Candle rows: `index`, start in `time_ms`, `count`, `volume`, `close`, the wire's `flags`."""
    values, count = rows.values, len(rows)
    faults: dict[int, str] = {}
    columns: Columns = {
        "flags": read_whole(values, "eventFlags", count, faults, default=0),
        "index": read_whole(values, "index", count, faults),
        "time_ms": read_whole(values, "time", count, faults, default=0),
        "ts_recv": rows.ts_recv_ns // _NS_PER_US,
        "count": read_whole(values, "count", count, faults, default=0),
        "volume": read_real(values, "volume", count, faults),
        "close": read_real(values, "close", count, faults),
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


def _sides(column: Sequence[Any] | None, count: int) -> NDArray[np.int8]:
    if column is None:
        return np.zeros(count, np.int8)
    try:
        return np.fromiter(map(_SIDES.__getitem__, column), np.int8, count)
    except (KeyError, TypeError):  # none, or something that is no side
        sides = [_SIDES.get(side, 0) if isinstance(side, str) else 0 for side in column]
        return np.array(sides, np.int8)


def _kinds(column: Sequence[Any], faults: dict[int, str]) -> NDArray[Any]:
    kinds = [_KINDS.get(kind, "") for kind in read_words(column)]
    for row, kind in enumerate(kinds):
        if not kind:
            faults.setdefault(row, "type is not NEW, CORRECTION or CANCEL")
    return as_texts(kinds)


def _known(price: NDArray[np.float64]) -> NDArray[np.float64]:
    """A one-sided book writes NaN or 0 for the side that is not there."""
    return np.where(price == 0, np.nan, price)


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
