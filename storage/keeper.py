"""The keeper: seals hours that are over, lets go of memory that is sealed and old, prunes the lake.

It runs beside the writer and never holds its lock while it works. What it cannot do now it tries
again on its next round; the rows stay hot meanwhile.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from core.clock import DAY_NS, HOUR_US, MINUTE_NS, NS_PER_S, NS_PER_US, Clock
from core.errors import LakeError, PipelineError
from core.log import Log
from core.schema import LOGGED_TABLES, TABLES
from storage.compact import compact, prune, vacuum
from storage.head import Head, Word
from storage.hot import HotReader
from storage.lake import Lake, as_lake
from storage.letting_go import let_go
from storage.mapped import HotSlice
from storage.seal import APART_MAX, Sealer, SealJob
from storage.store import Store
from storage.view import Manifests, View

log = Log("keeper")
ROUND_S = 1.0
AWAY_S_MAX = 30.0  # between two attempts while the bucket is away
VACUUM_GRACE_S = 3600.0  # longer than any query may run


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """`grace_s`: how long after an hour's end late rows are waited for."""

    hot_minutes: int = 60
    retention_days: int = 365
    grace_s: float = 5.0
    is_recovered: bool = True  # False: the bucket was away at the start, so it is still to be done


class Keeper:
    """Seals and prunes for one data folder; there is one, in the writer's process."""

    def __init__(
        self, store: Store, sealer: Sealer, lake: Lake | str, options: KeeperOptions, clock: Clock
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._options = options
        self._clock = clock
        self._hot = HotReader(store.paths)
        self._lake = as_lake(lake)
        self._manifests = Manifests(self._lake)
        self._working = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper")
        self._sealed_hour_us = 0
        self._swept_day = -1
        self._is_recovered = options.is_recovered
        self.failure: PipelineError | None = None
        self.pruned_count = 0  # files past retention that left the lake
        self.seal_s: float | None = None  # what sealing the last hour took

    def start(self) -> None:
        """Begin the rounds."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way and end."""
        self._stopping.set()
        self._thread.join()

    def seal_now(self, symbols: Sequence[str]) -> int:
        """Seal every row of these symbols, whole hour or not; give the number of files.

        Segments of old rows alone are let go at once, so an import of any size fits into memory.
        """
        with self._working:
            files = sum(
                self._seal_table(table.name, None, frozenset(symbols)) for table in LOGGED_TABLES
            )
            for table in LOGGED_TABLES:
                self._let_go(table.name, self._clock.now_ns())
            return files

    def view(self) -> View:
        """What may be seen now, through the keeper's own mappings."""
        return View(self._hot, self._manifests)

    def seal_apart(
        self,
        table: str,
        symbol: str,
        parts: Iterable[pa.RecordBatch],
        *,
        parts_max: int = APART_MAX,
    ) -> int:
        """Seal rows that were never hot; give the number of files. See `Sealer.seal_apart`."""
        files = self._sealer.seal_apart(table, symbol, parts, parts_max=parts_max)
        self._tell(table)
        return len(files)

    def round(self) -> None:
        """Do what is due now: seal finished hours, let go of old segments, sweep once a day."""
        with self._working:
            now_ns = self._clock.now_ns()
            due_us = (now_ns - int(self._options.grace_s * NS_PER_S)) // NS_PER_US
            hour_us = due_us // HOUR_US * HOUR_US
            away: LakeError | None = None
            try:
                self._seal_due(hour_us)
            except LakeError as error:
                away = error  # what is sealed already may go all the same
            for table in LOGGED_TABLES:
                self._let_go(table.name, now_ns)
            if away is not None:
                raise away
            day = now_ns // DAY_NS
            if day != self._swept_day:
                self._sweep(now_ns)
                self._swept_day = day

    def _seal_due(self, hour_us: int) -> None:
        if not self._is_recovered:
            self._sealer.recover()
            self._is_recovered = True
        if hour_us > self._sealed_hour_us:
            start_ns = self._clock.monotonic_ns()
            files = sum(self._seal_table(table.name, hour_us, None) for table in LOGGED_TABLES)
            self._sealed_hour_us = hour_us
            if files:
                self.seal_s = (self._clock.monotonic_ns() - start_ns) / NS_PER_S

    def _run(self) -> None:
        pause_s = ROUND_S
        while not self._stopping.wait(pause_s):
            try:
                self.round()
                self.failure = None
                pause_s = ROUND_S
            except LakeError as error:
                if self.failure is None or self.failure.message != error.message:
                    log.error("bucket.away", code=error.code, error=error.message, hint=error.hint)
                self.failure = error
                pause_s = min(2 * pause_s, AWAY_S_MAX)
            except PipelineError as error:
                self.failure = error
                log.error("round.failed", code=error.code, error=error.message)
            except Exception as error:
                self.failure = PipelineError(f"keeper: {type(error).__name__}")
                log.exception("round.failed")

    def _seal_table(self, table: str, end_us: int | None, only: frozenset[str] | None) -> int:
        """Seal the rows older than `end_us` of each symbol; None means all rows."""
        if not self._store.paths.head(table).exists():
            return 0
        sealed_seq = self._sealed_seq(table)
        by_symbol = TABLES[table].by_symbol
        jobs = []
        for symbol in self._hot.symbols(table) if by_symbol else [""]:
            if only is not None and symbol not in only:
                continue
            slices = self._hot.slices(table, symbol, after_seq=sealed_seq.get(symbol, 0))
            ready = _before(slices, end_us)
            if ready:
                jobs.append(SealJob(symbol, tuple(s.batch for s in ready), ready[-1].last_seq))
        if not jobs:
            return 0
        self._store.commit()  # nothing is sealed that is not durable
        files = self._sealer.seal_many(table, jobs)
        self._hot.table(table).release_pages()
        self._tell(table)
        return len(files)

    def _tell(self, table: str) -> None:
        """Tell every reader that the lake has news of this table (and of its rollups)."""
        head = Head(self._store.paths.head(table), is_writer=True)
        head.words[Word.LAKE_VERSION] = self._clock.now_ns()

    def _let_go(self, table: str, now_ns: int) -> None:
        oldest_us = (now_ns - self._options.hot_minutes * MINUTE_NS) // NS_PER_US
        if self._store.paths.head(table).exists():
            let_go(self._store, self._hot, table, self._sealed_seq(table), oldest_us)

    def _sealed_seq(self, table: str) -> Mapping[str, int]:
        return self._manifests.snapshot(table, self._hot.lake_version(table)).sealed_seq

    def _sweep(self, now_ns: int) -> None:
        """Fold finished days, drop what is past retention, unlink what nobody reads any more."""
        today = str(np.datetime64(now_ns // NS_PER_US, "us").astype("datetime64[D]"))
        cutoff_us = (now_ns - self._options.retention_days * DAY_NS) // NS_PER_US
        for table in TABLES:
            changed = compact(self._lake, table, before_date=today, clock=self._clock)
            pruned = prune(self._lake, table, cutoff_us=cutoff_us, clock=self._clock)
            changed += pruned
            self.pruned_count += len(pruned)
            vacuum(self._lake, table, grace_s=VACUUM_GRACE_S, clock=self._clock)
            leader = "trades" if table.startswith("bars_") else table
            if changed and self._store.paths.head(leader).exists():
                self._tell(leader)


def _before(slices: Sequence[HotSlice], end_us: int | None) -> list[HotSlice]:
    """The rows up to the first one that belongs to `end_us` or later, in seq order."""
    if end_us is None:
        return list(slices)
    ready: list[HotSlice] = []
    for part in slices:
        if part.max_ts_us < end_us:
            ready.append(part)
            continue
        times = part.batch.column("ts_event").cast("int64").to_numpy()
        rows = int(np.argmax(times >= end_us)) if (times >= end_us).any() else len(times)
        if rows:
            seqs = part.batch.column("seq")
            head = part.batch.slice(0, rows)
            ready.append(
                HotSlice(
                    head,
                    part.is_sorted,
                    part.all_valid,
                    part.min_ts_us,
                    part.max_ts_us,
                    part.first_seq,
                    seqs[rows - 1].as_py(),
                )
            )
        if rows < len(times):
            break
    return ready
