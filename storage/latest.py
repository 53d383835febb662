"""The last valid trade of a symbol, made without a scan: the writer says where the row is.

Per symbol, the block being filled is kept as one batch whose text columns repeat the words of its
newest row; as long as those stay the same, an answer is one slice of it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import NS_PER_MS, NS_PER_US
from core.schema import TRADES
from storage.reader import FastReader, MappedBlock
from storage.words import Words

AGE = pa.field("age_ms", pa.float64(), nullable=False)
MS_PER_US = NS_PER_US / NS_PER_MS


class LatestTrade(NamedTuple):
    """One row with plain text; `row_bytes` is what it weighs in Arrow buffers."""

    batch: pa.RecordBatch
    row_bytes: int


class _Ready(NamedTuple):
    block: MappedBlock
    codes: list[int]
    batch: pa.RecordBatch
    row_bytes: int
    ages: NDArray[np.float64]


class LatestTrades:
    """Last valid trades with the columns asked for, in their order, then AGE.

    The age of a row is written where its batch already points, when it is asked for; two who ask
    for one row at once may both be told the later of their ages.
    """

    def __init__(
        self, trades: Callable[[], FastReader], words: Words, columns: Sequence[str]
    ) -> None:
        self._trades = trades
        self._words = words
        full = TRADES.plain_schema
        self._columns = columns
        self.schema = pa.schema([*(pa.field(n, full.field(n).type) for n in columns), AGE])
        self._coded = [n for n in TRADES.text_columns if n != "symbol" and n in columns]
        self._ready: dict[int, _Ready] = {}

    def get(self, symbol: str, now_us: int) -> LatestTrade | None:
        """The row, or None where none is hot; a few microseconds."""
        trades = self._trades()
        code = self._words.code("symbol", symbol)
        if code is None:
            trades.refresh()
            code = self._words.code("symbol", symbol)
        place = trades.head.latest(code) if code is not None else None
        if place is None:
            return None
        segment, number, row = place
        block = trades.block_at(segment, number)
        if block is None:
            return None
        values = block.values
        codes = [int(values[name][row]) for name in self._coded]
        ready = self._ready.get(block.symbol_code)
        if ready is None or ready.block is not block or ready.codes != codes:
            ready = self._prepare(block, codes)
            self._ready[block.symbol_code] = ready
        ready.ages[row] = (now_us - int(values["ts_event"][row])) * MS_PER_US
        return LatestTrade(ready.batch.slice(row, 1), ready.row_bytes)

    def _prepare(self, block: MappedBlock, codes: list[int]) -> _Ready:
        """The block with each text column repeating one word."""
        batch = block.batch(self._words)
        text = dict(zip(self._coded, codes, strict=True), symbol=block.symbol_code)
        arrays = [
            pa.repeat(self._words.array(name)[text[name]], batch.num_rows)
            if name in text
            else batch.column(name)
            for name in self._columns
        ]
        ages = np.zeros(batch.num_rows)
        arrays.append(pa.Array.from_buffers(AGE.type, len(ages), [None, pa.py_buffer(ages)], 0))
        plain = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return _Ready(block, codes, plain, plain.slice(0, 1).nbytes, ages)
