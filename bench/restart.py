"""How long a start with a full hot hour takes, beyond one with nothing."""

import tempfile
from pathlib import Path

from bench.figure import Figure
from bench.ingest import SYMBOLS, make_trades
from core.clock import NS_PER_S, NS_PER_US, SystemClock
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store

FULL_ROWS = 36_000_000
BATCH_ROWS = 16_384


def bench_restart(*, quick: bool) -> list[Figure]:
    """Seconds of recovery of 36 M rows (quick: an eighth, told as such) less those of none."""
    total = FULL_ROWS // (8 if quick else 1)
    clock = SystemClock()
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        paths = Paths(Path(folder))
        empty_s = _open_s(paths)
        store = Store.open(paths, disk=OsDisk(), clock=clock)
        start_us = clock.now_ns() // NS_PER_US
        for step in range(-(-total // BATCH_ROWS)):
            symbol = SYMBOLS[step % len(SYMBOLS)]
            store.append(make_trades(symbol, BATCH_ROWS, start_us + step * BATCH_ROWS))
        store.close()
        full_s = _open_s(paths)
    return [
        Figure(
            f"restart with {total:,} hot rows, beyond empty",
            full_s - empty_s,
            "s",
            2.0,
            more_is_better=False,
        )
    ]


def _open_s(paths: Paths) -> float:
    clock = SystemClock()
    started_ns = clock.monotonic_ns()
    store = Store.open(paths, disk=OsDisk(), clock=clock)
    seconds = (clock.monotonic_ns() - started_ns) / NS_PER_S
    store.close()
    return seconds
