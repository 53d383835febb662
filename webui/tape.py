"""The store as pages and the status command see it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import NamedTuple

import pyarrow as pa

from core.errors import Unavailable
from storage.cold import cold_parts
from storage.head import Watermarks
from storage.lake import Lake
from storage.manifest import Snapshot
from storage.mapped import HotSlice, Span
from storage.paths import Paths
from storage.ranges import Range
from storage.reader import FastReader
from storage.view import View, Views
from webui.live_bars import TradeRows

PRICES = ("price", "bid", "ask")


class LastPrice(NamedTuple):
    """The last standing trade of a symbol, and the best prices just before it."""

    price: float
    bid: float | None
    ask: float | None
    ts_us: int


class StoreTape:
    """The store as the pages see it; opened when first asked, since it may start after us."""

    def __init__(self, paths: Paths, lake: Lake | str) -> None:
        self._paths = paths
        self._lake = lake
        self._opened: Views | None = None
        self._lock = threading.Lock()

    def symbols(self, table: str = "trades") -> list[str]:
        """Symbols with rows of a table, hot or cold."""
        return self.view().symbols(table)

    def latest(self, symbol: str) -> pa.RecordBatch | None:
        """The last valid trade in memory; the lake would cost a file for each quiet symbol."""
        return self._views().hot.latest(symbol)

    def last_price(self, symbol: str) -> LastPrice | None:
        """The same as plain values at a fraction of the cost; bid or ask None where there is none.

        Read where it lies, since every frame of every symbol asks.
        """
        hot = self._views().hot
        code = hot.words.code("symbol", symbol)
        trades = self._trades()
        place = None if code is None else trades.head.latest(code)
        block = None if place is None else trades.block_at(place[0], place[1])
        if place is None or block is None:
            return None
        price, bid, ask = (float(block.values[name][place[2]]) for name in PRICES)
        ts_us = int(block.values["ts_event"][place[2]])
        return LastPrice(price, None if isnan(bid) else bid, None if isnan(ask) else ask, ts_us)

    def trades_after(self, seqs: Mapping[str, int]) -> dict[str, list[TradeRows]]:
        """Trades in memory of some symbols, each after a seq of its own, over the map."""
        trades = self._trades()
        spans = trades.spans(seqs, trades.head.watermarks().visible_seq)
        return {symbol: [_rows_of(span) for span in found] for symbol, found in spans.items()}

    def watermarks(self, table: str) -> Watermarks:
        """What is visible and what is durable."""
        return self.view().watermarks(table)

    def first_seq(self, table: str) -> int:
        """Smallest seq in memory."""
        return self._views().hot.first_seq(table)

    def after(self, table: str, symbol: str, seq: int) -> list[HotSlice]:
        """Rows in memory after a seq; symbol "" means all where the table is a slow one."""
        return self._views().hot.slices(table, symbol, after_seq=seq)

    def last_values(
        self, table: str, symbol: str, names: Sequence[str], after_seq: int = 0
    ) -> dict[str, object] | None:
        """Columns of the newest row of a slow table with a seq above `after_seq`."""
        return self._views().hot.last_values(table, symbol, names, after_seq=after_seq)

    def rows(self, table: str, symbol: str, start_us: int | None = None) -> list[pa.RecordBatch]:
        """Every row of a small table from a time on, hot and cold."""
        return [b for b in self.view().scan(table, symbol, start_us=start_us) if b.num_rows]

    def columns(self, table: str, names: Sequence[str], start_us: int, end_us: int) -> pa.Table:
        """Some columns of a table without symbols in [start, end), hot and cold, in no order."""
        return self.view().columns(table, "", names, start_us=start_us, end_us=end_us)

    def sealed(self, table: str) -> Snapshot:
        """The sealed side of a table."""
        return self.view().snapshot(table)

    def newest_us(self, table: str, symbol: str) -> int | None:
        """The time of a symbol's newest sealed row; None where none is sealed."""
        files = self.sealed(table).pruned(symbols=[symbol])
        return max((part.max_ts_us for part in files), default=None)

    def sealed_bars(self, table: str, symbol: str, start_us: int) -> Iterator[pa.RecordBatch]:
        """Rollups of one symbol from a time on, as they lie in the lake."""
        files = self.sealed(table).pruned(symbols=[symbol], start_us=start_us)
        for part in cold_parts(files, table, self._views().hot.words):
            yield from part.batches(Range(start_us=start_us))

    def version(self, table: str) -> tuple[int, int]:
        """Changes whenever a table got rows or was sealed; (-1, -1) where there is none."""
        try:
            hot = self._views().hot
            return hot.watermarks(table).visible_seq, hot.lake_version(table)
        except Unavailable:
            return -1, -1

    def view(self) -> View:
        """What may be seen now; raise Unavailable where the store was never started."""
        return self._views().view()

    def _trades(self) -> FastReader:
        trades = self._views().hot.table("trades")
        assert isinstance(trades, FastReader)
        return trades

    def _views(self) -> Views:
        with self._lock:
            if self._opened is None:
                self._opened = Views(self._paths, self._lake)
            return self._opened


def _rows_of(span: Span) -> TradeRows:
    rows = slice(span.first, span.end)
    values = span.block.values
    return TradeRows(
        values["ts_event"][rows],
        values["price"][rows],
        values["size"][rows],
        values["kind"][rows],
        values["valid"][rows],
        int(values["seq"][span.end - 1]),
    )
