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
from storage.reader import FastReader, MappedBlock

GEX_ROWS_LOOKED_AT = 256


class _Spot(NamedTuple):
    """Where a trade lies."""

    seq: int
    block: MappedBlock
    row: int


class LastTrades:
    """The last trade of each symbol that Redis may be told."""

    def __init__(self, hot: HotReader) -> None:
        self._hot = hot
        trades = hot.table("trades")
        assert isinstance(trades, FastReader)
        self._trades = trades
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
        place = None if code is None else self._trades.head.latest(code)
        if place is None:
            return None
        segment, number, row = place
        block = self._trades.block_at(segment, number)
        return None if block is None else _Spot(block.seqs[row], block, row)


def _told(symbol: str, spot: _Spot) -> LastTrade:
    row, values = spot.row, spot.block.values
    time_ns = values["ts_event"].item(row) * NS_PER_US + values["ts_ns"].item(row)
    price, bid, ask = (repr(values[name].item(row)).encode() for name in ("price", "bid", "ask"))
    told = symbol.encode(), b"%d" % spot.seq, b"%d" % time_ns
    return LastTrade(latest_key(symbol), *told, price, b"%d" % values["size"].item(row), bid, ask)


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
