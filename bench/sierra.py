"""Sierra Chart's files: decoding, the book, a whole day's import, and how soon a record is seen.

Rates are of the kernel and decoder after a warm-up; the import runs in a process of its own, with
the load of the compiled kernel and its start counted in.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from bench.depth_days import BUSY_DAY_ROWS, NAME, START_US, day, header, write_day
from bench.figure import Figure
from bench.peak import run_to_peak
from core.batch import TickBatch
from core.clock import NS_PER_MS, NS_PER_S, US_PER_S, SystemClock
from ingest import depth
from ingest.book import Book
from ingest.contract import front_contract
from ingest.depth import DepthNaming
from ingest.sierra_file import EPOCH_US, Records
from storage.hot import HotReader
from storage.manifest import Manifest
from storage.paths import Paths

ROUNDS = 5
LAG_RECORDS = 40
SEEN_S_MAX = 60
_CLOCK = SystemClock()
_NAMING = DepthNaming("ES", "ESH24", 100, datetime.fromtimestamp(START_US // US_PER_S, UTC).date())


def bench_sierra(*, quick: bool) -> list[Figure]:
    """Every figure of this room."""
    rows = 1_000_000 if quick else 5_000_000
    records = np.concatenate(list(day(rows)))
    return [
        _decoding(records),
        *_books(records),
        *_import(1_000_000 if quick else BUSY_DAY_ROWS),
        _lag(LAG_RECORDS // 4 if quick else LAG_RECORDS),
    ]


def _seconds(work: Callable[[], object]) -> float:
    """The median of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        started_ns = _CLOCK.monotonic_ns()
        work()
        taken.append((_CLOCK.monotonic_ns() - started_ns) / NS_PER_S)
    return float(np.median(taken))


def _decoding(records: Records) -> Figure:
    """Bytes to Arrow, in chunks of a file's size."""
    raw, size = records.tobytes(), depth.RECORD.itemsize
    step = depth.FORMAT.chunk_records

    def decode() -> None:
        for first in range(0, len(records), step):
            part = raw[first * size : (first + step) * size]
            found = np.frombuffer(part, depth.RECORD)
            assert depth.decode(found, first, _NAMING, 0).batch.to_arrow().num_rows == len(found)

    rate = len(records) / _seconds(decode)
    return Figure("depth decode to Arrow", rate, "records/s", 10e6, more_is_better=True)


def _books(records: Records) -> list[Figure]:
    """The kernel over decoded rows, in chunks of a file's size."""
    step = depth.FORMAT.chunk_records
    batches = [
        depth.decode(records[first : first + step], first, _NAMING, 0).batch
        for first in range(0, len(records), step)
    ]
    figures = []
    for name, goal, wants_ladders in (
        ("book, best prices at every batch", 20e6, False),
        ("book, ten levels each 100 ms", 50e6, True),
    ):
        rate = len(records) / _seconds(partial(_rebuild, batches, wants_ladders))
        figures.append(
            Figure(f"{name} (numba, cached)", rate, "records/s", goal, more_is_better=True)
        )
    return figures


def _rebuild(batches: list[TickBatch], wants_ladders: bool) -> None:
    book = Book(0.25)
    for batch in batches:
        book.apply(batch, wants_bests=not wants_ladders, wants_ladders=wants_ladders)
    assert book.is_valid


def _import(rows: int) -> list[Figure]:
    """`tickflight import` of one day, end to end, and the most memory it held."""
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        path = Path(folder) / NAME
        written = write_day(path, rows)
        data = Path(folder) / "data"
        command = [sys.executable, "-m", "tickflight", "import", str(path), "--data-dir", str(data)]
        seconds, memory = run_to_peak(command)
        sealed = Manifest(str(data / "lake"), "depth").refresh()
        assert sealed.rows == written, (sealed.rows, written)
        size_bytes = sum(partition.bytes for partition in sealed.pruned())
    told = f"of {written:,} depth records"
    return [
        Figure(f"import {told}", written / seconds, "records/s", 2e6, more_is_better=True),
        Figure(f"memory of an import {told}", memory, "MiB", 1000, more_is_better=False),
        Figure("Parquet of a depth record", size_bytes / written, "bytes", 5, more_is_better=False),
    ]


def _lag(records: int) -> Figure:
    """From a record in the file to the row in a reader's hands, beside a running writer."""
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        sierra = Path(folder) / "Sierra" / "Data" / "MarketDepthData"
        sierra.mkdir(parents=True)
        today = datetime.fromtimestamp(_CLOCK.now_ns() // NS_PER_S, UTC).date()
        contract = front_contract("ES", today).contract
        path = sierra / f"{contract}_FUT_CME.{today.isoformat()}.depth"
        path.write_bytes(header())
        with _running(Path(folder), sierra.parent.parent) as data:
            reader = HotReader(Paths(data))
            _visible_ms(path, reader)  # the kernel is loaded
            taken = [_visible_ms(path, reader) for _ in range(records)]
    return Figure(
        "file to visible, median", float(np.median(taken)), "ms", 300, more_is_better=False
    )


@contextmanager
def _running(folder: Path, sierra: Path) -> Iterator[Path]:
    """A tickflight that follows Sierra's folder; its data folder."""
    data = folder / "data"
    command = [sys.executable, "-m", "tickflight", "up", "--data-dir", str(data)]
    command += ["--flight-port", "0", "--web-port", "0"]
    environment = {**os.environ, "SIERRA_DIR": str(sierra.absolute())}  # noqa: TID251
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"ready"), "tickflight did not start"
        yield data
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _visible_ms(path: Path, reader: HotReader) -> float:
    records = np.zeros(1, depth.RECORD)
    records["time"] = _CLOCK.now_ns() // 1_000 + EPOCH_US
    records["command"], records["flags"], records["price"] = 4, 1, 650_000
    seen = reader.watermarks("depth").visible_seq
    with path.open("ab") as file:
        file.write(records.tobytes())
    started_ns = _CLOCK.monotonic_ns()
    pause = threading.Event()
    while reader.watermarks("depth").visible_seq == seen:
        pause.wait(0.001)
        assert _CLOCK.monotonic_ns() - started_ns < SEEN_S_MAX * NS_PER_S, "a record was not seen"
    return (_CLOCK.monotonic_ns() - started_ns) / NS_PER_MS
