"""Everything hot, in any process: watermarks, slices and the last valid trade of a symbol."""

import threading

import pyarrow as pa

from core.schema import TABLES, TRADES
from storage.head import Watermarks, Word
from storage.paths import Paths
from storage.reader import FastReader, HotSlice, MappedBlock, reader_words
from storage.slow_reader import SlowReader


class HotReader:
    """Reads the hot rows of every table; safe to use from several threads."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.words = reader_words(paths)
        self._tables: dict[str, FastReader | SlowReader] = {}
        self._lock = threading.Lock()
        self._latest = LatestTrades(self)

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
        """Smallest seq still hot; the next seq where nothing is."""
        return self.table(table).head.words[Word.FIRST_SEQ]

    def lake_version(self, table: str) -> int:
        """Grows whenever sealed partitions changed."""
        return self.table(table).head.words[Word.LAKE_VERSION]

    def symbols(self, table: str) -> list[str]:
        """Symbols with hot rows."""
        return self.table(table).symbols()

    def slices(
        self, table: str, symbol: str, *, after_seq: int = 0, up_to_seq: int | None = None
    ) -> list[HotSlice]:
        """Visible rows of a symbol with after_seq < seq <= up_to_seq, zero-copy, in seq order."""
        if up_to_seq is None:
            up_to_seq = self.watermarks(table).visible_seq
        return self.table(table).slices(symbol, after_seq=after_seq, up_to_seq=up_to_seq)

    def latest(self, symbol: str) -> pa.RecordBatch | None:
        """The last valid trade as one row with plain text, or None where none is hot."""
        return self._latest.get(symbol)


class LatestTrades:
    """One-row answers made without a scan: the writer says where the row is.

    Per symbol, the block being filled is kept as one batch whose text columns repeat the words of
    its newest row; as long as those stay the same, an answer is one slice of it.
    """

    def __init__(self, hot: HotReader) -> None:
        self._hot = hot
        self.schema = TRADES.plain_schema
        self._coded = [name for name in TRADES.text_columns if name != "symbol"]
        self._ready: dict[int, tuple[MappedBlock, list[int], pa.RecordBatch]] = {}

    def get(self, symbol: str) -> pa.RecordBatch | None:
        """The row; a few microseconds."""
        trades = self._hot.table("trades")
        assert isinstance(trades, FastReader)
        code = self._hot.words.code("symbol", symbol)
        if code is None:
            trades.refresh()
            code = self._hot.words.code("symbol", symbol)
        place = trades.head.latest(code) if code is not None else None
        if place is None:
            return None
        segment, number, row = place
        block = trades.block_at(segment, number)
        if block is None:
            return None
        codes = [int(block.values[name][row]) for name in self._coded]
        ready = self._ready.get(block.symbol_code)
        if ready is None or ready[0] is not block or ready[1] != codes:
            ready = (block, codes, self._plain(block, codes))
            self._ready[block.symbol_code] = ready
        return ready[2].slice(row, 1)

    def _plain(self, block: MappedBlock, codes: list[int]) -> pa.RecordBatch:
        """The block with each text column repeating one word."""
        words = self._hot.words
        batch = block.batch(words)
        text = dict(zip(self._coded, codes, strict=True), symbol=block.symbol_code)
        arrays = [
            pa.repeat(words.array(name)[text[name]], batch.num_rows) if name in text else column
            for name, column in zip(self.schema.names, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
