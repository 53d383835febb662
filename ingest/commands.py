"""What the command line asks of the tape: import, verify, compact."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from core.batch import Rejected, TickBatch
from core.clock import NS_PER_US, Clock
from core.errors import Unavailable
from core.schema import TABLES
from core.settings import Settings
from ingest.gex_import import Importer, is_history, summed
from ingest.gex_inflate import Limits
from ingest.gex_spool import spooled_parts
from ingest.gex_tape import GexTape
from ingest.importer import Imported, ImportOptions, import_file
from ingest.stored import StoredNumbers
from storage.apart import numbered
from storage.compact import compact
from storage.intake import IntakeClient
from storage.keeper import Keeper
from storage.lake import lake_of
from storage.opening import open_keeper, open_store
from storage.paths import Paths
from storage.store import Store
from storage.view import Views

Say = Callable[[str], None]


class LocalSink:
    """The tape of a data folder nobody else writes to."""

    def __init__(self, store: Store, keeper: Keeper, clock: Clock) -> None:
        self._store = store
        self._keeper = keeper
        self._gex = GexTape(store, keeper, clock)

    def append(self, batch: TickBatch) -> None:
        """Store rows the guard has passed."""
        self._store.append(batch)

    def append_rows(self, table: str, rows: pa.RecordBatch) -> None:
        """Store rows of a slow table."""
        self._store.append_rows(table, rows)

    def publish_gex(self, folder: str, symbol: str) -> int:
        """Seal the snapshots that wait in a spool folder and are not stored yet; count them."""
        parts = spooled_parts(self._store.paths.gex_spool / folder)
        return self._gex.publish(symbol, parts)

    def reject(self, rejected: list[Rejected]) -> None:
        """Keep refused rows."""
        self._store.reject(rejected)

    @property
    def seals_apart(self) -> bool:
        """Nobody else writes."""
        return True

    def seal_apart(
        self, table: str, symbol: str, parts: Iterable[TickBatch | pa.RecordBatch]
    ) -> None:
        """Seal rows that were never hot, in one version."""

        def rows() -> Iterator[pa.RecordBatch]:
            for part in parts:
                count = part.rows if isinstance(part, TickBatch) else part.num_rows
                yield numbered(table, part, self._store.reserve(table, count))

        self._keeper.seal_apart(table, symbol, rows())

    def seal(self, symbols: list[str]) -> None:
        """Seal all rows of these symbols now."""
        self._keeper.seal_now(symbols)


@contextmanager
def open_sink(settings: Settings, clock: Clock) -> Iterator[LocalSink | IntakeClient]:
    """The running writer where there is one, else the tape itself."""
    client: IntakeClient | None = None
    with suppress(Unavailable):
        client = IntakeClient(Paths(settings.data_dir))
    if client is not None:
        try:
            yield client
        finally:
            client.close()
        return
    store = open_store(settings, clock)
    try:
        yield LocalSink(store, open_keeper(settings, store, clock), clock)
    finally:
        store.close()


def import_command(
    settings: Settings, files: Sequence[Path], options: ImportOptions, clock: Clock, say: Say
) -> int:
    """`tickflight import`: each file once, however often it is given."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    )
    with open_sink(settings, clock) as sink, bar:
        paths = Paths(settings.data_dir)
        views = Views(paths, lake_of(settings))
        for path in files:
            task = bar.add_task(path.name, total=None)
            progress = partial(_show, bar, task)
            if is_history(path):
                name = f"import-{os.getpid()}"
                importer = Importer(
                    sink, views.view, paths.gex_spool, name, Limits(), clock.now_ns()
                )
                done = summed(importer.take_file(path, None, "hist", progress))
            else:
                done = import_file(
                    path,
                    sink=sink,
                    existing=StoredNumbers(views),
                    now_us=clock.now_ns() // NS_PER_US,
                    options=options,
                    progress=progress,
                )
                sink.seal(list(done.symbols))
            bar.stop_task(task)
            say(_told(path.name, done))
    return 0


def _show(bar: Progress, task: TaskID, done_bytes: int, all_bytes: int) -> None:
    bar.update(task, completed=done_bytes, total=all_bytes)


def _told(name: str, done: Imported) -> str:
    """One line: what became of every row of a file."""
    facts = [f"{done.added:,} added", f"{done.duplicates:,} already stored"]
    facts.append(f"{done.rejected:,} rejected")
    facts += [f"{count:,} {kind} skipped" for kind, count in done.skipped.items() if count]
    if done.partial_bytes:
        facts.append(f"{done.partial_bytes} bytes of an unfinished record left for later")
    return f"{name}: {done.rows_read:,} rows read for {', '.join(done.symbols)}: {', '.join(facts)}"


def compact_command(settings: Settings, clock: Clock, say: Say) -> int:
    """`tickflight compact`: finished days become one file a symbol."""
    today = str(np.datetime64(clock.now_ns() // NS_PER_US, "us").astype("datetime64[D]"))
    lake = lake_of(settings)
    for table in TABLES:
        files = compact(lake, table, before_date=today, clock=clock)
        if files:
            rows = sum(file.rows for file in files)
            say(f"{table}: {len(files)} day files, {rows:,} rows")
    say("compacted")
    return 0
