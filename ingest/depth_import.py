"""Takes a whole depth file in: its rows, and its book.

A day the tape holds nothing of goes straight to the lake where nobody else writes, in one version
and a part at a time. Any other takes the way of all rows, and adds what is new.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from core.batch import TickBatch
from ingest import depth
from ingest.depth import DepthNaming
from ingest.depth_book import FileBook
from ingest.ranks import Ranks
from ingest.sierra_file import Records
from ingest.taking import Taker

PART_ROWS = 1_000_000

Chunks = Iterable[tuple[int, Records]]


@dataclass(slots=True)
class DepthImport:
    """One file on its way; `told` hears how many records were read."""

    taker: Taker
    naming: DepthNaming
    told: Callable[[int], None]
    tally: depth.Tally = field(default_factory=depth.Tally)

    def run(self, chunks: Chunks) -> depth.Tally:
        """Take all of it; what became of the rows is in the taker."""
        is_fresh = self._is_fresh()
        is_apart = is_fresh and self.taker.sink.seals_apart
        book = FileBook(self.taker, is_apart)
        batches = self._decoded(chunks, book)
        if is_apart:
            self.taker.sink.seal_apart("depth", self.naming.symbol, self._parts(batches))
        else:
            ranks = Ranks(depth.no_repeats)
            for chunk, batch in enumerate(batches):
                if is_fresh:
                    self.taker.take_fresh(batch)
                else:
                    self.taker.take(chunk, batch, ranks)
        book.end()
        return self.tally

    def _decoded(self, chunks: Chunks, book: FileBook) -> Iterator[TickBatch]:
        for _, records in chunks:
            first = self.tally.records
            decoded = depth.decode(records, first, self.naming, self.taker.now_us)
            self.tally += decoded.tally
            book.take(decoded.batch)
            yield decoded.batch
            self.taker.take_unreadable(decoded.refused)
            self.told(self.tally.records)

    def _parts(self, batches: Iterable[TickBatch]) -> Iterator[TickBatch]:
        """The good rows in parts of bounded size."""
        waiting: list[TickBatch] = []
        for batch in batches:
            good = self.taker.good_fresh(batch)
            if good.rows:
                self.taker.added += good.rows
                waiting.append(good)
            if sum(part.rows for part in waiting) >= PART_ROWS:
                yield _joined(waiting)
                waiting = []
        if waiting:
            yield _joined(waiting)

    def _is_fresh(self) -> bool:
        """Whether the tape holds nothing of a day, and nobody else can be bringing it now."""
        day_us, slack_us = self.naming.day_us, depth.DAY_SLACK_US
        start_us, end_us = day_us - slack_us, day_us + depth.DAY_US + slack_us
        is_past = self.taker.now_us > end_us + depth.DAY_US
        rows_max = self.taker.existing.rows_max("depth", self.naming.symbol, start_us, end_us)
        return is_past and rows_max == 0


def _joined(batches: list[TickBatch]) -> TickBatch:
    first = batches[0]
    columns = {
        name: np.concatenate([batch.columns[name] for batch in batches]) for name in first.columns
    }
    return TickBatch(first.table, first.symbol, first.contract, first.source, columns)
