"""What lies on Redis: the names of keys, their types, and what their fields say.

The id of a stream entry is its `last_seq`. So Redis itself refuses to take rows twice, the entries
that a reader lacks are those after the last seq it has, and MINID trims by seq.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from core.errors import BusRefused
from core.schema import LOGGED_TABLES

TAPE: Final = b"tickflight:tape"
# Every table that ingest writes; table queries belongs to the server that answers.
MIRRORED: Final = tuple(table.name for table in LOGGED_TABLES if table.name != "queries")
AT_ONCE: Final = ("trades", "quotes", "gex")  # the others may wait a moment and come together
KEYS_MAX: Final = 8_192  # kept ready
KEYS: Final[Mapping[str, str]] = {
    "tickflight:trades:MNQ": "stream; also quotes and depth; one entry a committed batch, id is "
    "last_seq; fields first_seq, last_seq, rows, ipc (an Arrow IPC stream that stands alone)",
    "tickflight:log:gex": "stream of all symbols, the same fields; also book, gaps, rejects and "
    "the other tables of few rows",
    "tickflight:latest:MNQ": "hash: symbol, ts_event (epoch ns), price, size, bid, ask, seq of the "
    "last valid trade",
    "tickflight:live:MNQ": "pub/sub, valid trades as JSON: symbol, first_seq, last_seq and the "
    "lists seq, ts_event (epoch ns), price, size, side",
    "tickflight:gex:NQ_NDX": "hash: PACKAGE/CATEGORY to the newest snapshot as JSON",
    "tickflight:tape": "hash: id of the tape, round, stamp_ns, fronts, and per table as JSON "
    "first_seq and last_seq on Redis, symbols, lake_version",
}


@lru_cache(KEYS_MAX)
def stream_key(table: str, symbol: str) -> bytes:
    """The stream of a table's rows: one a symbol where the table is fast, else one in all."""
    return f"tickflight:{table}:{symbol}".encode() if symbol else f"tickflight:log:{table}".encode()


@lru_cache(KEYS_MAX)
def latest_key(symbol: str) -> bytes:
    """The hash with a symbol's last valid trade."""
    return f"tickflight:latest:{symbol}".encode()


@lru_cache(KEYS_MAX)
def live_channel(symbol: str) -> bytes:
    """The channel a symbol's trades are told on."""
    return f"tickflight:live:{symbol}".encode()


def gex_key(ticker: str) -> bytes:
    """The hash with a ticker's newest snapshots."""
    return f"tickflight:gex:{ticker}".encode()


def entry_id(seq: int) -> bytes:
    """The id of the entry whose last row has this seq."""
    return b"%d-0" % seq


def seq_of(entry: bytes) -> int:
    """The last seq of an entry, from its id."""
    return int(entry.split(b"-", 1)[0])


class NewEntry(NamedTuple):
    """A stream entry to be added: its stream and its fields, as Redis has them."""

    key: bytes
    first_seq: bytes
    last_seq: bytes
    rows: bytes
    ipc: bytes


def new_entry(key: bytes, seqs: tuple[int, int], ipc: bytes, rows: int) -> NewEntry:
    """The entry of so many rows, from the first to the last of two seqs."""
    return NewEntry(key, b"%d" % seqs[0], b"%d" % seqs[1], b"%d" % rows, ipc)


class LastTrade(NamedTuple):
    """A symbol's last trade: its hash and the fields, as Redis has them."""

    key: bytes
    symbol: bytes
    seq: bytes
    ts_event: bytes
    price: bytes
    size: bytes
    bid: bytes
    ask: bytes


@dataclass(frozen=True, slots=True)
class Marks:
    """What Redis holds of one table: every row of [first_seq, last_seq], over these symbols.

    A slow table has one stream for all of them, and "" for a symbol.
    """

    first_seq: int
    last_seq: int
    lake_version: int
    symbols: tuple[str, ...]

    def streams(self, table: str) -> list[bytes]:
        """The keys of the table's streams."""
        return [stream_key(table, name) for name in self.symbols]


@dataclass(frozen=True, slots=True)
class TapeState:
    """The hash `tickflight:tape`. `round` counts transactions; `stamp_ns` is the writer's clock.

    `fronts`: the front contract of each symbol that has one.
    """

    id: str
    round: int
    stamp_ns: int
    fronts: Mapping[str, str]
    tables: Mapping[str, Marks]


def tape_fields(state: TapeState) -> list[bytes]:
    """Fields and values in turn, as HSET takes them."""
    fields = [b"id", state.id.encode(), b"round", b"%d" % state.round]
    fields += [b"stamp_ns", b"%d" % state.stamp_ns, b"fronts", orjson.dumps(state.fronts)]
    for table, marks in state.tables.items():
        fields += [table.encode(), orjson.dumps(marks)]
    return fields


def parse_tape(raw: list[bytes]) -> TapeState | None:
    """Read what HGETALL gives; None where nothing is there. Raise BusRefused."""
    if not raw:
        return None
    found = dict(zip(raw[::2], raw[1::2], strict=True))
    try:
        tables = {
            table: _marks(orjson.loads(found[table.encode()]))
            for table in MIRRORED
            if table.encode() in found
        }
        fronts = orjson.loads(found[b"fronts"])
        counts = int(found[b"round"]), int(found[b"stamp_ns"])
        return TapeState(found[b"id"].decode(), *counts, fronts, tables)
    except (KeyError, ValueError, TypeError) as error:
        raise BusRefused(
            f"{TAPE.decode()} on Redis is not as Tickflight writes it",
            hint="use another database, as in redis://host:6379/1, or delete its tickflight:* keys",
        ) from error


def _marks(told: Mapping[str, object]) -> Marks:
    first_seq, last_seq, version = (told[n] for n in ("first_seq", "last_seq", "lake_version"))
    symbols = told["symbols"]
    if not (isinstance(first_seq, int) and isinstance(last_seq, int) and isinstance(version, int)):
        raise TypeError("marks are whole numbers")
    if not isinstance(symbols, list):
        raise TypeError("symbols are a list")
    return Marks(first_seq, last_seq, version, tuple(str(symbol) for symbol in symbols))
