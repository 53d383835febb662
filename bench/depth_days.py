"""Made-up depth files of any length, written fast: a dense book whose touch walks up and down.

Of all changes 94 of 100 give a level near the touch another size; the rest move the touch by one
tick in a batch of four records. A full snapshot comes first and then 143 times more. Stamps are
milliseconds, prices hundredfold.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.clock import DAY_US, US_PER_S
from core.schema import DEPTH_COMMANDS
from ingest.depth import FORMAT, RECORD
from ingest.sierra_file import EPOCH_US, Records

NAME = "ESH24_FUT_CME.2023-12-20.depth"
START_US = int(datetime(2023, 12, 20, tzinfo=UTC).timestamp()) * US_PER_S
LEVELS = 100
SNAPSHOTS = 144
BUSY_DAY_ROWS = 30_000_000
_RAW_PER_TICK = 25
_MIDDLE = 19_200
_ADD_BID, _ADD_ASK, _MODIFY_BID, _MODIFY_ASK, _DELETE_BID, _DELETE_ASK = range(2, 8)
assert DEPTH_COMMANDS[_DELETE_ASK] == "delete_ask"


def header() -> bytes:
    """The header of a depth file."""
    head = FORMAT.magic + b"".join(n.to_bytes(4, "little") for n in (64, RECORD.itemsize, 1))
    return head.ljust(FORMAT.header_bytes, b"\0")


def write_day(path: Path, rows: int, seed: int = 1) -> int:
    """A file of about `rows` records, as dense as a busy day; give how many there are."""
    written = 0
    with path.open("wb") as file:
        file.write(header())
        for records in day(rows, seed):
            file.write(records.tobytes())
            written += len(records)
    return written


def day(rows: int, seed: int = 1) -> Iterator[Records]:
    """About `rows` records of a day, a snapshot and what follows it at a time.

    Fewer records than those of a busy day are its beginning, as dense as all of it.
    """
    random = np.random.default_rng(seed)
    touch = _MIDDLE
    span_us = DAY_US * min(rows, BUSY_DAY_ROWS) // BUSY_DAY_ROWS // SNAPSHOTS
    for number in range(SNAPSHOTS):
        start_us = START_US + number * span_us
        snapshot = _snapshot(random, touch, start_us)
        changes = max(0, rows // SNAPSHOTS - len(snapshot))
        records, touch = _changes(random, touch, changes, (start_us, span_us))
        yield np.concatenate([snapshot, records])


def _snapshot(random: np.random.Generator, touch: int, at_us: int) -> Records:
    """Clear, all bids best first, all asks best first."""
    records = np.zeros(2 * LEVELS + 1, RECORD)
    steps = np.arange(LEVELS)
    records["time"] = at_us + EPOCH_US
    records["command"] = np.r_[1, np.full(LEVELS, _ADD_BID), np.full(LEVELS, _ADD_ASK)]
    records["price"] = np.r_[0, touch - steps, touch + 1 + steps] * _RAW_PER_TICK
    records["size"] = np.r_[0, random.integers(1, 80, 2 * LEVELS)]
    records["orders"] = np.minimum(records["size"], 9)
    records["flags"][-1] = 1
    return records


def _changes(
    random: np.random.Generator, touch: int, rows: int, span: tuple[int, int]
) -> tuple[Records, int]:
    """Changes of the book within a span; the touch (best bid, in ticks) after them."""
    events = max(1, int(rows / 1.18))
    dice = random.random(events)
    move: NDArray[np.int64] = (dice > 0.97).astype(np.int64) - (dice < 0.03)
    touches = touch + np.cumsum(move) - move  # before each event
    counts = np.where(move == 0, 1, 4)
    event = np.repeat(np.arange(events), counts)
    part = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
    up, at = move[event], touches[event]
    is_bid = random.random(len(event)) < 0.5
    near = random.integers(0, 6, len(event))
    command = np.where(is_bid, _MODIFY_BID, _MODIFY_ASK)
    tick = np.where(is_bid, at - near, at + 1 + near)
    # A move takes one touch away, adds a far level there, and the other way round on the other.
    taken = np.where(up > 0, at + 1, at)
    for place, (up_command, down_command, ticks) in enumerate(
        (
            (_DELETE_ASK, _DELETE_BID, taken),
            (_ADD_ASK, _ADD_BID, taken + up * LEVELS),
            (_DELETE_BID, _DELETE_ASK, taken - up * LEVELS),
            (_ADD_BID, _ADD_ASK, taken),
        )
    ):
        is_here = (up != 0) & (part == place)
        command = np.where(is_here, np.where(up > 0, up_command, down_command), command)
        tick = np.where(is_here, ticks, tick)
    size = random.integers(1, 80, len(event))
    size[command >= _DELETE_BID] = 0
    records = np.zeros(len(event), RECORD)
    start_us, span_us = span
    milliseconds = np.sort(random.integers(1, span_us // 1_000 - 1, events))
    records["time"] = start_us + EPOCH_US + milliseconds[event] * 1_000
    records["command"] = command
    records["price"] = tick * _RAW_PER_TICK
    records["size"] = size
    records["orders"] = np.minimum(size, 9)
    records["flags"] = part == counts[event] - 1
    return records, touch + int(move.sum())
