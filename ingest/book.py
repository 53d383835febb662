"""The order book, rebuilt from depth rows: best prices at each batch end, a ladder each 100 ms.

One kernel serves live and bulk: it takes columns as table `depth` has them and keeps its state in
the `Book` between calls, so any cut into chunks gives the same answers. Levels are kept by whole
ticks in dense arrays. A row that breaks the book's rules is applied as far as it makes sense and
counted, never repaired; a locked or crossed book is legal outside trading hours and only counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.batch import TickBatch
from core.schema import BOOK_LEVELS, BOOK_SAMPLE_US, TIME
from ingest.book_kernel import (
    NEVER,
    NO_TICK,
    Bests,
    Count,
    Ladders,
    Memory,
    Rows,
    State,
    advance,
    new_memory,
    write_ladder,
)

LEVELS = 262_144  # ticks from 0; at 0.25 points a tick up to 65,536 points
SILENCE_US_MAX = 2_000_000
ANOMALIES = tuple(count for count in Count if count >= Count.NO_COMMAND)


@dataclass(frozen=True, slots=True)
class Book:
    """One contract's book. It begins unknown and becomes valid with its first full snapshot.

    `tick` is the price step in points; a price further than a hundredth of it off the grid is
    counted and left out.
    """

    tick: float
    levels: int = LEVELS
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", new_memory(self.levels))

    @property
    def is_valid(self) -> bool:
        """Whether the book is known whole."""
        return bool(self.memory.state[State.IS_VALID])

    @property
    def last_ts_us(self) -> int | None:
        """Time of the newest row; None before the first."""
        newest = int(self.memory.state[State.TS])
        return None if newest == -NEVER else newest

    @property
    def counts(self) -> dict[Count, int]:
        """What was seen so far."""
        return {count: int(self.memory.counts[count]) for count in Count}

    def apply(
        self,
        batch: TickBatch,
        trades_us: NDArray[np.int64] | None = None,
        *,
        wants_bests: bool = True,
        wants_ladders: bool = True,
    ) -> tuple[Bests, Ladders]:
        """Apply depth rows in file order; give best prices at batch ends and ladders due since.

        `trades_us` are rising times of trades; where they print in a silence the book is stale.
        """
        rows = _rows(batch)
        stale = [] if trades_us is None else silences(rows.ts_us, trades_us, self.last_ts_us)
        edges = [0, *(row for row, _ in stale), len(rows.ts_us)]
        bests, ladders = [], []
        for place, (first, end) in enumerate(pairwise(edges)):
            if place:
                ladders.append(self.mark_stale(stale[place - 1][1]))
            part = Rows._make(column[first:end] for column in rows)
            got = self._advance(part, wants_bests=wants_bests, wants_ladders=wants_ladders)
            bests.append(got[0]._replace(row=got[0].row + first))
            ladders.append(got[1])
        return Bests._make(_joined(bests)), Ladders._make(_joined(ladders))

    def _advance(
        self, rows: Rows, *, wants_bests: bool, wants_ladders: bool
    ) -> tuple[Bests, Ladders]:
        bests = _empty_bests(int(np.count_nonzero(rows.ends)) if wants_bests else 0)
        ladders = _empty_ladders(_ladders_max(rows.ts_us) if wants_ladders else 0)
        bests_count, ladders_count = advance(self.memory, rows, 1 / self.tick, bests, ladders)
        return bests.head(bests_count), ladders.head(ladders_count)

    def mark_stale(self, at_us: int) -> Ladders:
        """The recorder was away at this time: unknown until the next full snapshot.

        Gives the ladder that was due before, at most one.
        """
        due = self.ladders_until(at_us)
        state = self.memory.state
        if state[State.IS_VALID]:
            state[State.IS_VALID] = 0
            self.memory.counts[Count.STALE] += 1
            state[State.SAMPLE_AT] = (at_us // BOOK_SAMPLE_US + 1) * BOOK_SAMPLE_US
        return due

    def ladders_until(self, ts_us: int) -> Ladders:
        """The ladder due at or before a time no row will precede any more, at most one."""
        ladders = _empty_ladders(1)
        state = self.memory.state
        is_due = state[State.SAMPLE_AT] <= ts_us and not state[State.IS_OPEN]
        if is_due:
            ladders.ts_us[0] = state[State.SAMPLE_AT]
            write_ladder(self.memory, ladders, 0)
            state[State.SAMPLE_AT] = NEVER
        return ladders.head(int(is_due))

    def ladder(self) -> Ladders:
        """The ladder now, whatever was sampled; its time is that of the newest row."""
        ladders = _empty_ladders(1)
        ladders.ts_us[0] = self.memory.state[State.TS]
        write_ladder(self.memory, ladders, 0)
        return ladders


def warm_up() -> None:
    """Load the compiled kernel, or compile it once for this machine, before rows wait for it."""
    columns: dict[str, NDArray[Any]] = {
        "ts_event": np.array([0, 1, 200_000], np.int64),
        "command": np.array([1, 2, 3], np.int16),
        "price": np.array([0.0, 1.0, 2.0]),
        "size": np.ones(3, np.int64),
        "end_of_batch": np.array([False, True, True]),
    }
    book = Book(1.0, levels=8)
    book.apply(TickBatch("depth", "", "", "", columns))
    book.ladder()


def silences(
    depth_us: NDArray[np.int64], trades_us: NDArray[np.int64], last_us: int | None = None
) -> list[tuple[int, int]]:
    """Depth rows before which the book had become stale, each with the time it had.

    It is stale where a trade prints more than SILENCE_US_MAX after the newest depth row: in an
    active market that is a hole in the recording. `last_us` is the time of the row before the
    first. Both times rise; trades after the last row are judged with the rows still to come.
    """
    if len(depth_us) == 0:
        return []
    before = np.r_[depth_us[0] if last_us is None else last_us, depth_us[:-1]]
    quiet = np.flatnonzero(depth_us - before > SILENCE_US_MAX)
    found = []
    for row in quiet.tolist():
        stale_from = int(before[row]) + SILENCE_US_MAX
        place = int(np.searchsorted(trades_us, stale_from, "right"))
        if place < len(trades_us) and trades_us[place] < depth_us[row]:
            found.append((row, int(trades_us[place])))
    return found


def book_rows(ladders: Ladders, batch: TickBatch, tick: float, ts_recv: int) -> pa.RecordBatch:
    """Ladders as rows of table `book`, named as the depth they come from; no level is NaN and 0."""
    count = len(ladders.ts_us)
    columns: dict[str, pa.Array] = {
        "symbol": pa.repeat(batch.symbol, count),
        "ts_event": pa.array(ladders.ts_us).cast(TIME),
        "ts_recv": pa.repeat(ts_recv, count).cast(TIME),
        "source": pa.repeat(batch.source, count),
        "contract": pa.repeat(batch.contract, count),
        "valid": pa.array(ladders.is_valid),
    }
    for side, ticks, sizes in (
        ("bid", ladders.bid, ladders.bid_size),
        ("ask", ladders.ask, ladders.ask_size),
    ):
        prices = np.where(ticks == NO_TICK, np.nan, ticks * tick)
        columns[f"{side}_px"] = pa.FixedSizeListArray.from_arrays(prices.ravel(), BOOK_LEVELS)
        wide = sizes.astype(np.int64).ravel()
        columns[f"{side}_sz"] = pa.FixedSizeListArray.from_arrays(wide, BOOK_LEVELS)
    return pa.RecordBatch.from_pydict(columns)


def find_tick(prices: NDArray[np.float64]) -> float | None:
    """The widest usual price step that all these prices are on; None without prices."""
    prices = prices[np.isfinite(prices) & (prices > 0)]
    if len(prices) == 0:
        return None
    for tick in (1.0, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0025, 0.001, 0.0001):
        steps = prices / tick
        if (np.abs(steps - np.rint(steps)) < 0.01).all():
            return tick
    return None


def _rows(batch: TickBatch) -> Rows:
    columns = batch.columns
    return Rows(
        np.ascontiguousarray(columns["ts_event"], np.int64),
        np.ascontiguousarray(columns["command"], np.int16),
        np.ascontiguousarray(columns["price"], np.float64),
        np.ascontiguousarray(columns["size"], np.int64),
        np.ascontiguousarray(columns["end_of_batch"], np.bool_),
    )


def _joined(parts: Sequence[tuple[NDArray[Any], ...]]) -> list[NDArray[Any]]:
    """Answers of several parts of a batch, column by column."""
    if len(parts) == 1:
        return list(parts[0])
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def _ladders_max(ts_us: NDArray[np.int64]) -> int:
    """At most one ladder a row and one a period, and one that was due before."""
    if len(ts_us) == 0:
        return 0
    periods = (int(ts_us.max()) - int(ts_us.min())) // BOOK_SAMPLE_US
    return min(len(ts_us), periods + 1) + 1


def _empty_bests(rows: int) -> Bests:
    bid, ask = np.empty((2, rows), np.int32)
    bid_size, ask_size = np.empty((2, rows), np.uint32)
    valid = np.empty(rows, np.bool_)
    return Bests(np.empty(rows, np.int64), bid, ask, bid_size, ask_size, valid)


def _empty_ladders(rows: int) -> Ladders:
    bid, ask = np.empty((2, rows, BOOK_LEVELS), np.int32)
    bid_size, ask_size = np.empty((2, rows, BOOK_LEVELS), np.uint32)
    valid = np.empty(rows, np.bool_)
    return Ladders(np.empty(rows, np.int64), bid, ask, bid_size, ask_size, valid)
