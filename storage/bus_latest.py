"""What is newest: each symbol's last trade and each ticker's snapshots, and what was not told yet.

Which trade is a symbol's last is the writer's to say (front contract, cancels, venue time), and it
says so in the table's head. It may be a row that is not durable yet; that one is told once it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from core.clock import NS_PER_US
from storage.bus_entries import Snapshot, snapshots
from storage.bus_keys import LastTrade, latest_key
from storage.hot import HotReader
from storage.reader import FastReader

GEX_ROWS_LOOKED_AT = 256
TOLD = ("seq", "ts_event", "ts_ns", "price", "size", "bid", "ask")


class _Values(NamedTuple):
    """What is told of the trades of a block, which is at a place: its segment and number."""

    place: tuple[int, int]
    seqs: memoryview
    times_us: memoryview
    rest_ns: memoryview
    prices: memoryview
    sizes: memoryview
    bids: memoryview
    asks: memoryview


class _Spot(NamedTuple):
    """Where a trade lies."""

    seq: int
    values: _Values
    row: int


class LastTrades:
    """The last trade of each symbol that Redis may be told."""

    def __init__(self, hot: HotReader) -> None:
        self._hot = hot
        trades = hot.table("trades")
        assert isinstance(trades, FastReader)
        self._trades = trades
        self._values: dict[str, _Values] = {}
        self._told: dict[str, int] = {}  # seqs
        self._waiting: dict[str, _Spot] = {}
        self._telling: dict[str, int] = {}

    def look(self, symbols: tuple[str, ...], shared_seq: int) -> list[LastTrade]:
        """What is news among rows up to `shared_seq`; call `told` once Redis has it."""
        lasts = []
        self._telling.clear()
        for symbol in symbols:
            newest = self._newest(symbol)
            if newest is None:
                continue
            spot = newest
            if newest.seq > shared_seq:
                waiting = self._waiting.setdefault(symbol, newest)
                if waiting.seq > shared_seq:
                    continue
                # What waited may be told now, and what is newest waits in turn.
                spot = waiting
                self._waiting[symbol] = newest
            if self._told.get(symbol) != spot.seq:
                self._telling[symbol] = spot.seq
                lasts.append(_told(symbol, spot))
        return lasts

    def told(self) -> None:
        """Redis has those last given."""
        self._told |= self._telling

    def _newest(self, symbol: str) -> _Spot | None:
        code = self._hot.words.code("symbol", symbol)
        found = None if code is None else self._trades.head.latest(code)
        if found is None:
            return None
        segment, number, row = found
        values = self._values.get(symbol)
        if values is None or values.place != (segment, number):
            block = self._trades.block_at(segment, number)
            if block is None:
                return None
            columns = (block.values[name].data for name in TOLD)
            values = self._values[symbol] = _Values((segment, number), *columns)
        return _Spot(values.seqs[row], values, row)


def _told(symbol: str, spot: _Spot) -> LastTrade:
    row, of = spot.row, spot.values
    time_ns = of.times_us[row] * NS_PER_US + of.rest_ns[row]
    told = symbol.encode(), b"%d" % spot.seq, b"%d" % time_ns, b"%r" % of.prices[row]
    more = b"%d" % of.sizes[row], b"%r" % of.bids[row], b"%r" % of.asks[row]
    return LastTrade(latest_key(symbol), *told, *more)


class NewestSnapshots:
    """The newest snapshot of each ticker, package and category."""

    def __init__(self, hot: HotReader, shared_seq: int) -> None:
        self._known: dict[tuple[bytes, bytes], Snapshot] = {}
        self._unsaid: dict[tuple[bytes, bytes], Snapshot] = {}
        # Said anew, in case Redis lost some.
        after_seq = shared_seq - GEX_ROWS_LOOKED_AT
        for batch in hot.plain("gex", after_seq=after_seq, up_to_seq=shared_seq):
            self.note(batch)

    def note(self, batch: pa.RecordBatch) -> None:
        """Keep those rows of table gex that are as new as what is known."""
        for key, found in snapshots(batch).items():
            known = self._known.get(key)
            if known is None or found.time_ns >= known.time_ns:
                self._known[key] = self._unsaid[key] = found

    def look(self) -> list[Sequence[bytes]]:
        """Commands for what is news; call `told` once they ran."""
        return [found.command for found in self._unsaid.values()]

    def told(self) -> None:
        """The commands last given were run."""
        self._unsaid.clear()
