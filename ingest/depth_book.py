"""The book of a whole depth file, for table `book`: ladders the tape does not have yet."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from core.batch import TickBatch
from core.schema import BOOK_SAMPLE_US
from ingest.book import Book, book_rows, find_tick
from ingest.book_kernel import NEVER, Ladders
from ingest.depth import CLEAR, DAY_SLACK_US, DAY_US
from ingest.ranks import Seqs
from ingest.scale import tick_of
from ingest.taking import Taker

PART_CHUNKS = 8  # of a file's, whose ladders are sealed together


def _none() -> Seqs:
    return np.empty(0, np.int64)


@dataclass(slots=True)
class FileBook:
    """Rebuilds one file's book chunk by chunk, and gives its ladders to where the rows go.

    Trades of the same contract on the tape show where the recording was silent. Where the file's
    rows are sealed apart, so are its ladders, at the end.
    """

    taker: Taker
    is_apart: bool = False
    _book: Book | None = None
    _about: TickBatch | None = None
    _known: Seqs = field(default_factory=_none)  # moments the tape has ladders of
    _trades_us: Seqs = field(default_factory=_none)
    _waiting: list[Ladders] = field(default_factory=list)

    def take(self, batch: TickBatch) -> None:
        """The file's next rows."""
        if batch.rows == 0:
            return
        self._about = batch
        if self._book is None:
            priced = np.asarray(batch.columns["command"], np.int64) > CLEAR
            prices = np.asarray(batch.columns["price"], np.float64)[priced]
            tick = tick_of(batch.symbol) or find_tick(prices)
            if tick is None:
                return  # clears alone
            self._book = Book(tick)
            self._known, self._trades_us = self._stored("book"), self._stored("trades")
        _, ladders = self._book.apply(batch, self._trades_us, wants_bests=False)
        self._keep(ladders)

    def end(self) -> None:
        """The ladder that is due after the last row."""
        if self._book is not None:
            self._keep(self._book.ladders_until(NEVER - 1))
        if self._waiting:
            assert self._about is not None
            self.taker.sink.seal_apart("book", self._about.symbol, self._parts())

    def _keep(self, ladders: Ladders) -> None:
        is_new = ~np.isin(ladders.ts_us, self._known)
        if not is_new.any():
            return
        fresh = Ladders._make(column[is_new] for column in ladders)
        if self.is_apart:
            self._waiting.append(fresh)
        else:
            self.taker.sink.append_rows("book", self._rows(fresh))

    def _rows(self, ladders: Ladders) -> pa.RecordBatch:
        assert self._about is not None
        assert self._book is not None
        return book_rows(ladders, self._about, self._book.tick, self.taker.now_us)

    def _parts(self) -> Iterator[pa.RecordBatch]:
        """The ladders kept, in parts of bounded size."""
        for first in range(0, len(self._waiting), PART_CHUNKS):
            parts = self._waiting[first : first + PART_CHUNKS]
            self._waiting[first : first + PART_CHUNKS] = [parts[0].head(0)] * len(parts)
            columns = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            yield self._rows(Ladders._make(columns))

    def _stored(self, table: str) -> Seqs:
        """Times of what the tape has of the contract on the file's day."""
        assert self._about is not None
        day_us = int(np.asarray(self._about.columns["ts_event"], np.int64)[-1]) // DAY_US * DAY_US
        return self.taker.existing.times(
            table,
            self._about.symbol,
            self._about.contract,
            day_us - DAY_SLACK_US,
            day_us + DAY_US + DAY_SLACK_US + BOOK_SAMPLE_US,
        )
