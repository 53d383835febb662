"""Compaction and retention: many hourly files become one a day, old days go.

A fold takes the hour files of a finished day to one file, in one version of the manifest; readers
of the older version keep their files for a grace period. Every row read is proven against its
digest and every row written is read back, so a fold never loses a row nor spreads a fault. All of
it may be cut off at any point and run again.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa

from core.clock import DAY_US, HOUR_US, Clock
from core.errors import PartitionCorrupt, SealFailed
from core.log import Log
from core.schema import TABLES
from storage.lake import Lake
from storage.manifest import Manifest, Partition
from storage.partition import (
    DAY,
    Draft,
    Step,
    no_step,
    read_proven,
    text_columns,
    whole,
    write_partition,
)
from storage.seal import PARTITION_NAME, time_order

log = Log("lake")


def compact(
    lake: Lake | str, table: str, *, before_date: str, clock: Clock, step: Step = no_step
) -> list[Partition]:
    """Fold days before a date ("2026-11-20"), one version a day; return the new partitions.

    A day with a partition that does not match its digest stays as it is, and is logged as an error.
    """
    manifest = Manifest(lake, table)
    days = sorted({p.date for p in manifest.fetch().pruned() if p.date < before_date})
    return [folded for date in days for folded in _fold_day(manifest, date, clock, step)]


def prune(lake: Lake | str, table: str, *, cutoff_us: int, clock: Clock) -> list[Partition]:
    """Take partitions out of the manifest whose day and newest `ts_recv` lie before a cutoff.

    The files stay for readers of older versions until `vacuum`.
    """
    manifest = Manifest(lake, table)
    with manifest.lake.writing():
        old = [
            partition
            for partition in manifest.fetch().pruned(end_us=cutoff_us)
            if _day_end_us(partition.date) <= cutoff_us and partition.max_recv_us < cutoff_us
        ]
        if old:
            manifest.commit([], old, {}, now_ns=clock.now_ns())
            rows = sum(partition.rows for partition in old)
            log.info("partitions.pruned", table=table, files=len(old), rows=rows)
    return old


def vacuum(lake: Lake | str, table: str, *, grace_s: float, clock: Clock) -> list[str]:
    """Delete files a version removed more than a grace period ago; return their paths."""
    manifest = Manifest(lake, table)
    with manifest.lake.writing():
        manifest.fetch()
        removed = manifest.tombstones()
        alive = manifest.snapshot().paths
        due_ms = clock.now_ns() // 1_000_000 - int(grace_s * 1_000)
        there = frozenset(manifest.lake.files(table))
        gone = [
            path
            for path, removed_ms in sorted(removed.items())
            if removed_ms <= due_ms and path not in alive and path in there
        ]
        for path in gone:
            assert PARTITION_NAME.fullmatch(path.rpartition("/")[2]), path
        manifest.lake.drop(gone)
    if gone:
        log.info("files.unlinked", table=table, files=len(gone))
    return gone


def _fold_day(manifest: Manifest, date: str, clock: Clock, step: Step) -> list[Partition]:
    added: list[Partition] = []
    removed: list[Partition] = []
    with manifest.lake.writing():
        end_us = _day_end_us(date)
        living = manifest.fetch().pruned(start_us=end_us - DAY_US, end_us=end_us)
        for symbol, group in groupby(living, key=lambda partition: partition.symbol):
            parts = list(group)
            if len(parts) > 1:
                try:
                    added.append(_fold(manifest, symbol, parts, clock, step))
                    removed += parts
                except PartitionCorrupt as error:
                    log.error("fold.stopped", table=manifest.table.name, date=date, error=error)
        if added:
            step("commit")
            now_ns = clock.now_ns()
            manifest.commit(added, removed, {}, now_ns=now_ns, is_rewrite=True)
            step("committed")
            rows = sum(partition.rows for partition in added)
            log.info(
                "day.folded", table=manifest.table.name, date=date, old=len(removed), rows=rows
            )
    return added


def _fold(
    manifest: Manifest, symbol: str, parts: Sequence[Partition], clock: Clock, step: Step
) -> Partition:
    """Write one file with the rows of all parts."""
    hi = manifest.snapshot().sealed_seq.get(symbol, 0)
    has_seq = "seq" in manifest.table.schema.names
    rows = sum(partition.rows for partition in parts)
    draft = Draft(
        symbol=symbol,
        date=parts[0].date,
        label=DAY,
        first_seq=min(partition.first_seq for partition in parts),
        # Bars of one day change with every seal that touches it, so their name tells how far.
        last_seq=max(partition.last_seq for partition in parts) if has_seq else hi,
        rows_max=rows,
    )
    twins = [0]
    merged = _merged(parts, has_seq=has_seq, twins=twins)
    now_us = max(partition.max_recv_us for partition in parts)
    folded = write_partition(manifest, draft, merged, now_us=now_us, step=step)
    if folded.rows + twins[0] != rows:
        raise SealFailed(f"{folded.path}: expected {rows} rows, found {folded.rows} + {twins[0]}")
    return folded


def _merged(parts: Sequence[Partition], *, has_seq: bool, twins: list[int]) -> Iterator[pa.Table]:
    """Rows of sorted files in order, an hour at a time; count rows with a seq seen twice."""
    runs = [_Run(partition) for partition in parts]
    start_us = min(partition.min_ts_us for partition in parts) // HOUR_US * HOUR_US
    end_us = max(partition.max_ts_us for partition in parts)
    for hour in range(start_us, end_us + 1, HOUR_US):
        rows = pa.concat_tables([t for run in runs for t in run.take_until(hour + HOUR_US)])
        if not rows.num_rows:
            continue
        if not has_seq:
            yield rows.sort_by("ts_event")
            continue
        rows = rows.unify_dictionaries().combine_chunks()
        seq = whole(rows, "seq")
        order = time_order(whole(rows, "ts_event") * 1_000 + whole(rows, "ts_ns"), seq)
        if order is not None:
            rows, seq = rows.take(pa.array(order)), seq[order]
        is_rising = bool((np.diff(seq) > 0).all())
        if not is_rising and len(np.unique(seq)) < len(seq):
            _, first = np.unique(seq, return_index=True)
            twins[0] += len(seq) - len(first)
            rows = rows.take(pa.array(np.sort(first)))
        yield rows


class _Run:
    """One sorted file being read, row group by row group."""

    def __init__(self, partition: Partition) -> None:
        words = text_columns(TABLES[partition.table])
        self._groups = read_proven(partition.local(), words=words)
        first = next(self._groups)
        self._waiting = pa.Table.from_batches([first])

    def take_until(self, end_us: int) -> list[pa.Table]:
        """The next rows before a time; at least an empty table."""
        taken = []
        while True:
            cut = int(np.searchsorted(whole(self._waiting, "ts_event"), end_us))
            taken.append(self._waiting.slice(0, cut))
            self._waiting = self._waiting.slice(cut)
            batch = None if self._waiting.num_rows else next(self._groups, None)
            if batch is None:
                return taken
            self._waiting = pa.Table.from_batches([batch])


def _day_end_us(date: str) -> int:
    return int(np.datetime64(date, "us").astype(np.int64)) + DAY_US
