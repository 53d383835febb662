"""The writer's side of gamma exposure: each snapshot and each option trade is stored once.

Identity is a snapshot's (ticker, package, category, source second) and an option trade's id; what
came first stands, unless a better source tells something else of the same second: then its row is
stored too, and says which one it supersedes. What is stored already is looked up in the tape
itself, a day of a series at a time, so it survives restarts; the days in memory are few and the
oldest is forgotten.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import DAY_US, NS_PER_US, US_PER_S, Clock
from core.log import Log
from core.schema import GEX
from ingest.gex_columns import TOLD
from ingest.gex_guard import check_gamma, is_sound
from ingest.gex_snapshot import GREEKS
from ingest.gex_spool import Part
from storage.arrow_stream import arrow_batch
from storage.keeper import Keeper
from storage.prepared import Prepared
from storage.slow import with_seq
from storage.store import Store
from storage.superseded import MARK, superseding

log = Log("gex")
DAYS_MAX = 64
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

    def append_prepared(
        self, table: str, told: Sequence[Sequence[Any]], ready: Prepared
    ) -> list[bool | None]:
        """The same for rows made ready elsewhere and told by their values of `TOLD[table]`.

        Where all of them are plainly new, or none is, they are not looked into.
        """
        assert len(told) == ready.rows, "as many rows told as sent"
        now_us = self._clock.now_ns() // NS_PER_US
        names = TOLD[table]
        is_plain = MARK.encode() not in ready.payload  # that is for this class alone to write
        if is_plain and all(is_sound(dict(zip(names, row, strict=True)), now_us) for row in told):
            looked = _look(table, told)
            with self._held(looked.days) as known:
                news = _news(looked, known)
                if not any(news):
                    first_seq = self._store.append_prepared(table, ready)
                    _remember(looked, news, known, first_seq)
                    return [True] * ready.rows
                if set(news) == {REPEATED}:
                    return [False] * ready.rows
        return self.append_new(table, arrow_batch(ready.payload))

    def append_new(self, table: str, rows: pa.RecordBatch) -> list[bool | None]:
        """Store the rows that are not stored yet; say of each whether it was new, None if refused.

        Visible on return; what the guard refuses is kept in `rejects`. Raise DiskFull, then none is
        stored, or of several sources' rows only those of the lesser ones.
        """
        is_good, rejects = check_gamma(table, rows, self._clock.now_ns() // NS_PER_US)
        if not rejects:
            return list(self._append_good(table, rows))
        is_new = iter(self._append_good(table, _only(rows, is_good)))
        self._store.reject(rejects)
        return [next(is_new) if good else None for good in is_good.tolist()]

    def _append_good(self, table: str, rows: pa.RecordBatch) -> list[bool]:
        """Lesser sources first, so that a better one's row supersedes theirs."""
        vias = rows.column("via").to_pylist() if "via" in rows.schema.names else [""]
        ranks = np.array([RANKS.get(via, 0) for via in vias])
        if (ranks == ranks[:1]).all():
            return self._append_equals(table, rows)
        is_new = np.zeros(rows.num_rows, np.bool_)
        for rank in np.unique(ranks):
            mask = ranks == rank
            is_new[mask] = self._append_equals(table, _only(rows, mask))
        return is_new.tolist()  # type: ignore[no-any-return]

    def _append_equals(self, table: str, rows: pa.RecordBatch) -> list[bool]:
        looked = _look(table, _told(table, rows))
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
        every = [_look("gex", _told("gex", part.read(TOLD["gex"]))) for part in parts]
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
        rows = self._keeper.view().columns(
            day.table,
            day.symbol,
            ["seq", *(name for name in TOLD[day.table] if name != "symbol")],
            start_us=day.day * DAY_US,
            end_us=(day.day + 1) * DAY_US,
        )
        symbols = pa.repeat(pa.scalar(day.symbol), rows.num_rows)
        rows = rows.append_column("symbol", symbols).combine_chunks()
        found: dict[Key, Stored] = {}
        for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
            seqs = batch.column("seq").to_pylist()
            looked = _look(day.table, _told(day.table, batch))
            for of, key, told, seq in zip(*looked, seqs, strict=True):
                if of == day and (key not in found or told[0] > found[key][0]):
                    found[key] = (*told, seq)
        return found


class _Look(NamedTuple):
    """Of each row its day (None where it is never the same as another), identity and content."""

    days: list[Day | None]
    keys: list[Key]
    told: list[Told]


def _look(table: str, rows: Iterable[Sequence[Any]]) -> _Look:
    looked = _Look([], [], [])
    made: dict[tuple[str, str, int], Day] = {}
    for symbol, event_us, source, *more in rows:
        series, content = "", (0, 0)
        key: Key = ""
        if table == "gex":
            _, package, category, via, *values, extra = more
            # GEXBot counts in seconds; Unusual Whales' exposures change within one.
            key = event_us if package == "uw" else event_us // US_PER_S
            if category == GREEKS:  # profiles of several greeks have one second
                key = f"{key} {hash(extra)}"
            series = f"{package}/{category}"
            content = RANKS.get(via, 0), hash(tuple(values))
        elif table == "option_trades":
            (key,) = more
        day = None
        if key != "" and source != "demo":  # an option trade without an id; a made-up market
            at = (symbol, series, event_us // DAY_US)
            day = made.get(at) or made.setdefault(at, Day(table, *at))
        looked.days.append(day)
        looked.keys.append(key)
        looked.told.append(content)
    return looked


def _told(table: str, rows: pa.RecordBatch) -> Iterable[Sequence[Any]]:
    """What is looked at of rows that came as columns; one that is not there is null."""
    names = set(rows.schema.names)
    return zip(
        *(_values(rows.column(name)) if name in names else repeat(None) for name in TOLD[table]),
        strict=False,
    )


def _values(column: pa.Array) -> list[Any]:
    is_time = pa.types.is_timestamp(column.type)
    values: list[Any] = (column.cast(pa.int64()) if is_time else column).to_pylist()
    return values


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
