"""Keeps the bars tables in step with sealed trades.

Every (symbol, hour) that a seal touched is computed anew from all its sealed trades and replaces
the hour's older bars in one commit. What is touched follows from the two manifests alone: trades
sealed further than the bars say. So a seal, a retry and a start after a crash are the same thing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.clock import DAY_US, HOUR_US, US_PER_S, Clock
from core.errors import PartitionCorrupt
from core.log import Log
from core.schema import TRADES
from storage.manifest import Manifest, Partition, Snapshot
from storage.partition import (
    DAY,
    Draft,
    Step,
    no_step,
    read_near,
    read_proven,
    read_range,
    whole,
    write_partition,
)
from storage.rollup import (
    TRADE_COLUMNS,
    WIDTHS_US,
    bars_of,
    merge,
)
from storage.standing import Revisions, identities, revisions_of

log = Log("lake")

REVISION_COLUMNS = ("seq", "contract", "source", "source_seq", "kind")


@dataclass
class _Swap:
    """What one commit to a bars table will do."""

    added: list[Partition] = field(default_factory=list)
    removed: list[Partition] = field(default_factory=list)
    sealed: dict[str, int] = field(default_factory=dict)

    def take(self, other: "_Swap") -> None:
        """Do what another would do, too."""
        self.added += other.added
        self.removed += other.removed
        self.sealed |= other.sealed


@dataclass(frozen=True)
class _Part:
    """The hours of one symbol and day whose bars are replaced."""

    symbol: str
    day: int
    hours: list[int]
    hi: int


def catch_up(
    trades: Manifest, bars: Mapping[str, Manifest], clock: Clock, step: Step = no_step
) -> None:
    """Recompute bars of every hour whose trades were sealed since; the caller has the lock."""
    snapshot = trades.fetch()
    known = {name: manifest.fetch().sealed_seq for name, manifest in bars.items()}
    swaps = {name: _Swap() for name in bars}
    for symbol, hi in snapshot.sealed_seq.items():
        behind = {name: m for name, m in bars.items() if known[name].get(symbol, 0) < hi}
        since = min((known[name].get(symbol, 0) for name in behind), default=hi)
        try:
            for name, swap in _swaps(snapshot, (symbol, since), behind, clock, step).items():
                swaps[name].take(swap)
        except PartitionCorrupt as error:
            log.error("bars.left_behind", symbol=symbol, error=error)
    for name, swap in swaps.items():
        if swap.sealed:
            step("bars_commit")
            bars[name].commit(swap.added, swap.removed, swap.sealed, now_ns=clock.now_ns())
            step("bars_committed")
            log.info("bars.replaced", table=name, files=len(swap.added), old=len(swap.removed))


def _swaps(
    snapshot: Snapshot,
    whom: tuple[str, int],
    behind: Mapping[str, Manifest],
    clock: Clock,
    step: Step,
) -> dict[str, _Swap]:
    """Write one symbol's bars, as far as trades were sealed after a seq."""
    symbol, since = whom
    swaps = {name: _Swap() for name in behind}
    hi = snapshot.sealed_seq[symbol]
    for day, hours in _touched(snapshot, symbol, since).items():
        part = _Part(symbol, day, hours, hi)
        seconds = _bars_of_hours(snapshot, part)
        for name, manifest in behind.items():
            news = merge(seconds, width_us=WIDTHS_US[name])
            _replace(manifest, part, news, swaps[name], clock, step)
            swaps[name].sealed[symbol] = hi
    return swaps


def _bars_of_hours(snapshot: Snapshot, part: _Part) -> pa.Table:
    """One-second bars of all sealed trades of some hours."""
    return merge(*[bars_between(snapshot, part.symbol, h, h + HOUR_US) for h in part.hours])


def bars_between(snapshot: Snapshot, symbol: str, start_us: int, end_us: int) -> pa.Table:
    """One-second bars of all sealed trades of a symbol in [start, end), made from the trades."""
    living = snapshot.pruned(symbols=[symbol], start_us=start_us, end_us=end_us)
    if not living:
        return bars_of(TRADES.plain_schema.empty_table().select(list(TRADE_COLUMNS)), US_PER_S)
    since = min(partition.first_seq for partition in living) - 1
    revisions = _revisions(snapshot.sealed_after(symbol, since), since)
    rows = [read_range(p, TRADE_COLUMNS, start_us, end_us) for p in living]
    return bars_of(pa.concat_tables(rows), US_PER_S, revisions)


def _replace(
    manifest: Manifest, part: _Part, news: pa.Table, swap: _Swap, clock: Clock, step: Step
) -> None:
    """Write bars of some hours of a day; what a day's file holds of other hours is carried over."""
    snapshot = manifest.snapshot()
    old = {
        partition.path: partition
        for hour in part.hours
        for partition in snapshot.pruned(
            symbols=[part.symbol], start_us=hour, end_us=hour + HOUR_US
        )
    }
    swap.removed += old.values()
    news = news.drop_columns(["symbol"])
    carried = _outside(old.values(), part.hours, news.schema)
    rows = pa.concat_tables([carried, news]).sort_by("ts_event")
    hours = whole(rows, "ts_event") // HOUR_US
    labels = [DAY] if carried.num_rows else sorted({f"{hour % 24:02d}" for hour in hours.tolist()})
    for label in labels:
        mine = rows if label == DAY else rows.filter(pa.array(hours % 24 == int(label)))
        draft = Draft(
            symbol=part.symbol,
            date=str(np.datetime64(part.day, "D")),
            label=label,
            first_seq=int(whole(mine, "first_seq").min()),
            last_seq=part.hi,
            rows_max=mine.num_rows,
        )
        now_us = clock.now_ns() // 1_000
        swap.added.append(write_partition(manifest, draft, [mine], now_us=now_us, step=step))


def _outside(old: Iterable[Partition], hours: list[int], schema: pa.Schema) -> pa.Table:
    """Rows of older files that lie in none of some hours."""
    kept = [schema.empty_table()]
    for partition in old:
        for batch in read_proven(partition.local()):
            is_other = ~np.isin(whole(batch, "ts_event") // HOUR_US * HOUR_US, hours)
            rows = pa.Table.from_batches([batch]).filter(pa.array(is_other))
            kept.append(rows.select(schema.names).cast(schema))
    return pa.concat_tables(kept)


def _touched(snapshot: Snapshot, symbol: str, since: int) -> dict[int, list[int]]:
    """Hours (microseconds) by day whose bars do not yet know rows sealed after `since`."""
    news = snapshot.sealed_after(symbol, since)
    hours: set[int] = set()
    for partition in news:
        hours |= set(range(partition.min_ts_us // HOUR_US, partition.max_ts_us // HOUR_US + 1))
    revisions = _revisions(news, since)
    if revisions:
        hours |= _revised_hours(snapshot.pruned(symbols=[symbol]), revisions)
    days: dict[int, list[int]] = {}
    for hour in sorted(hours):
        days.setdefault(hour * HOUR_US // DAY_US, []).append(hour * HOUR_US)
    return days


def _revisions(partitions: list[Partition], since: int) -> Revisions:
    """Corrections and cancels with a seq after `since`."""
    found: Revisions = {}
    for partition in partitions:
        if partition.has_revisions:
            for batch in read_proven(partition.local(), columns=REVISION_COLUMNS):
                rows = pa.Table.from_batches([batch])
                newer = revisions_of(rows.filter(pc.greater(rows["seq"], since)))
                found |= {key: max(seq, found.get(key, 0)) for key, seq in newer.items()}
    return found


def _revised_hours(partitions: list[Partition], revisions: Revisions) -> set[int]:
    """Hours with rows that revisions may speak of."""
    numbers = identities(revisions)
    bounds = int(numbers[0]), int(numbers[-1])
    hours: set[int] = set()
    for partition in partitions:
        rows = read_near(partition, ("ts_event", "source_seq"), "source_seq", bounds)
        hits = np.isin(whole(rows, "source_seq"), numbers)
        hours |= set((whole(rows, "ts_event")[hits] // HOUR_US).tolist())
    return hours
