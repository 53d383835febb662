"""The book's kernel: plain loops over arrays, compiled once and kept in numba's cache.

State is a `Memory`: sizes by side and tick, single numbers, counters. Nothing is allocated here;
the caller gives arrays long enough for every answer.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.schema import BOOK_LEVELS, BOOK_SAMPLE_US, DEPTH_COMMANDS
from ingest.compiled import compiled

NO_TICK = -1
NEVER = 2**62

_CLEAR, _ADD_BID, _MODIFY_BID, _DELETE_BID = (
    DEPTH_COMMANDS.index(word) for word in ("clear", "add_bid", "modify_bid", "delete_bid")
)
_LAST_COMMAND = len(DEPTH_COMMANDS) - 1
_OFF_GRID_MAX = 0.01
# Bids have even numbers, asks odd ones; the kernel tells sides by that.
assert [word.endswith("ask") for word in DEPTH_COMMANDS[2:]] == [False, True] * 3


class Count(IntEnum):
    """Places in `Book.counts`: what was seen, and which rules rows broke."""

    BATCHES = 0
    SNAPSHOTS = 1
    LONE_CLEARS = 2
    STALE = 3  # silences while trades printed
    LOCKED_OR_CROSSED = 4  # batch ends of a valid book
    NO_COMMAND = 5
    OFF_GRID = 6
    OUT_OF_RANGE = 7
    ADD_TO_LEVEL = 8
    MODIFY_OF_NO_LEVEL = 9
    DELETE_OF_NO_LEVEL = 10
    ZERO_SIZE = 11  # an add or modify to nothing deletes
    BACK_IN_TIME = 12


ANOMALIES = tuple(count for count in Count if count >= Count.NO_COMMAND)


class State(IntEnum):
    """Places in `Book.state`, so that the kernel can keep single numbers between calls."""

    BID = 0  # best ticks, NO_TICK where a side is empty
    ASK = 1
    LOW = 2  # least and greatest tick that may hold a level, to clear little
    HIGH = 3
    IS_VALID = 4
    IS_CLEARED = 5  # this batch has cleared the book
    IS_OPEN = 6  # the last row was not the end of its batch
    CHANGED_LEVELS = 7  # levels changed since the clear, in this batch
    TS = 8  # time of the newest row
    SAMPLE_AT = 9  # when the next ladder is due; NEVER where nothing has changed


class Rows(NamedTuple):
    """Depth rows as the kernel takes them."""

    ts_us: NDArray[np.int64]
    command: NDArray[np.int16]
    price: NDArray[np.float64]
    size: NDArray[np.int64]
    ends: NDArray[np.bool_]


class Memory(NamedTuple):
    """What lasts between calls: sizes by tick, single numbers, counters."""

    levels: NDArray[np.uint32]  # by side (0 bids, 1 asks) and tick
    state: NDArray[np.int64]
    counts: NDArray[np.int64]


class Bests(NamedTuple):
    """Best prices at batch ends: the row in the call's chunk, ticks (NO_TICK: none) and sizes."""

    row: NDArray[np.int64]
    bid: NDArray[np.int32]
    ask: NDArray[np.int32]
    bid_size: NDArray[np.uint32]
    ask_size: NDArray[np.uint32]
    is_valid: NDArray[np.bool_]

    def head(self, rows: int) -> "Bests":
        """The first rows."""
        return Bests._make(column[:rows] for column in self)


class Ladders(NamedTuple):
    """Ladders as of `ts_us`: every batch strictly before it. Ticks best first, NO_TICK: none."""

    ts_us: NDArray[np.int64]
    bid: NDArray[np.int32]
    ask: NDArray[np.int32]
    bid_size: NDArray[np.uint32]
    ask_size: NDArray[np.uint32]
    is_valid: NDArray[np.bool_]

    def head(self, rows: int) -> "Ladders":
        """The first rows."""
        return Ladders._make(column[:rows] for column in self)


Levels = NDArray[np.uint32]
Counters = NDArray[np.int64]
Advance = Callable[[Memory, Rows, float, Bests, Ladders], tuple[int, int]]
WriteLadder = Callable[[Memory, Ladders, int], None]


def new_memory(levels: int) -> Memory:
    """An empty book nobody knows yet."""
    state = np.zeros(len(State), np.int64)
    state[State.BID] = state[State.ASK] = NO_TICK
    state[State.LOW] = levels
    state[State.HIGH] = -1
    state[State.TS] = -NEVER
    state[State.SAMPLE_AT] = NEVER
    return Memory(np.zeros((2, levels), np.uint32), state, np.zeros(len(Count), np.int64))


def _write_ladder_plain(memory: Memory, ladders: Ladders, place: int) -> None:
    state, levels = memory.state, memory.levels
    low, high = state[State.LOW], state[State.HIGH]
    found, tick = 0, state[State.BID]
    while found < BOOK_LEVELS and tick >= low and tick != NO_TICK:
        if levels[0, tick]:
            ladders.bid[place, found] = tick
            ladders.bid_size[place, found] = levels[0, tick]
            found += 1
        tick -= 1
    ladders.bid[place, found:] = NO_TICK
    ladders.bid_size[place, found:] = 0
    found, tick = 0, state[State.ASK]
    while found < BOOK_LEVELS and tick <= high and tick != NO_TICK:
        if levels[1, tick]:
            ladders.ask[place, found] = tick
            ladders.ask_size[place, found] = levels[1, tick]
            found += 1
        tick += 1
    ladders.ask[place, found:] = NO_TICK
    ladders.ask_size[place, found:] = 0
    ladders.is_valid[place] = state[State.IS_VALID] != 0


write_ladder: WriteLadder = compiled(_write_ladder_plain)


def _count_oddity_plain(counts: Counters, command: int, size: int, had: bool) -> None:
    if command >= _DELETE_BID:
        counts[Count.DELETE_OF_NO_LEVEL] += not had
    elif size == 0:
        counts[Count.ZERO_SIZE] += 1
    elif command >= _MODIFY_BID:
        counts[Count.MODIFY_OF_NO_LEVEL] += not had
    else:
        counts[Count.ADD_TO_LEVEL] += had


_count_oddity = compiled(_count_oddity_plain)


def _next_bid_plain(levels: Levels, tick: int, low: int) -> int:
    """The best bid at or below a tick."""
    while tick >= low and levels[0, tick] == 0:
        tick -= 1
    return tick if tick >= low else NO_TICK


_next_bid = compiled(_next_bid_plain)


def _next_ask_plain(levels: Levels, tick: int, high: int) -> int:
    """The best ask at or above a tick."""
    while tick <= high and levels[1, tick] == 0:
        tick += 1
    return tick if tick <= high else NO_TICK


_next_ask = compiled(_next_ask_plain)


# One loop, so that the single numbers stay in registers: three times as fast as with helpers.
def _best_bid_plain(levels: Levels, tick: int, bid: int, low: int) -> int:
    """The best bid after the bid level `tick` changed."""
    if levels[0, tick]:
        return max(bid, tick)
    return _next_bid(levels, tick, low) if tick == bid else bid


def _best_ask_plain(levels: Levels, tick: int, ask: int, high: int) -> int:
    """The best ask after the ask level `tick` changed."""
    if levels[1, tick]:
        return tick if ask == NO_TICK or tick < ask else ask
    return _next_ask(levels, tick, high) if tick == ask else ask


def _write_best_plain(
    bests: Bests, place: int, levels: Levels, best: tuple[int, int, int, int]
) -> None:
    """The best prices at the end of a batch: its last row, bid, ask, and whether they hold."""
    row, bid, ask, valid = best
    bests.row[place] = row
    bests.bid[place] = bid
    bests.ask[place] = ask
    bests.bid_size[place] = levels[0, bid] if bid != NO_TICK else 0
    bests.ask_size[place] = levels[1, ask] if ask != NO_TICK else 0
    bests.is_valid[place] = valid != 0


def _store_bounds_plain(state: Counters, bounds: tuple[int, int, int, int, int]) -> None:
    """Bid, ask, lowest and highest tick in use, and whether the book holds."""
    state[State.BID], state[State.ASK], state[State.LOW], state[State.HIGH] = bounds[:4]
    state[State.IS_VALID] = bounds[4]


_best_bid = compiled(_best_bid_plain)
_best_ask = compiled(_best_ask_plain)
_write_best = compiled(_write_best_plain)
_store_bounds = compiled(_store_bounds_plain)


def _advance_plain(  # noqa: C901, PLR0912, PLR0915
    memory: Memory, rows: Rows, ticks_per_point: float, bests: Bests, ladders: Ladders
) -> tuple[int, int]:
    """Apply rows; give how many best prices and ladders were written. Empty arrays want none."""
    levels, state, counts = memory
    times, commands, prices, sizes, ends = rows
    place_max = levels.shape[1] - 0.5
    bests_count = ladders_count = 0
    bid, ask = state[State.BID], state[State.ASK]
    low, high = state[State.LOW], state[State.HIGH]
    valid, cleared = state[State.IS_VALID], state[State.IS_CLEARED]
    is_open, changed = state[State.IS_OPEN], state[State.CHANGED_LEVELS]
    newest_us, sample_at = state[State.TS], state[State.SAMPLE_AT]
    for row in range(len(times)):
        counts[Count.BACK_IN_TIME] += times[row] < newest_us
        newest_us = max(newest_us, times[row])
        if not is_open:
            is_open = 1
            if newest_us >= sample_at:
                if len(ladders.ts_us) > 0:
                    _store_bounds(state, (bid, ask, low, high, valid))
                    ladders.ts_us[ladders_count] = sample_at
                    write_ladder(memory, ladders, ladders_count)
                    ladders_count += 1
                sample_at = NEVER
        command = commands[row]
        place = prices[row] * ticks_per_point
        if command == _CLEAR:
            levels[:, low : high + 1] = 0
            bid = ask = high = NO_TICK
            low = levels.shape[1]
            valid, cleared, changed = 0, 1, 0
        elif not _ADD_BID <= command <= _LAST_COMMAND:
            counts[Count.NO_COMMAND] += 1
        elif not -0.5 < place < place_max:
            counts[Count.OUT_OF_RANGE] += 1
        elif abs(place - int(place + 0.5)) > _OFF_GRID_MAX:
            counts[Count.OFF_GRID] += 1
        else:
            tick, side = int(place + 0.5), command & 1
            size = 0 if command >= _DELETE_BID else sizes[row]
            had = levels[side, tick] != 0
            if valid or cleared:
                _count_oddity(counts, command, size, had)
            levels[side, tick] = size
            changed += 1
            if size:
                low, high = min(low, tick), max(high, tick)
            if side == 0:
                bid = _best_bid(levels, tick, bid, low)
            else:
                ask = _best_ask(levels, tick, ask, high)
        if ends[row]:
            counts[Count.BATCHES] += 1
            if cleared:
                valid, cleared = int(changed > 0), 0
                counts[Count.SNAPSHOTS if valid else Count.LONE_CLEARS] += 1
            changed, is_open = 0, 0
            if sample_at == NEVER or newest_us >= sample_at:
                sample_at = (newest_us // BOOK_SAMPLE_US + 1) * BOOK_SAMPLE_US
            if valid and bid >= ask and ask != NO_TICK:
                counts[Count.LOCKED_OR_CROSSED] += 1
            if len(bests.row) > 0:
                _write_best(bests, bests_count, levels, (row, bid, ask, valid))
                bests_count += 1
    _store_bounds(state, (bid, ask, low, high, valid))
    state[State.IS_CLEARED] = cleared
    state[State.IS_OPEN], state[State.CHANGED_LEVELS] = is_open, changed
    state[State.TS], state[State.SAMPLE_AT] = newest_us, sample_at
    return bests_count, ladders_count


advance: Advance = compiled(_advance_plain)
