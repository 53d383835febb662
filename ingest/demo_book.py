"""The demo market's books: each future's levels around its own bid and ask, changed each 100 ms.

The ladder of a moment holds the best prices as of the last trade before it. Depth rows tell how one
ladder became the next, a full snapshot each ten minutes, so that the book rebuilt from them is the
same. Under one seed it is the same however often it is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.batch import TickBatch
from core.clock import MINUTE_NS, NS_PER_US
from core.schema import BOOK_LEVELS, BOOK_SAMPLE_US, DEPTH_COMMANDS, TIME
from ingest.demo import LISTINGS, Listing

LEVELS = 20  # a side
SNAPSHOT_US = 10 * MINUTE_NS // NS_PER_US
MOMENTS_MAX = 600  # of one call; older ones are left out
_BEFORE_US = 1_000  # depth rows stand this long before the ladder they lead to
_CHANGES = 3  # levels that change their size from one ladder to the next

_CLEAR = DEPTH_COMMANDS.index("clear")
_SIDES = (("bid", 1, -1), ("ask", -1, 1))  # word, side in table depth, direction of worse prices


@dataclass(slots=True)
class _Change:
    """One depth row: command, side, price level in ticks, size and orders."""

    command: int
    side: int
    tick: int
    size: int
    orders: int


@dataclass(slots=True)
class _Future:
    """One future's levels, and the ticks it waits to look at."""

    listing: Listing
    random: np.random.Generator
    contract: str = ""
    next_us: int = 0
    snapshot_us: int = 0
    rows: int = 0
    touch: tuple[int, int] | None = None  # bid and ask in ticks
    levels: dict[str, dict[int, int]] = field(default_factory=lambda: {"bid": {}, "ask": {}})
    waiting: tuple[NDArray[Any], ...] = (np.empty(0, np.int64), np.empty(0), np.empty(0))

    def step(self, at_us: int) -> list[_Change]:
        """Change the levels to those of a moment; what had to be told for it."""
        assert self.touch is not None
        changes: list[_Change] = []
        if at_us >= self.snapshot_us:
            self.snapshot_us = (at_us // SNAPSHOT_US + 1) * SNAPSHOT_US
            self.levels = {"bid": {}, "ask": {}}
            changes.append(_Change(_CLEAR, 0, 0, 0, 0))
        # What trading took goes first, so that the sides never cross on the way.
        for remove in (True, False):
            for (word, side, away), best in zip(_SIDES, self.touch, strict=True):
                wanted = range(best, best + away * LEVELS, away)
                changes += (
                    self._remove(word, side, wanted) if remove else self._fill(word, side, wanted)
                )
        return changes

    def _remove(self, word: str, side: int, wanted: range) -> Iterator[_Change]:
        levels, command = self.levels[word], DEPTH_COMMANDS.index(f"delete_{word}")
        for tick in [tick for tick in levels if tick not in wanted]:
            del levels[tick]
            yield _Change(command, side, tick, 0, 0)

    def _fill(self, word: str, side: int, wanted: range) -> Iterator[_Change]:
        levels, command = self.levels[word], DEPTH_COMMANDS.index(f"add_{word}")
        known = list(levels)
        for place, tick in enumerate(wanted):
            if tick not in levels:
                yield self._resize(command, word, side, tick, place)
        if known:
            command = DEPTH_COMMANDS.index(f"modify_{word}")
            for place in np.unique(self.random.integers(0, LEVELS // 2, _CHANGES)).tolist():
                if wanted[place] in known:
                    yield self._resize(command, word, side, wanted[place], place)

    def _resize(self, command: int, word: str, side: int, tick: int, place: int) -> _Change:
        size = int(self.random.integers(1, 12 + 4 * min(place, 10)))
        self.levels[word][tick] = size
        return _Change(command, side, tick, size, min(size, int(self.random.integers(1, 9))))


class DemoBook:
    """Makes the books of the time that has passed since it was last asked."""

    def __init__(self, seed: int) -> None:
        self._futures = {
            listing.symbol: _Future(listing, np.random.default_rng([seed, 3, place]))
            for place, listing in enumerate(LISTINGS)
            if listing.is_future
        }

    def until(
        self, batches: Sequence[TickBatch], now_us: int
    ) -> tuple[list[TickBatch], list[pa.RecordBatch]]:
        """Depth rows, and rows of table `book`, of all moments up to now.

        `batches` are the market's own, all that it gave since the last call for the same now.
        """
        depth, books = [], []
        for symbol, future in self._futures.items():
            trades = [b for b in batches if b.symbol == symbol and b.table == "trades"]
            if trades:
                future.contract = trades[-1].contract
            changes, rows = _advance(future, trades, now_us)
            if rows:
                books.append(_book_rows(future, rows, now_us))
            if changes:
                depth.append(_depth_batch(future, changes, now_us))
        return depth, books


_Ladder = tuple[int, NDArray[np.float64], NDArray[np.int64]]  # time, prices and sizes by side


def _advance(
    future: _Future, trades: Sequence[TickBatch], now_us: int
) -> tuple[list[tuple[int, list[_Change]]], list[_Ladder]]:
    """Go from moment to moment up to now; the changes before each, and each one's ladder."""
    future.waiting = tuple(
        np.concatenate([waiting, *(trade.columns[name] for trade in trades)])
        for name, waiting in zip(("ts_event", "bid", "ask"), future.waiting, strict=True)
    )
    times, scale = future.waiting[0], future.listing.ticks_per_point
    if future.next_us == 0 and len(times):
        future.next_us = _moment_after(int(times[0]) + _BEFORE_US)
    changes, ladders = [], []
    if now_us - future.next_us > MOMENTS_MAX * BOOK_SAMPLE_US:
        future.next_us = _moment_after(now_us - MOMENTS_MAX * BOOK_SAMPLE_US)
    while 0 < future.next_us <= now_us:
        at_us, future.next_us = future.next_us, future.next_us + BOOK_SAMPLE_US
        seen = int(np.searchsorted(times, at_us - _BEFORE_US))
        if seen:
            bid, ask = (round(column[seen - 1] * scale) for column in future.waiting[1:])
            future.touch = (bid, ask)
            future.waiting = tuple(column[seen:] for column in future.waiting)
            times = future.waiting[0]
        if future.touch is not None:
            changes.append((at_us - _BEFORE_US, future.step(at_us)))
            ladders.append((at_us, *_ladder(future)))
    return changes, ladders


def _moment_after(ts_us: int) -> int:
    return (ts_us // BOOK_SAMPLE_US + 1) * BOOK_SAMPLE_US


def _ladder(future: _Future) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    prices = np.empty((2, BOOK_LEVELS))
    sizes = np.empty((2, BOOK_LEVELS), np.int64)
    for row, (word, _, away) in enumerate(_SIDES):
        levels = future.levels[word]
        best = sorted(levels, reverse=away < 0)[:BOOK_LEVELS]
        prices[row] = np.array(best) / future.listing.ticks_per_point
        sizes[row] = [levels[tick] for tick in best]
    return prices, sizes


def _depth_batch(
    future: _Future, changes: Sequence[tuple[int, list[_Change]]], now_us: int
) -> TickBatch:
    rows = [(at_us, change) for at_us, group in changes for change in group]
    ends = np.concatenate([np.arange(len(group)) == len(group) - 1 for _, group in changes])
    first, future.rows = future.rows + 1, future.rows + len(rows)
    ticks = np.array([change.tick for _, change in rows])
    columns: dict[str, NDArray[np.generic]] = {
        "ts_event": np.array([at_us for at_us, _ in rows], np.int64),
        "ts_recv": np.full(len(rows), now_us, np.int64),
        "command": np.array([change.command for _, change in rows], np.int16),
        "side": np.array([change.side for _, change in rows], np.int8),
        "price": ticks / future.listing.ticks_per_point,
        "size": np.array([change.size for _, change in rows], np.int64),
        "orders": np.array([change.orders for _, change in rows], np.int32),
        "end_of_batch": ends,
        "source_seq": np.arange(first, first + len(rows)),
    }
    return TickBatch("depth", future.listing.symbol, future.contract, "demo", columns)


def _book_rows(future: _Future, ladders: Sequence[_Ladder], now_us: int) -> pa.RecordBatch:
    count = len(ladders)
    columns: dict[str, pa.Array] = {
        "symbol": pa.repeat(future.listing.symbol, count),
        "ts_event": pa.array([at_us for at_us, _, _ in ladders], pa.int64()).cast(TIME),
        "ts_recv": pa.repeat(now_us, count).cast(TIME),
        "source": pa.repeat("demo", count),
        "contract": pa.repeat(future.contract, count),
        "valid": pa.repeat(True, count),
    }
    for row, (word, _, _) in enumerate(_SIDES):
        prices = np.concatenate([prices[row] for _, prices, _ in ladders])
        sizes = np.concatenate([sizes[row] for _, _, sizes in ladders])
        columns[f"{word}_px"] = pa.FixedSizeListArray.from_arrays(prices, BOOK_LEVELS)
        columns[f"{word}_sz"] = pa.FixedSizeListArray.from_arrays(sizes, BOOK_LEVELS)
    return pa.RecordBatch.from_pydict(columns)
