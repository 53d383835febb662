"""The writer's side of gamma exposure: each snapshot and each option trade is stored once.

Identity is a snapshot's (ticker, package, category, source second) and an option trade's id; what
came first stands. What is stored already is looked up in the tape itself, a day of a series at a
time, so it survives restarts; the days in memory are few and the oldest is forgotten.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import DAY_US, NS_PER_US, US_PER_S, Clock
from core.log import Log
from core.schema import GEX
from ingest.gex_guard import check_gamma
from ingest.gex_spool import Part
from storage.keeper import Keeper
from storage.slow import with_seq
from storage.store import Store

log = Log("gex")
TABLES: Final = frozenset({"gex", "option_trades", "market_agg"})
DAYS_MAX = 64
Key = int | str


@dataclass(frozen=True, slots=True, order=True)
class Day:
    """One UTC day of one series; `series` is package/category of a snapshot."""

    table: str
    symbol: str
    series: str
    day: int


@dataclass(slots=True)
class _Known:
    """The identities of a day; `holders` counts who is working with it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: set[Key] | None = None
    holders: int = 0


class GexTape:
    """Takes rows of `TABLES`; any thread may call any method."""

    def __init__(self, store: Store, keeper: Keeper, clock: Clock) -> None:
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._lock = threading.Lock()
        self._days: OrderedDict[Day, _Known] = OrderedDict()

    def append_new(self, table: str, rows: pa.RecordBatch) -> list[bool | None]:
        """Store the rows that are not stored yet; say of each whether it was new, None if refused.

        Visible on return; what the guard refuses is kept in `rejects`. Raise DiskFull, then none is
        stored.
        """
        assert table in TABLES, table
        is_good, rejects = check_gamma(table, rows, self._clock.now_ns() // NS_PER_US)
        if not rejects:
            return list(self._append_good(table, rows))
        is_new = iter(self._append_good(table, _only(rows, is_good)))
        self._store.reject(rejects)
        return [next(is_new) if good else None for good in is_good.tolist()]

    def _append_good(self, table: str, rows: pa.RecordBatch) -> list[bool]:
        days, keys = _identities(table, rows)
        with self._held(days) as known:
            is_new = _news(days, keys, known)
            if any(is_new):
                self._store.append_rows(table, _only(rows, np.array(is_new)))
                _remember(days, keys, is_new, known)
        return is_new

    def publish(self, symbol: str, parts: Sequence[Part]) -> int:
        """Seal the snapshots of a file that are not stored yet, all in one version; count them.

        Raise SealFailed or DiskFull, then none is stored.
        """
        looked = [_identities("gex", part.read(IDENTITY)) for part in parts]
        days = [day for some, _ in looked for day in some]
        keys = [key for _, some in looked for key in some]
        with self._held(days) as known:
            is_new = _news(days, keys, known)
            count = sum(is_new)
            if count:
                masks = np.split(np.array(is_new), np.cumsum([len(k) for _, k in looked])[:-1])
                first_seq = self._store.reserve("gex", count)
                self._keeper.seal_apart("gex", symbol, _numbered(parts, masks, first_seq))
                _remember(days, keys, is_new, known)
        return count

    @contextmanager
    def _held(self, days: Sequence[Day | None]) -> Iterator[dict[Day, set[Key]]]:
        """The identities of some days, to this caller alone."""
        wanted = sorted({day for day in days if day is not None})
        with self._lock:
            entries = [self._days.setdefault(day, _Known()) for day in wanted]
            for day, entry in zip(wanted, entries, strict=True):
                entry.holders += 1
                self._days.move_to_end(day)
        try:
            with ExitStack() as held:
                known = {}
                for day, entry in zip(wanted, entries, strict=True):
                    held.enter_context(entry.lock)
                    if entry.keys is None:
                        entry.keys = self._read(day)
                    known[day] = entry.keys
                yield known
        finally:
            with self._lock:
                for entry in entries:
                    entry.holders -= 1
                self._forget()

    def _forget(self) -> None:
        idle = [day for day, entry in self._days.items() if not entry.holders]
        for day in idle[: max(len(self._days) - DAYS_MAX, 0)]:
            del self._days[day]

    def _read(self, day: Day) -> set[Key]:
        """The identities the tape holds of a day."""
        names = IDENTITY if day.table == "gex" else ("trade_id", "ts_event", "source")
        rows = self._keeper.view().columns(
            day.table,
            day.symbol,
            [name for name in names if name != "symbol"],
            start_us=day.day * DAY_US,
            end_us=(day.day + 1) * DAY_US,
        )
        symbols = pa.repeat(pa.scalar(day.symbol), rows.num_rows)
        rows = rows.append_column("symbol", symbols).combine_chunks()
        found: set[Key] = set()
        for batch in rows.to_batches():
            days, keys = _identities(day.table, batch)
            found.update(key for of, key in zip(days, keys, strict=True) if of == day)
        return found


IDENTITY: Final = ("symbol", "ts_event", "source", "package", "category")


def _identities(table: str, rows: pa.RecordBatch) -> tuple[list[Day | None], list[Key]]:
    """Day and identity of each row; None for a row that is never the same as another."""
    times = rows.column("ts_event").cast(pa.int64()).to_numpy()
    symbols = rows.column("symbol").to_pylist()
    sources = rows.column("source").to_pylist()
    keys: list[Key]
    if table == "gex":
        packages = rows.column("package").to_pylist()
        series = [
            f"{package}/{category}"
            for package, category in zip(packages, rows.column("category").to_pylist(), strict=True)
        ]
        keys = _snapshot_keys(times, packages)
    elif table == "option_trades":
        series = [""] * len(symbols)
        keys = rows.column("trade_id").to_pylist()
    else:
        return [None] * len(symbols), [""] * len(symbols)
    day_numbers = (times // DAY_US).tolist()
    made: dict[tuple[str, str, int], Day] = {}
    days: list[Day | None] = []
    ats = zip(symbols, series, day_numbers, strict=True)
    for key, source, at in zip(keys, sources, ats, strict=True):
        if key == "" or source == "demo":  # an option trade without an id; a made-up market
            days.append(None)
            continue
        if at not in made:
            made[at] = Day(table, *at)
        days.append(made[at])
    return days, keys


def _snapshot_keys(times: NDArray[np.int64], packages: Sequence[str]) -> list[Key]:
    """GEXBot counts in seconds; Unusual Whales' exposures change within one."""
    fine: list[Key] = times.tolist()
    whole: list[Key] = (times // US_PER_S * US_PER_S).tolist()
    both = zip(packages, whole, fine, strict=True)
    return [exact if package == "uw" else second for package, second, exact in both]


def _only(rows: pa.RecordBatch, mask: NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows of a mask, without a copy where that is all of them."""
    return rows if mask.all() else rows.filter(pa.array(mask))


def _news(
    days: Sequence[Day | None], keys: Sequence[Key], known: dict[Day, set[Key]]
) -> list[bool]:
    """Whether each row is neither stored nor a repetition of an earlier one."""
    seen: set[tuple[Day, Key]] = set()
    is_new = []
    for day, key in zip(days, keys, strict=True):
        fresh = day is None or (key not in known[day] and (day, key) not in seen)
        if fresh and day is not None:
            seen.add((day, key))
        is_new.append(fresh)
    return is_new


def _remember(
    days: Sequence[Day | None],
    keys: Sequence[Key],
    is_new: Sequence[bool],
    known: dict[Day, set[Key]],
) -> None:
    for day, key, fresh in zip(days, keys, is_new, strict=True):
        if fresh and day is not None:
            known[day].add(key)


def _numbered(
    parts: Sequence[Part], masks: Sequence[NDArray[np.bool_]], seq: int
) -> Iterator[pa.RecordBatch]:
    """The new rows of each part with their numbers, one part in memory at a time."""
    for part, mask in zip(parts, masks, strict=True):
        if mask.any():
            rows = _only(part.read(), mask)
            yield with_seq(GEX, rows, seq).cast(GEX.schema)
            seq += rows.num_rows
