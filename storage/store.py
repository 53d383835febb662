"""The writer's side of the tape: one process, one lock, every table.

Opening is recovering: the same path after a crash and after a clean stop. `append` makes rows
visible; a committer thread makes them durable within the commit period.
"""

import fcntl
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from core.batch import NOBODY, Rejected, TickBatch
from core.clock import NS_PER_MS, NS_PER_US, Clock
from core.errors import StoreBusy
from core.log import Log
from core.schema import LOGGED_TABLES
from storage.disk import Disk
from storage.fast import FastTable
from storage.head import Head, Watermarks, Word
from storage.lane import Numbered
from storage.paths import Paths
from storage.prepared import Prepared
from storage.recovery import Recovered
from storage.slow import SlowTable, drop_oldest_log
from storage.words import Words

log = Log("store")
RAW_BYTES_MAX = 64 * 1024
SYMBOL_CHARS_MAX = 64  # of a reject; it names a folder of the lake


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a store is opened.

    `tables`: what this process writes. `sealed_seqs`: last seq the lake holds, per table;
    `newest_sealed_us`: newest venue time of its trades, per symbol. `is_copy`: rows come from
    another store with their seqs; what a start has lost of them is fetched again, and no gap.
    """

    commit_ms: int = 20
    tables: frozenset[str] = frozenset(t.name for t in LOGGED_TABLES if t.name != "queries")
    sealed_seqs: Mapping[str, int] = field(default_factory=dict)
    newest_sealed_us: Mapping[str, int] = field(default_factory=dict)
    lock_name: str = "writer.lock"
    is_copy: bool = False


class Store:
    """Appends to every table this process owns."""

    def __init__(self, paths: Paths, options: StoreOptions, disk: Disk, clock: Clock) -> None:
        self.paths = paths
        self._options = options
        self._clock = clock
        self._disk = disk
        self._lock_fd = _take_lock(paths.root / options.lock_name)
        self.words = Words(paths, disk)
        self._tables: dict[str, FastTable | SlowTable] = {}
        self._stopping = threading.Event()
        self._telling = threading.Lock()
        self.commit_failure: Exception | None = None
        for table in LOGGED_TABLES:
            if table.name in options.tables:
                self._tables[table.name] = (
                    FastTable(paths, table.name, words=self.words, disk=disk)
                    if table.is_fast
                    else SlowTable(paths, table.name, disk=disk)
                )
        self._committer = threading.Thread(target=self._commit_forever, name="committer")

    @classmethod
    def open(
        cls, paths: Paths, options: StoreOptions | None = None, *, disk: Disk, clock: Clock
    ) -> "Store":
        """Take the writer's lock, read everything back and start committing.

        Raise StoreBusy where another process writes here, WalCorrupt where committed rows are
        damaged.
        """
        paths.root.mkdir(parents=True, exist_ok=True)
        store = cls(paths, options or StoreOptions(), disk, clock)
        try:
            store._recover()
        except BaseException:
            os.close(store._lock_fd)
            raise
        store._committer.start()
        return store

    def append(self, batch: TickBatch) -> int:
        """Store a batch of a fast table; visible on return. Give its first seq; raise DiskFull."""
        assert batch.rows > 0, "an empty batch has no first seq"
        return self._fast(batch.table).append(batch)

    def append_merged(self, table: str, parts: Sequence[Numbered]) -> int:
        """Store rows of a fast table that have their seqs; see `FastTable.append_merged`."""
        return self._fast(table).append_merged(parts)

    def append_rows(self, table: str, rows: pa.RecordBatch | Sequence[dict[str, object]]) -> int:
        """Store rows of a slow table; visible on return. Give the first seq; raise DiskFull."""
        return self._slow(table).append(rows)

    def append_prepared(self, table: str, ready: Prepared) -> int:
        """Store rows of a slow table that were made ready elsewhere; as `append_rows`."""
        return self._slow(table).append_numbered(ready.numbered, ready.rows)

    def reserve(self, table: str, rows: int) -> int:
        """Set numbers aside for rows that are sealed without having been hot; give the first."""
        return self._tables[table].reserve(rows)

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Keep refused rows, with the reason and the bytes as they came."""
        if rejected:
            self.append_rows("rejects", [_reject_row(row) for row in rejected])

    def commit(self) -> None:
        """Make everything visible durable now; raise OSError where the disk does not let us."""
        for error in self._pass():
            raise error

    def set_front(self, symbol: str, contract: str) -> None:
        """Make a contract the front one of a symbol: the one whose trade is the symbol's latest."""
        self._fast("trades").set_front(symbol, contract)

    def owns(self, table: str) -> bool:
        """Whether this store is the writer of a table."""
        return table in self._tables

    def watermarks(self, table: str) -> Watermarks:
        """What is visible and what is durable."""
        return self._tables[table].head.watermarks()

    def drop_segment(self, table: str, number: int) -> bool:
        """Let go of a table's oldest segment, whose rows are sealed; False where it is in use."""
        owned = self._tables.get(table)
        if isinstance(owned, FastTable):
            return owned.drop(number)
        head = Head(self.paths.head(table), is_writer=True)
        return drop_oldest_log(self._disk, self.paths, table, head)

    def close(self) -> None:
        """Stop committing, commit once more, release the lock."""
        self._stopping.set()
        self._committer.join()
        for table in self._tables.values():
            table.close()
        os.close(self._lock_fd)
        log.info("store.closed")

    def _recover(self) -> None:
        if any(isinstance(table, FastTable) for table in self._tables.values()):
            self.words.recover()  # of a writer of words alone: another may be adding one
        generation = self._clock.now_ns()
        for name, table in self._tables.items():
            sealed_seq = self._options.sealed_seqs.get(name, 0)
            if isinstance(table, FastTable):
                newest = self._options.newest_sealed_us if name == "trades" else None
                found = table.recover(sealed_seq=sealed_seq, newest_sealed_us=newest)
            else:
                found = table.recover(sealed_seq=sealed_seq)
            table.head.words[Word.WORDS] = self.words.count
            table.head.words[Word.LAKE_VERSION] = 0
            table.head.words[Word.GENERATION] = generation
            if found.rows or found.cut_rows:
                log.info(
                    "table.recovered",
                    table=name,
                    rows=found.rows,
                    cut=found.cut_rows,
                    next_seq=table.next_seq,
                )
            self._record_losses(name, found)

    def _record_losses(self, name: str, found: Recovered) -> None:
        """Rows that were visible once and are gone are named in table gaps."""
        if "gaps" not in self._tables or self._options.is_copy:
            return
        now_us = self._clock.now_ns() // NS_PER_US
        losses = [
            (f"seq {hole.first_seq} to {hole.last_seq} taken out of the hot segments", lost)
            for hole in found.holes
            if (lost := hole.last_seq - hole.first_seq + 1)
        ]
        if found.cut_rows:
            losses.append(("power cut before the last rows were durable", found.cut_rows))
        rows: list[dict[str, object]] = [
            {
                "symbol": "*",
                "ts_event": now_us,
                "ts_recv": now_us,
                "source": "store",
                "table_name": name,
                "from_ts": now_us,
                "to_ts": now_us,
                "reason": reason,
                "state": "unrepairable",
                "closed_at": now_us,
                "rows": lost,
                "gap_id": now_us,
            }
            for reason, lost in losses
        ]
        if rows:
            self.append_rows("gaps", rows)

    def _commit_forever(self) -> None:
        period_s = self._options.commit_ms * NS_PER_MS / 1e9
        while not self._stopping.wait(period_s):
            # Rows stay visible and hot; durable_seq stands still and health shows it.
            self.commit_failure = next(iter(self._pass()), None)

    def _pass(self) -> list[OSError]:
        """Commit every table and tell who waits for durable rows; give what went wrong."""
        errors: list[OSError] = []
        has_told = False
        for name, table in self._tables.items():
            was = table.head.words[Word.DURABLE_SEQ]
            try:
                if table.commit() != was:
                    self._tell(is_first=not has_told)
                    has_told = True
            except OSError as error:
                log.error("commit.failed", table=name, error=error)
                errors.append(error)
        if has_told:
            self._tell_end()
        return errors

    def _tell(self, *, is_first: bool) -> None:
        if "trades" not in self._tables:
            return
        words = self._tables["trades"].head.words
        with self._telling:
            if is_first:
                words[Word.PASSED_NS] = self._clock.monotonic_ns()
                words[Word.PASSES] += 1
            words[Word.NEWS] += 1

    def _tell_end(self) -> None:
        if "trades" not in self._tables:
            return
        words = self._tables["trades"].head.words
        with self._telling:
            words[Word.ENDED_NS] = self._clock.monotonic_ns()
            words[Word.ENDED] += 1

    def _fast(self, name: str) -> FastTable:
        table = self._tables[name]
        assert isinstance(table, FastTable), name
        return table

    def _slow(self, name: str) -> SlowTable:
        table = self._tables[name]
        assert isinstance(table, SlowTable), name
        return table


def _take_lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(fd, 32).decode(errors="replace").strip()
        os.close(fd)
        raise StoreBusy(
            f"process {owner or 'unknown'} already writes to {path.parent}",
            hint="use another --data-dir, or stop that process first",
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def _reject_row(row: Rejected) -> dict[str, object]:
    return {
        "symbol": row.symbol if 0 < len(row.symbol) <= SYMBOL_CHARS_MAX else NOBODY,
        "ts_event": row.ts_event if row.ts_event is not None else row.ts_recv,
        "ts_recv": row.ts_recv,
        "source": row.source,
        "table_name": row.table,
        "reason": row.reason,
        "raw": row.raw[:RAW_BYTES_MAX],
    }
