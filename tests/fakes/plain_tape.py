"""A store as plain lists, for pages that only read the last trades and the watermarks."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from core.schema import TRADES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
BLANKS = {pa.utf8(): "", pa.int64(): 0, pa.int16(): 0, pa.int8(): 0, pa.bool_(): True}


@dataclass(frozen=True)
class PlainSeqs:
    visible_seq: int = 12
    durable_seq: int = 10


class PlainTape:
    """Symbols in the order they came, each with one trade or none."""

    def __init__(self) -> None:
        self._last: dict[str, pa.RecordBatch | None] = {}

    def trade(self, symbol: str, price: float, *, ts_us: int) -> None:
        """The symbol's last trade becomes this; bid a quarter below, ask unknown."""
        moment = EPOCH + timedelta(microseconds=ts_us)
        row = {field.name: BLANKS.get(field.type) for field in TRADES.plain_schema}
        row |= {"symbol": symbol, "price": price, "bid": price - 0.25, "seq": 1}
        row |= {"ts_event": moment, "ts_recv": moment}
        self._last[symbol] = pa.RecordBatch.from_pylist([row], TRADES.plain_schema)

    def quiet(self, symbol: str) -> None:
        """A symbol with trades in the lake alone."""
        self._last[symbol] = None

    def symbols(self) -> list[str]:
        return list(self._last)

    def latest(self, symbol: str) -> pa.RecordBatch | None:
        return self._last[symbol]

    def watermarks(self, table: str) -> PlainSeqs:
        return PlainSeqs()
