"""The writer's side of gamma exposure: each snapshot and each option trade is stored once.

Identity is a snapshot's (ticker, package, category, source second) and an option trade's id; what
came first stands, unless a better source tells something else of the same second: then its row is
stored too, and says which one it supersedes. What is stored already is looked up in the tape
itself, a day of a series at a time, so it survives restarts; the days in memory are few and the
oldest is forgotten.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

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
from storage.superseded import superseding

log = Log("gex")
TABLES: Final = frozenset({"gex", "option_trades", "market_agg"})
DAYS_MAX = 64
VALUES: Final = (
    *("spot", "zero_gamma", "sum_gex_vol", "sum_gex_oi"),
    *("major_pos_vol", "major_pos_oi", "major_neg_vol", "major_neg_oi"),
    *("delta_risk_reversal", "min_dte", "sec_min_dte"),
)
IDENTITY: Final = ("symbol", "ts_event", "source", "package", "category", "via", *VALUES)
BATCH_ROWS: Final = 2_048
# A file of history knows better than what was polled, and that better than what was relayed.
RANKS: Final = {"hist": 3, "eod": 3, "api": 2, "ws": 2, "uw": 1}
Key = int | str
Told = tuple[int, int]  # rank of the source, and a hash of what it says
Stored = tuple[int, int, int]  # the same, and the row's seq
REPEATED: Final = -1  # otherwise the seq that a row supersedes, or 0


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
    keys: dict[Key, Stored] | None = None
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
        looked = _look(table, rows)
        with self._held(looked.days) as known:
            news = _news(looked, known)
            mask = np.array(news) != REPEATED
            if mask.any():
                fresh = _only(rows, mask)
                if table == "gex":
                    fresh = superseding(fresh, np.array(news)[mask])
                first_seq = self._store.append_rows(table, fresh)
                _remember(looked, news, known, first_seq)
        return mask.tolist()  # type: ignore[no-any-return]

    def publish(self, symbol: str, parts: Sequence[Part]) -> int:
        """Seal the snapshots of a file that are not stored yet, all in one version; count them.

        Raise SealFailed or DiskFull, then none is stored.
        """
        every = [_look("gex", part.read(IDENTITY)) for part in parts]
        looked = _Look(
            [day for some in every for day in some.days],
            [key for some in every for key in some.keys],
            [told for some in every for told in some.told],
        )
        with self._held(looked.days) as known:
            news = _news(looked, known)
            count = len(news) - news.count(REPEATED)
            if count:
                ends = np.cumsum([len(some.keys) for some in every])[:-1]
                first_seq = self._store.reserve("gex", count)
                rows = _numbered(parts, np.split(np.array(news), ends), first_seq)
                self._keeper.seal_apart("gex", symbol, rows, parts_max=1)  # ladders are large
                _remember(looked, news, known, first_seq)
        return count

    @contextmanager
    def _held(self, days: Sequence[Day | None]) -> Iterator[dict[Day, dict[Key, Stored]]]:
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

    def _read(self, day: Day) -> dict[Key, Stored]:
        """The identities the tape holds of a day, each with the row that stands."""
        names = IDENTITY if day.table == "gex" else ("trade_id", "ts_event", "source")
        rows = self._keeper.view().columns(
            day.table,
            day.symbol,
            ["seq", *(name for name in names if name != "symbol")],
            start_us=day.day * DAY_US,
            end_us=(day.day + 1) * DAY_US,
        )
        symbols = pa.repeat(pa.scalar(day.symbol), rows.num_rows)
        rows = rows.append_column("symbol", symbols).combine_chunks()
        found: dict[Key, Stored] = {}
        for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
            seqs = batch.column("seq").to_pylist()
            for of, key, told, seq in zip(*_look(day.table, batch), seqs, strict=True):
                if of == day and (key not in found or told[0] > found[key][0]):
                    found[key] = (*told, seq)
        return found


class _Look(NamedTuple):
    """Of each row its day (None where it is never the same as another), identity and content."""

    days: list[Day | None]
    keys: list[Key]
    told: list[Told]


def _look(table: str, rows: pa.RecordBatch) -> _Look:
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
        return _Look([None] * len(symbols), [""] * len(symbols), [(0, 0)] * len(symbols))
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
    return _Look(days, keys, _told(rows) if table == "gex" else [(0, 0)] * len(keys))


def _told(rows: pa.RecordBatch) -> list[Told]:
    """How good the source of each snapshot is, and what it says."""
    names = set(rows.schema.names)
    vias = rows.column("via").to_pylist() if "via" in names else [""] * rows.num_rows
    columns = [rows.column(name).to_pylist() for name in VALUES if name in names]
    contents = map(hash, zip(*columns, strict=True)) if columns else [0] * rows.num_rows
    return [(RANKS.get(via, 0), content) for via, content in zip(vias, contents, strict=True)]


def _snapshot_keys(times: NDArray[np.int64], packages: Sequence[str]) -> list[Key]:
    """GEXBot counts in seconds; Unusual Whales' exposures change within one."""
    fine: list[Key] = times.tolist()
    whole: list[Key] = (times // US_PER_S * US_PER_S).tolist()
    both = zip(packages, whole, fine, strict=True)
    return [exact if package == "uw" else second for package, second, exact in both]


def _only(rows: pa.RecordBatch, mask: NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows of a mask, without a copy where that is all of them."""
    return rows if mask.all() else rows.filter(pa.array(mask))


def _news(looked: _Look, known: dict[Day, dict[Key, Stored]]) -> list[int]:
    """For each row REPEATED, or which stored seq it supersedes, 0 for none."""
    seen: set[tuple[Day, Key]] = set()
    news = []
    for day, key, (rank, content) in zip(*looked, strict=True):
        if day is None:
            news.append(0)
            continue
        stored = known[day].get(key)
        if (day, key) in seen:
            news.append(REPEATED)
        elif stored is None:
            news.append(0)
        elif rank > stored[0] and content != stored[1]:
            news.append(stored[2])
        else:
            # Said again by a better source, it is as good as that.
            known[day][key] = (
                max(rank, stored[0]) if content == stored[1] else stored[0],
                *stored[1:],
            )
            news.append(REPEATED)
        if news[-1] != REPEATED:
            seen.add((day, key))
    return news


def _remember(
    looked: _Look, news: Sequence[int], known: dict[Day, dict[Key, Stored]], seq: int
) -> None:
    """Note the rows that were stored, from a seq on."""
    for day, key, told, found in zip(*looked, news, strict=True):
        if found != REPEATED:
            if day is not None:
                known[day][key] = (*told, seq)
            seq += 1


def _numbered(
    parts: Sequence[Part], news: Sequence[NDArray[np.int64]], seq: int
) -> Iterator[pa.RecordBatch]:
    """The new rows of each part with their numbers, one part in memory at a time."""
    for part, found in zip(parts, news, strict=True):
        mask = found != REPEATED
        if mask.any():
            rows = superseding(_only(part.read(), mask), found[mask])
            yield with_seq(GEX, rows, seq).cast(GEX.schema)
            seq += rows.num_rows
