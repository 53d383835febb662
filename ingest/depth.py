"""Sierra Chart market depth files (.depth): whole records to columns of level changes.

Pure: bytes come from a `ReadAt` the caller hands in, nothing is written. A file holds one contract
and one UTC day, market by price, in batches; the last record of a batch says so. Zero pages are
counted; a record with an unknown command or of another day is refused by name, with its bytes.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from core.batch import Rejected, TickBatch
from core.clock import MINUTE_NS, NS_PER_US, US_PER_S
from core.errors import FeedGarbled
from core.schema import DEPTH_COMMANDS
from ingest.scid import to_points
from ingest.sierra_file import (
    EPOCH_US,
    SAMPLE_RECORDS,
    Format,
    ReadAt,
    RecordFile,
    Records,
    prove,
)

SOURCE = "sierra"
DAY_US = 86_400 * US_PER_S
DAY_SLACK_US = 5 * MINUTE_NS // NS_PER_US
# source_seq is the file's day as YYYYMMDD and the record's number in it, side by side.
RECORDS_PER_DAY_MAX = 10_000_000_000

END_OF_BATCH = 0x01
_TIME_MIN, _TIME_MAX = 10**15, 10**16  # an older layout keeps days as float64 here
_SIDES = np.array([{"bid": 1, "ask": -1}.get(word[-3:], 0) for word in DEPTH_COMMANDS], np.int8)
CLEAR = DEPTH_COMMANDS.index("clear")
_LAST_COMMAND = len(DEPTH_COMMANDS) - 1
_NAME = re.compile(r"(.+)\.(\d{4}-\d{2}-\d{2})\.depth", re.IGNORECASE)

UNKNOWN_COMMAND = f"command is not in 0..{_LAST_COMMAND}"
OTHER_DAY = "record is more than 5 minutes outside the file's UTC day"

RECORD = np.dtype(
    [
        ("time", "<i8"),
        ("command", "u1"),
        ("flags", "u1"),
        ("orders", "<u2"),
        ("price", "<f4"),
        ("size", "<u4"),
        ("reserved", "<u4"),
    ]
)
FORMAT = Format(".depth", b"SCDD", 64, RECORD, 262_144)
assert RECORD.itemsize == 24


@dataclass(frozen=True, slots=True)
class Tally:
    """How many records there were of each kind; refused ones had an unknown command or day."""

    rows: int = 0
    blanks: int = 0
    refused: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.rows + other.rows, self.blanks + other.blanks, self.refused + other.refused
        )

    @property
    def records(self) -> int:
        return self.rows + self.blanks + self.refused


@dataclass(frozen=True, slots=True)
class Decoded:
    """The level changes of one run of records, and what else was there."""

    batch: TickBatch
    tally: Tally
    refused: list[Rejected]


@dataclass(frozen=True, slots=True)
class DepthNaming:
    """What a file's rows are called, the factor of its prices, and its UTC day."""

    symbol: str
    contract: str
    scale: int
    day: date

    @property
    def day_us(self) -> int:
        """Start of the day, microseconds since 1970."""
        midnight = datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)
        return int(midnight.timestamp()) * US_PER_S

    @property
    def first_source_seq(self) -> int:
        """The `source_seq` of the file's record 0."""
        day = self.day.year * 10_000 + self.day.month * 100 + self.day.day
        return day * RECORDS_PER_DAY_MAX


def open_depth(read_at: ReadAt, size: int, name: str) -> RecordFile:
    """Prove the header of a file of `size` bytes; raise FeedGarbled where it is none of ours."""
    file = prove(read_at, size, name, FORMAT)
    times = file.read(0, SAMPLE_RECORDS)["time"]
    times = times[times != 0]
    if len(times) and not ((times >= _TIME_MIN) & (times < _TIME_MAX)).any():
        raise FeedGarbled(
            f"expected times as microseconds in {name}, found {int(times[0])} first",
            hint="an older Sierra Chart wrote this file; download its day again with a newer one",
        )
    return file


def sample_prices(file: RecordFile) -> NDArray[np.float32]:
    """Raw prices of levels from the beginning, the middle and the end of the file."""
    return np.concatenate([level_prices(part) for part in file.sample()])


def first_day(file: RecordFile) -> date | None:
    """UTC day of the first record that has a time; None without any."""
    times = file.read(0, SAMPLE_RECORDS)["time"]
    times = times[(times >= _TIME_MIN) & (times < _TIME_MAX)]
    if len(times) == 0:
        return None
    return datetime.fromtimestamp((int(times[0]) - EPOCH_US) // US_PER_S, UTC).date()


def parse_name(name: str) -> tuple[str, date] | None:
    """Stem and UTC day of a file's name, such as ESH24_FUT_CME.2023-12-25.depth."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return match.group(1), date.fromisoformat(match.group(2))
    except ValueError:
        return None


def level_prices(records: Records) -> NDArray[np.float32]:
    """Raw prices of the records that change a level."""
    command = records["command"]
    changes = records["price"][(command > CLEAR) & (command <= _LAST_COMMAND)]
    return changes.astype(np.float32)


def find_unready(records: Records, day_us: int) -> NDArray[np.bool_] | None:
    """Which records cannot be what a writer meant for this day; None where all can."""
    if len(records) == 0:
        return None
    command, times = records["command"], records["time"]
    start, end = _bounds(day_us)
    # A blank record has time 0, so it too is outside the day.
    if command.max() <= _LAST_COMMAND and times.min() >= start and times.max() < end:
        return None
    unready: NDArray[np.bool_] = (command > _LAST_COMMAND) | (times < start) | (times >= end)
    return unready


def decode(records: Records, first: int, naming: DepthNaming, ts_recv: int) -> Decoded:
    """The level changes among some records, in file order; `first` is the first one's number."""
    assert 0 <= first <= RECORDS_PER_DAY_MAX - len(records)
    seqs = naming.first_source_seq + np.arange(first, first + len(records))
    unready = find_unready(records, naming.day_us)
    blanks, refused = 0, []
    if unready is not None:
        bad = records[unready]
        is_blank = bad == np.zeros((), RECORD)
        blanks = int(np.count_nonzero(is_blank))
        refused = _refuse(bad[~is_blank], naming, ts_recv)
        records, seqs = records[~unready], seqs[~unready]
    # Narrow columns beside each other in a record are first taken out, then widened.
    command = records["command"].astype(np.int16)
    columns: dict[str, NDArray[np.generic]] = {
        "ts_event": records["time"] - EPOCH_US,
        "ts_recv": np.full(len(records), ts_recv, np.int64),
        "command": command,
        "side": _SIDES[command],
        "price": to_points(records["price"], naming.scale),
        "size": records["size"].astype(np.int64),
        "orders": records["orders"].astype(np.int32),
        "end_of_batch": (records["flags"] & END_OF_BATCH).view(np.bool_),
        "source_seq": seqs,
    }
    batch = TickBatch("depth", naming.symbol, naming.contract, SOURCE, columns)
    return Decoded(batch, Tally(len(records), blanks, len(refused)), refused)


def no_repeats(chunk: int) -> NDArray[np.int64]:
    """Records are numbered, so no chunk can hold another's numbers."""
    raise AssertionError(f"chunk {chunk} of a depth file has a record's number twice")


def _bounds(day_us: int) -> tuple[int, int]:
    """First and last allowed time of a day's records, as the file writes them."""
    start = day_us + EPOCH_US
    return start - DAY_SLACK_US, start + DAY_US + DAY_SLACK_US


def _refuse(bad: Records, naming: DepthNaming, ts_recv: int) -> list[Rejected]:
    return [
        Rejected(
            "depth",
            naming.symbol,
            SOURCE,
            UNKNOWN_COMMAND if record["command"] > _LAST_COMMAND else OTHER_DAY,
            record.tobytes(),
            ts_recv,
        )
        for record in bad
    ]
