"""One depth file's book while the file grows: ladders for table `book`, and when it was unknown.

The same kernel as for whole files. A ladder is written when a row at or after its moment has come,
or when the file has been quiet for a while; where rows come late after all, the ladder of the same
moment is written again, and the one with the higher seq counts.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.batch import TickBatch
from core.clock import US_PER_S
from core.schema import BOOK_SAMPLE_US
from ingest.book import SILENCE_US_MAX, Book, book_rows, find_tick
from ingest.book_kernel import NEVER, Count, Ladders
from ingest.depth import CLEAR
from ingest.scale import tick_of

QUIET_US = US_PER_S // 2  # then the ladder that is due is written without waiting for a row
FLUSH_US_MAX = 15 * US_PER_S  # a file further behind its trades than this has stopped
QUIETS_MAX = 256
CLEARED = "the recorder cleared the book"
STALE = "trades printed while depth was silent"


@dataclass(frozen=True, slots=True)
class Change:
    """The book became unknown or known, at a time by its rows."""

    is_valid: bool
    at_us: int
    reason: str = ""


@dataclass(slots=True)
class _Quiet:
    """A valid book heard nothing in between; `healed_us`: a clear came since."""

    start_us: int
    end_us: int
    healed_us: int | None = None


@dataclass(slots=True)
class LiveBook:
    """The book of one contract and day. Ladders at or before `written_us` were written before."""

    root: str
    written_us: int = -NEVER
    book: Book | None = None
    _about: TickBatch | None = None
    _quiets: deque[_Quiet] = field(default_factory=lambda: deque(maxlen=QUIETS_MAX))
    _pending: list[Change] = field(default_factory=list)
    _was_valid: bool = False
    _counted: dict[Count, int] = field(default_factory=dict)

    def take(self, batch: TickBatch, ts_recv: int) -> pa.RecordBatch | None:
        """Apply rows in file order; ladders that became due, as rows of table `book`."""
        if batch.rows == 0:
            return None
        self._about = batch
        if self.book is None:
            priced = np.asarray(batch.columns["command"], np.int64) > CLEAR
            tick = tick_of(self.root) or find_tick(
                np.asarray(batch.columns["price"], np.float64)[priced]
            )
            if tick is None:
                return None  # clears alone; the book is unknown without them too
            self.book = Book(tick)
        self._note_quiets(batch, self.book)
        _, ladders = self.book.apply(batch, wants_bests=False)
        self._note_clears(batch)
        return self._rows(ladders, ts_recv)

    def settle(self, quiet_us: int, ts_recv: int) -> pa.RecordBatch | None:
        """The ladder still due after the file has been quiet for some time by our clock."""
        if self.book is None or quiet_us < QUIET_US:
            return None
        return self._rows(self.book.ladders_until(ts_recv), ts_recv)

    def judge(
        self, trades_us: NDArray[np.int64], quiet_us: int, ts_recv: int
    ) -> pa.RecordBatch | None:
        """Hold trades against the silences of the file: those that printed in one make it stale.

        A silence that still lasts counts once the trades are further ahead than a flush explains,
        and the file has been quiet as long by our clock: one that is caught up with is not.
        """
        if self.book is None or len(trades_us) == 0:
            return None
        last_us = self.book.last_ts_us
        assert last_us is not None
        quiets = list(self._quiets)
        if min(int(trades_us.max()) - last_us, quiet_us) > FLUSH_US_MAX:
            quiets.append(_Quiet(last_us + SILENCE_US_MAX, NEVER))
        found = None
        for quiet in quiets:
            if not ((trades_us > quiet.start_us) & (trades_us < quiet.end_us)).any():
                continue
            if quiet in self._quiets:
                self._quiets.remove(quiet)
            from_us = quiet.start_us - SILENCE_US_MAX
            if quiet.healed_us is not None:
                self._pending += [Change(False, from_us, STALE), Change(True, quiet.healed_us)]
            elif self.book.is_valid:
                self._pending.append(Change(False, from_us, STALE))
                found = self._rows(self.book.mark_stale(last_us), ts_recv)
        return found

    def changes(self) -> Iterator[Change]:
        """When the book became unknown or known since last asked, in order."""
        for change in self._pending:
            if change.is_valid != self._was_valid:
                self._was_valid = change.is_valid
                yield change
        self._pending.clear()

    def fresh_counts(self) -> dict[Count, int]:
        """What was counted since last asked."""
        counts = self.book.counts if self.book else {}
        fresh = {count: n - self._counted.get(count, 0) for count, n in counts.items()}
        self._counted = counts
        return {count: n for count, n in fresh.items() if n}

    def _note_quiets(self, batch: TickBatch, book: Book) -> None:
        """Remember silences of a valid book before a batch is applied to it."""
        times = np.asarray(batch.columns["ts_event"], np.int64)
        before = np.r_[times[0] if book.last_ts_us is None else book.last_ts_us, times[:-1]]
        clears = np.flatnonzero(batch.columns["command"] == CLEAR)
        if len(clears):
            for quiet in self._quiets:
                quiet.healed_us = quiet.healed_us or int(times[clears[0]])
        for row in np.flatnonzero(times - before > SILENCE_US_MAX)[-QUIETS_MAX:].tolist():
            place = int(np.searchsorted(clears, row))
            is_lone = batch.columns["end_of_batch"][clears[place - 1]] if place else False
            if is_lone or not (place or book.is_valid):
                continue  # known to be unknown
            healed_us = int(times[clears[place]]) if place < len(clears) else None
            start_us = int(before[row]) + SILENCE_US_MAX
            self._quiets.append(_Quiet(start_us, int(times[row]), healed_us))

    def _note_clears(self, batch: TickBatch) -> None:
        """A clear that is its batch's last row leaves nothing known; another begins a snapshot."""
        for row in np.flatnonzero(batch.columns["command"] == CLEAR).tolist():
            is_lone, at_us = (
                bool(batch.columns["end_of_batch"][row]),
                batch.columns["ts_event"][row],
            )
            self._pending.append(Change(not is_lone, int(at_us), CLEARED if is_lone else ""))

    def _rows(self, ladders: Ladders, ts_recv: int) -> pa.RecordBatch | None:
        assert self.book is not None
        assert self._about is not None
        is_new = ladders.ts_us > self.written_us
        if not is_new.any():
            return None
        ladders = Ladders._make(column[is_new] for column in ladders)
        # One moment may come again when rows came late; what was written before start may not.
        self.written_us = max(self.written_us, int(ladders.ts_us[-1]) - BOOK_SAMPLE_US)
        return book_rows(ladders, self._about, self.book.tick, ts_recv)
