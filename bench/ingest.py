"""Ticks a second through guard and hot segment with group commit on, one core."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.figure import Figure
from core.batch import TickBatch
from core.clock import NS_PER_S, NS_PER_US, SystemClock
from ingest.guard import check
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store

SYMBOLS = ("MES", "MNQ", "NQ", "SPY", "QQQ", "VIX")
GOALS = {1000: 2_000_000.0, 10: 200_000.0}
ROUNDS = 3


def bench_ingest(*, quick: bool) -> list[Figure]:
    """One figure a batch size; the floor is a bare copy of the same columns."""
    figures = []
    for batch_rows, goal in GOALS.items():
        total = (1_000_000 if batch_rows == 1000 else 100_000) // (4 if quick else 1)
        rates = [_rate(batch_rows, total) for _ in range(ROUNDS)]
        figures.append(
            Figure(
                f"ingest, batches of {batch_rows:,}",
                float(np.median(rates)),
                "ticks/s",
                goal,
                more_is_better=True,
            )
        )
    return figures


def _rate(batch_rows: int, total: int) -> float:
    clock = SystemClock()
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        store = Store.open(Paths(Path(folder)), disk=OsDisk(), clock=clock)
        try:
            now_us = clock.now_ns() // NS_PER_US
            batches = [make_trades(symbol, batch_rows, now_us) for symbol in SYMBOLS]
            rejected_count = 0
            started_ns = clock.monotonic_ns()
            for step in range(total // batch_rows):
                good, rejected = check(batches[step % len(batches)], now_us)
                store.append(good)
                rejected_count += len(rejected)
            store.commit()
            seconds = (clock.monotonic_ns() - started_ns) / NS_PER_S
            rows = total // batch_rows * batch_rows
            marks = store.watermarks("trades")
            assert marks.durable_seq + rejected_count == rows, (marks, rows)
            return rows / seconds
        finally:
            store.close()


def make_trades(symbol: str, rows: int, start_us: int, source: str = "bench") -> TickBatch:
    """A batch of plausible trades a microsecond apart."""
    steps = np.arange(rows)
    columns: dict[str, NDArray[np.generic]] = {
        "ts_event": start_us + steps,
        "ts_ns": (steps % 1000).astype(np.int16),
        "ts_recv": start_us + steps,
        "price": 20_000 + (steps % 400) * 0.25,
        "size": steps % 9 + 1,
        "side": (steps % 2 * 2 - 1).astype(np.int8),
        "bid": 19_999.75 + (steps % 400) * 0.25,
        "ask": 20_000.25 + (steps % 400) * 0.25,
        "source_seq": steps,
    }
    return TickBatch("trades", symbol, f"{symbol}Z6", source, columns)
