"""The last valid trade of a symbol, made without a scan: the writer says where the row is.

Per symbol, the block being filled is kept as one batch whose text columns repeat the words of its
newest row; as long as those stay the same, an answer is one slice of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import NS_PER_MS, NS_PER_US
from core.schema import TRADES
from storage.head import SLOTS_START
from storage.mapped import MappedBlock
from storage.reader import FastReader
from storage.words import Words

AGE = pa.field("age_ms", pa.float64(), nullable=False)
MS_PER_US = NS_PER_US / NS_PER_MS


class Found(NamedTuple):
    """A row and what it weighs in Arrow buffers; while a symbol has no newer one, the same object.

    Its age is then that of the last time it was asked for.
    """

    row: pa.RecordBatch
    bytes: int


@dataclass(slots=True)
class _Ready:
    place: int  # segment and block, as the head packs them
    coded: list[tuple[memoryview, int]]  # codes of a text column, and the one that repeats
    times: memoryview
    batch: pa.RecordBatch
    row_bytes: int
    ages: NDArray[np.float64]
    last: tuple[int, Found] | None = None  # number and row of the last answer


class LatestTrades:
    """Last valid trades with the columns asked for, in their order, then AGE.

    The age of a row is written where its batch already points, when it is asked for; two who ask
    for one row at once may both be told the later of their ages.
    """

    def __init__(
        self, trades: Callable[[], FastReader], words: Words, columns: Sequence[str]
    ) -> None:
        self._open = trades
        self._trades: FastReader | None = None
        self._words = words
        full = TRADES.plain_schema
        self._columns = columns
        self.schema = pa.schema([*(pa.field(n, full.field(n).type) for n in columns), AGE])
        self._coded = [n for n in TRADES.text_columns if n != "symbol" and n in columns]
        self._slots: dict[str, int] = {}
        self._ready: dict[int, _Ready] = {}

    def get(self, symbol: str, now_us: int) -> Found | None:
        """A symbol's row, or None where none is hot.

        This is most of what a polling client waits for, hence the few and plain steps.
        """
        trades = self._trades
        if trades is None:
            trades = self._trades = self._open()
        slot = self._slots.get(symbol)
        if slot is None:
            slot = self._find(trades, symbol)
            if slot is None:
                return None
        packed = trades.head.words[slot]
        if packed == 0:
            return None
        row = (packed & 0xFFFF) - 1
        ready = self._ready.get(slot)
        if ready is None or ready.place != packed >> 16 or not _repeats(ready, row):
            trades.refresh()  # the row may use words that came since, such as the next contract's
            block = trades.block_at(packed >> 32, (packed >> 16) & 0xFFFF)
            if block is None:
                return None
            ready = self._prepare(block, row, packed >> 16)
            self._ready[slot] = ready
        ready.ages[row] = (now_us - ready.times[row]) * MS_PER_US
        last = ready.last
        if last is None or last[0] != row:
            last = ready.last = (row, Found(ready.batch.slice(row, 1), ready.row_bytes))
        return last[1]

    def _find(self, trades: FastReader, symbol: str) -> int | None:
        """Where the head says where a symbol's row is; codes of words never change."""
        trades.refresh()
        code = self._words.code("symbol", symbol)
        if code is None:
            return None
        self._slots[symbol] = SLOTS_START + code
        return self._slots[symbol]

    def _prepare(self, block: MappedBlock, row: int, place: int) -> _Ready:
        """The block with each text column repeating the word it has in one row."""
        batch = block.batch(self._words)
        text = {name: int(block.values[name][row]) for name in self._coded}
        coded = [(block.values[name].data, code) for name, code in text.items()]
        text["symbol"] = block.symbol_code
        arrays = [
            pa.repeat(self._words.array(name)[text[name]], batch.num_rows)
            if name in text
            else batch.column(name)
            for name in self._columns
        ]
        ages = np.zeros(batch.num_rows)
        arrays.append(pa.Array.from_buffers(AGE.type, len(ages), [None, pa.py_buffer(ages)], 0))
        plain = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        times = block.values["ts_event"].data
        return _Ready(place, coded, times, plain, plain.slice(0, 1).nbytes, ages)


def _repeats(ready: _Ready, row: int) -> bool:
    """Whether a row has the words its batch repeats."""
    for codes, code in ready.coded:  # noqa: SIM110  a generator takes three times as long
        if codes[row] != code:
            return False
    return True
