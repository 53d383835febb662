"""Takes batches of one file into the tape: guard, drop what is known, append, count.

Sink and Existing say what it needs of the storage; it opens nothing itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.batch import Rejected, TickBatch
from ingest.guard import find_faults, reject_rows
from ingest.ranks import Ranks, Seqs

SEAL_ROWS = 2_000_000


class Sink(Protocol):
    """Where rows go: a store in this process or a running server's intake."""

    def append(self, batch: TickBatch, /) -> object:
        """Keep rows; raise DiskFull or Unavailable, then none of them is kept."""

    def append_rows(self, table: str, rows: pa.RecordBatch, /) -> object:
        """Keep rows of a slow table."""

    def reject(self, rejected: list[Rejected], /) -> object:
        """Keep refused rows."""

    def seal(self, symbols: list[str], /) -> object:
        """Seal all rows of these symbols now."""

    @property
    def seals_apart(self) -> bool:
        """Whether rows may go straight to the lake: nobody else writes."""

    def seal_apart(
        self, table: str, symbol: str, parts: Iterable[TickBatch | pa.RecordBatch], /
    ) -> object:
        """Seal rows that were never hot, in one version."""


class Existing(Protocol):
    """What the tape already holds."""

    def source_seqs(
        self, table: str, symbol: str, contract: str, source: str, start_us: int, end_us: int
    ) -> Seqs:
        """`source_seq` of each row of a contract and source with start <= ts_event < end."""

    def rows_max(self, table: str, symbol: str, start_us: int, end_us: int) -> int:
        """At most how many rows there are with start <= ts_event < end; costs little."""

    def times(self, table: str, symbol: str, contract: str, start_us: int, end_us: int) -> Seqs:
        """`ts_event` of each row of a contract with start <= ts_event < end, rising."""


@dataclass(slots=True)
class Taker:
    """Where a file's rows go, and what has become of them so far."""

    sink: Sink
    existing: Existing
    now_us: int
    added: int = 0
    unsealed: int = 0
    duplicates: int = 0
    rejected: int = 0

    def take(self, chunk: int, batch: TickBatch, ranks: Ranks) -> Seqs:
        """Take the good and unknown rows of a chunk; give the good rows' source_seqs."""
        faults = find_faults(batch, self.now_us)
        good = good_rows(batch, faults)
        seqs = source_seqs(good)
        is_new = ranks.new_rows(seqs, self._stored(good))
        if faults is not None:
            self._take_rejects(batch, faults, is_new)
        self._append(good if is_new.all() else good.take(is_new))
        self.duplicates += len(seqs) - int(np.count_nonzero(is_new))
        ranks.remember(chunk, seqs)
        return seqs

    def take_fresh(self, batch: TickBatch) -> None:
        """Take the good rows of a chunk of which the tape can hold none."""
        self._append(self.good_fresh(batch))

    def good_fresh(self, batch: TickBatch) -> TickBatch:
        """The good rows of a chunk of which the tape can hold none; the caller takes them."""
        faults = find_faults(batch, self.now_us)
        if faults is not None:
            self.rejected += int(np.count_nonzero(faults))
            self.sink.reject(reject_rows(batch, faults, self.now_us))
        return good_rows(batch, faults)

    def seal(self, symbol: str) -> None:
        """Seal what was taken, so that memory holds a bounded part of any file."""
        self.sink.seal([symbol])
        self.unsealed = 0

    def take_unreadable(self, rejects: list[Rejected]) -> None:
        """Keep lines that are no rows, unless all rows so far were known: then so are these."""
        self.rejected += len(rejects)
        if rejects and (self.added or not self.duplicates):
            self.sink.reject(rejects)

    def _append(self, rows: TickBatch) -> None:
        if rows.rows == 0:
            return
        self.sink.append(rows)
        self.added += rows.rows
        self.unsealed += rows.rows
        if self.unsealed >= SEAL_ROWS:
            self.seal(rows.symbol)

    def _take_rejects(
        self, batch: TickBatch, faults: NDArray[np.uint8], is_new: NDArray[np.bool_]
    ) -> None:
        """Keep the refused rows; those before a known row were kept when that row came."""
        known_rows = np.flatnonzero(faults == 0)[~is_new]
        fresh = faults.copy()
        if len(known_rows):
            fresh[: known_rows[-1]] = 0
        self.rejected += int(np.count_nonzero(faults))
        if fresh.any():
            self.sink.reject(reject_rows(batch, fresh, self.now_us))

    def _stored(self, good: TickBatch) -> Seqs:
        if good.rows == 0:
            return np.empty(0, np.int64)
        times: Seqs = np.asarray(good.columns["ts_event"], np.int64)
        start_us, end_us = int(times.min()), int(times.max()) + 1
        return self.existing.source_seqs(
            good.table, good.symbol, good.contract, good.source, start_us, end_us
        )


def good_rows(batch: TickBatch, faults: NDArray[np.uint8] | None) -> TickBatch:
    """The rows without a fault."""
    return batch if faults is None else batch.take(faults == 0)


def source_seqs(batch: TickBatch) -> Seqs:
    """The batch's `source_seq` column, typed."""
    return np.asarray(batch.columns["source_seq"], np.int64)
