"""What the status page and `/api/status` tell: health, symbols and watermarks at one moment.

It reads boards and the last row of each symbol. It never runs a query and never writes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, TypedDict

import pyarrow as pa

from core.board import BoardStatus, State, worst
from core.clock import NS_PER_S, NS_PER_US
from core.errors import Unavailable
from core.schema import LOGGED_TABLES

SYMBOLS_MAX = 500


class Seqs(Protocol):
    """Up to where a table can be seen, and up to where it survives a power cut."""

    @property
    def visible_seq(self) -> int: ...

    @property
    def durable_seq(self) -> int: ...


class Tape(Protocol):
    """What of the store is shown here; every method may raise Unavailable."""

    def symbols(self) -> list[str]:
        """Symbols with trades."""

    def latest(self, symbol: str) -> pa.RecordBatch | None:
        """The last valid trade as one row, None where none is in memory."""

    def watermarks(self, table: str) -> Seqs:
        """Seqs of a table."""


class SymbolStatus(TypedDict):
    """The last trade of a symbol; nulls where none is in memory."""

    symbol: str
    price: float | None
    bid: float | None
    ask: float | None
    seq: int | None
    ts_event: str | None
    age_s: float | None


class TableStatus(TypedDict):
    """Watermarks of a table."""

    table: str
    visible_seq: int
    durable_seq: int


class Status(TypedDict):
    """Everything the page shows; `is_stored` says whether the store could be read.

    `symbols` are at most SYMBOLS_MAX of the `symbol_count` there are.
    """

    state: State
    at: str
    processes: list[BoardStatus]
    is_stored: bool
    symbols: list[SymbolStatus]
    symbol_count: int
    tables: list[TableStatus]


def gather(boards: Sequence[BoardStatus], tape: Tape, now_ns: int) -> Status:
    """Put boards and tape together; a store that is not up is a state, not an error."""
    try:
        names = tape.symbols()
        symbols = [_symbol(name, tape.latest(name), now_ns) for name in names[:SYMBOLS_MAX]]
        is_stored = True
    except Unavailable:
        names, symbols, is_stored = [], [], False
    tables = [_table(table.name, tape) for table in LOGGED_TABLES]
    return Status(
        state=worst(board["state"] for board in boards) if boards else "down",
        at=_iso(now_ns // NS_PER_US),
        processes=list(boards),
        is_stored=is_stored,
        symbols=symbols,
        symbol_count=len(names),
        tables=[row for row in tables if row is not None],
    )


def is_serving(boards: Sequence[BoardStatus], needed: Sequence[str]) -> bool:
    """Whether every needed process is alive; a source that is down does not count.

    A follower writes the hot rows in place of ingest.
    """
    alive = {board["process"] for board in boards if board["is_alive"]}
    if "follow" in alive:
        alive.add("ingest")
    return alive.issuperset(needed)


def _symbol(name: str, last: pa.RecordBatch | None, now_ns: int) -> SymbolStatus:
    if last is None:
        return SymbolStatus(
            symbol=name, price=None, bid=None, ask=None, seq=None, ts_event=None, age_s=None
        )
    assert last.num_rows == 1, name
    price, bid, ask, seq = (last.column(c)[0].as_py() for c in ("price", "bid", "ask", "seq"))
    ts_us = last.column("ts_event")[0].value
    return SymbolStatus(
        symbol=name,
        price=price,
        bid=bid,
        ask=ask,
        seq=seq,
        ts_event=_iso(ts_us),
        age_s=max(now_ns - ts_us * NS_PER_US, 0) / NS_PER_S,
    )


def _table(name: str, tape: Tape) -> TableStatus | None:
    try:
        seqs = tape.watermarks(name)
    except Unavailable:
        return None  # tables are written by several processes, and this one's has not begun
    return TableStatus(table=name, visible_seq=seqs.visible_seq, durable_seq=seqs.durable_seq)


def _iso(us: int) -> str:
    seconds, rest = divmod(us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
