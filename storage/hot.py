"""Everything hot, in any process: watermarks, slices and the last valid trade of a symbol."""

import threading
from collections.abc import Mapping, Sequence

import pyarrow as pa

from core.schema import TABLES, TRADES
from storage.disk import OsDisk
from storage.head import Watermarks, Word
from storage.latest import LatestTrades
from storage.mapped import HotSlice, Span
from storage.paths import Paths
from storage.ranges import ANY_TIME, Range
from storage.reader import FastReader
from storage.slow_reader import SlowReader
from storage.words import Words


class HotReader:
    """Reads the hot rows of every table; safe to use from several threads."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.words = Words(paths, OsDisk())
        self.words.reload()
        self._tables: dict[str, FastReader | SlowReader] = {}
        self._lock = threading.Lock()
        self._latest = self.latest_trades(TRADES.plain_schema.names)

    def table(self, table: str) -> FastReader | SlowReader:
        """The reader of one table; raise Unavailable where the store was never started."""
        reader = self._tables.get(table)
        if reader is None:
            with self._lock:
                reader = self._tables.get(table)
                if reader is None:
                    reader = (
                        FastReader(self._paths, table, self.words)
                        if TABLES[table].is_fast
                        else SlowReader(self._paths, table)
                    )
                    self._tables[table] = reader
        return reader

    def watermarks(self, table: str) -> Watermarks:
        """What is visible and what is durable."""
        return self.table(table).head.watermarks()

    def first_seq(self, table: str) -> int:
        """From here on every row is hot; the next seq where nothing is."""
        return self.table(table).head.words[Word.FIRST_SEQ]

    def lake_version(self, table: str) -> int:
        """Grows whenever sealed partitions changed."""
        return self.table(table).head.words[Word.LAKE_VERSION]

    def symbols(self, table: str) -> list[str]:
        """Symbols with hot rows."""
        return self.table(table).symbols()

    def slices(
        self,
        table: str,
        symbol: str,
        *,
        after_seq: int = 0,
        up_to_seq: int | None = None,
        wanted: Range = ANY_TIME,
    ) -> list[HotSlice]:
        """Visible rows of a symbol with after_seq < seq <= up_to_seq, zero-copy, in seq order.

        Slices none of whose times is wanted are left out.
        """
        if up_to_seq is None:
            up_to_seq = self.watermarks(table).visible_seq
        reader = self.table(table)
        if isinstance(reader, SlowReader):
            return reader.slices(symbol, after_seq=after_seq, up_to_seq=up_to_seq, wanted=wanted)
        found = reader.slices(symbol, after_seq=after_seq, up_to_seq=up_to_seq)
        return [part for part in found if wanted.overlaps(part.min_ts_us, part.max_ts_us)]

    def spans(
        self, table: str, after_seq: int, up_to_seq: int, after_seqs: Mapping[str, int]
    ) -> dict[str, list[Span]] | None:
        """Where each symbol's visible rows of a fast table lie, of some after a later seq.

        In seq order; None where memory lacks some of them.
        """
        reader = self.table(table)
        assert isinstance(reader, FastReader), table
        found = reader.spans_of_all(after_seq, up_to_seq, after_seqs)
        # Asked after the spans were taken: what was let go before that is not among them.
        first_seq = self.first_seq(table)
        if first_seq <= after_seq + 1:
            return found
        needed = min((max(after_seq, after_seqs.get(s, 0)) for s in found), default=up_to_seq) + 1
        return found if first_seq <= needed else None

    def plain(self, table: str, *, after_seq: int, up_to_seq: int) -> list[pa.RecordBatch]:
        """Visible rows of a slow table, all symbols, as they were stored, in seq order."""
        return self._slow(table).plain(after_seq=after_seq, up_to_seq=up_to_seq)

    def last_values(
        self, table: str, symbol: str, names: Sequence[str], *, after_seq: int = 0
    ) -> dict[str, object] | None:
        """Columns of the row of a slow table stored last of a symbol, if its seq is above one."""
        seq = self.watermarks(table).visible_seq
        return self._slow(table).last_values(symbol, names, after_seq=after_seq, up_to_seq=seq)

    def front(self, symbol: str) -> str | None:
        """A symbol's front contract, or None where any contract's trade is its latest."""
        trades = self._trades()
        trades.refresh()
        code = self.words.code("symbol", symbol)
        front = None if code is None else trades.head.front(code)
        return None if front is None else self.words.by_column["contract"][front]

    def revising(self, symbol: str, up_to_seq: int) -> list[pa.RecordBatch]:
        """Corrections and cancels among a symbol's hot trades up to a seq."""
        return self._trades().revising(symbol, up_to_seq)

    def latest(self, symbol: str) -> pa.RecordBatch | None:
        """The last valid trade as one row with plain text, or None where none is hot."""
        found = self._latest.get(symbol, 0)
        if found is None:
            return None
        rows = found[0].select(TRADES.plain_schema.names)
        return rows.cast(TRADES.plain_schema)

    def latest_trades(self, columns: Sequence[str]) -> LatestTrades:
        """A reader of last valid trades with some of the columns."""
        return LatestTrades(self._trades, self.words, columns)

    def _slow(self, table: str) -> SlowReader:
        reader = self.table(table)
        assert isinstance(reader, SlowReader), table
        return reader

    def _trades(self) -> FastReader:
        trades = self.table("trades")
        assert isinstance(trades, FastReader)
        return trades
