"""The sealer: rows of the hot side become partitions, once.

A seal writes the rows of a symbol that came after its last seal, split by hour of `ts_event`, and
lists all of them in one version of the manifest together with how far the symbol is sealed. Before
that version nothing happened; after it, everything did. Sealing the same rows again adds nothing.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.clock import HOUR_US, Clock
from core.log import Log
from core.schema import TABLES, Table
from storage.bars import catch_up
from storage.lake import Lake, as_lake
from storage.manifest import Manifest, Partition
from storage.partition import SCRATCH, Draft, Step, no_step, whole, write_partition
from storage.rollup import WIDTHS_US

log = Log("lake")

APART_MAX = 3
PARTITION_NAME = re.compile(r"(\d\d|day)-\d{12}-\d{12}\.parquet")


@dataclass(frozen=True, slots=True)
class SealJob:
    """Rows of one symbol to seal, up to and including seq `hi`; batches as `TABLES[t].schema`."""

    symbol: str
    slices: Sequence[pa.RecordBatch]
    hi: int


class Sealer:
    """Writes to the lake. Threads and processes take turns at the lake's lock."""

    def __init__(self, lake: Lake | str, clock: Clock, *, step: Step = no_step) -> None:
        self._lake = as_lake(lake)
        self._clock = clock
        self._step = step
        self._manifests = {name: Manifest(self._lake, name) for name in TABLES}

    def manifest(self, table: str) -> Manifest:
        """The manifest this sealer publishes to."""
        return self._manifests[table]

    def seal(
        self, table: str, symbol: str, slices: Sequence[pa.RecordBatch], hi: int
    ) -> list[Partition]:
        """Seal one symbol; see `seal_many`."""
        return self.seal_many(table, [SealJob(symbol, slices, hi)])

    def seal_many(self, table: str, jobs: Sequence[SealJob]) -> list[Partition]:
        """Seal several symbols of a table in one version; return the new partitions.

        Rows at or below a symbol's sealed seq are left out. Raises SealFailed or LakeError: then
        either nothing happened, or all rows are sealed and only bars are late; trying again is
        right in any case.
        """
        assert not table.startswith("bars_"), "bars are made from trades"
        assert len({job.symbol for job in jobs}) == len(jobs), "one job a symbol"
        manifest = self._manifests[table]
        with self._lake.writing():
            known = manifest.fetch().sealed_seq
            news = [job for job in jobs if job.hi > known.get(job.symbol, 0)]
            added = [
                partition
                for job in news
                for partition in self._write(manifest, job, known.get(job.symbol, 0))
            ]
            if added:
                self._step("commit")
                sealed = {job.symbol: job.hi for job in news}
                version = manifest.commit(added, [], sealed, now_ns=self._clock.now_ns()).version
                self._step("committed")
                rows = sum(partition.rows for partition in added)
                log.info("hour.sealed", table=table, files=len(added), rows=rows, version=version)
            if table == "trades":
                self._catch_up()
        return added

    def seal_apart(
        self,
        table: str,
        symbol: str,
        parts: Iterable[pa.RecordBatch],
        *,
        parts_max: int = APART_MAX,
    ) -> list[Partition]:
        """Seal rows that were never hot, in one version; raise SealFailed, then none is listed.

        Their seqs were set aside for them, so the symbol's sealed seq does not move. Parts are
        written while the next ones are made; at most `parts_max` of them are in memory.
        """
        manifest = self._manifests[table]

        def write(rows: pa.RecordBatch) -> list[Partition]:
            job = SealJob(symbol, (rows,), int(whole(rows, "seq").max()))
            return list(self._write(manifest, job, 0))

        with self._lake.writing(), ThreadPoolExecutor(max(parts_max - 1, 1)) as pool:
            manifest.fetch()
            added: list[Partition] = []
            written: deque[Future[list[Partition]]] = deque()
            for rows in parts:
                written.append(pool.submit(write, rows))
                if len(written) >= parts_max - 1:
                    added += written.popleft().result()
            for last in written:
                added += last.result()
            if added:
                self._step("commit")
                manifest.commit(added, [], {}, now_ns=self._clock.now_ns())
                self._step("committed")
                rows_count = sum(partition.rows for partition in added)
                log.info("import.sealed", table=table, files=len(added), rows=rows_count)
        return added

    def recover(self) -> None:
        """Make the lake whole after a crash: drop what nobody lists, redo bars left undone.

        Raise LakeError.
        """
        with self._lake.writing():
            for manifest in self._manifests.values():
                manifest.repair()
                manifest.fetch()
                _drop_scratch(Path(manifest.url))
                _drop_orphans(manifest)
            self._catch_up()

    def _catch_up(self) -> None:
        bars = {name: self._manifests[name] for name in WIDTHS_US}
        catch_up(self._manifests["trades"], bars, self._clock, self._step)

    def _write(self, manifest: Manifest, job: SealJob, after_seq: int) -> Iterator[Partition]:
        for hour, batches in sorted(_hours(manifest.table, job, after_seq).items()):
            rows = _sorted(manifest.table, batches)
            seq = whole(rows, "seq")
            time = np.datetime64(hour * HOUR_US, "us")
            draft = Draft(
                symbol=job.symbol,
                date=str(time.astype("datetime64[D]")),
                label=f"{hour % 24:02d}",
                first_seq=int(seq.min()),
                last_seq=int(seq.max()),
                rows_max=rows.num_rows,
            )
            now_us = self._clock.now_ns() // 1_000
            yield write_partition(manifest, draft, [rows], now_us=now_us, step=self._step)


def _hours(table: Table, job: SealJob, after_seq: int) -> dict[int, list[pa.RecordBatch]]:
    """Rows in (after_seq, hi] by hour; slices stay views into the caller's buffers."""
    found: dict[int, list[pa.RecordBatch]] = {}
    for batch in job.slices:
        assert batch.schema.names == table.schema.names, batch.schema.names
        if table.by_symbol and batch.num_rows:
            assert pc.unique(batch.column("symbol")).to_pylist() == [job.symbol], job.symbol
        seq = whole(batch, "seq")
        is_new = (seq > after_seq) & (seq <= job.hi)
        rows = batch if is_new.all() else batch.filter(pa.array(is_new))
        for hour, part in _split(rows):
            found.setdefault(hour, []).append(part)
    return found


def _split(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a batch wherever the hour changes."""
    hours = whole(batch, "ts_event") // HOUR_US
    if not len(hours):
        return
    if np.count_nonzero(np.diff(hours)) > MIXED_CUTS:
        for hour in np.unique(hours).tolist():
            yield hour, batch.filter(pa.array(hours == hour))
        return
    for low, high in pairwise([0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(hours)]):
        yield int(hours[low]), batch.slice(low, high - low)


MIXED_CUTS = 16  # more changes of the hour than this in one batch: pick rows instead of slicing


def _sorted(table: Table, batches: list[pa.RecordBatch]) -> pa.Table:
    """Rows in (`ts_event`, `ts_ns`, `seq`) order in one piece, without the partition column."""
    rows = pa.Table.from_batches(batches)
    if table.by_symbol:
        rows = rows.drop_columns(["symbol"])
    rows = rows.unify_dictionaries().combine_chunks()
    time_ns = whole(rows, "ts_event") * 1_000 + whole(rows, "ts_ns")
    order = time_order(time_ns, whole(rows, "seq"))
    return rows if order is None else rows.take(pa.array(order))


def time_order(time_ns: NDArray[np.int64], seq: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The order by (time, seq); None where rows already have it."""
    tick = np.diff(time_ns)
    is_forward = (tick > 0) | ((tick == 0) & (np.diff(seq) > 0))
    return None if is_forward.all() else np.lexsort((seq, time_ns))


def _drop_scratch(root: Path) -> None:
    for path in (root / SCRATCH).glob("*"):
        log.warning("scratch.dropped", file=path)
        path.unlink()


def _drop_orphans(manifest: Manifest) -> None:
    """Delete files that no version ever listed; those removed by a version wait for vacuum."""
    alive, removed = manifest.snapshot().paths, manifest.tombstones()
    orphans = [
        path
        for path in manifest.lake.files(manifest.table.name)
        if PARTITION_NAME.fullmatch(path.rpartition("/")[2])
        and path not in alive
        and path not in removed
    ]
    for path in orphans:
        log.warning("orphan.dropped", file=path)
    manifest.lake.drop(orphans)
