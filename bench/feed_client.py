"""Our side of the feed's measurement: socket, decoder, guard and store, in a process of its own.

Run as a program with the websocket's address and how many prints will come. It says what they
cost it as JSON.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import numpy as np

from bench.feed_server import SYMBOLS
from core.batch import TickBatch
from core.board import Board
from core.clock import NS_PER_S, NS_PER_US, SystemClock
from ingest.dxlink_client import Access
from ingest.dxlink_feed import Periods, run
from ingest.dxlink_keeper import Place
from ingest.dxlink_tape import StoredTape
from ingest.guard import check
from ingest.rolls import Instrument
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store
from storage.view import Views

CLOCK = SystemClock()


class OpenGate:
    """Lets the feed in to one address."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._instruments = tuple(Instrument(name, name, name, "cme") for name in SYMBOLS)

    async def __aenter__(self) -> object:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    async def fetch_access(self) -> Access:
        """Always the same."""
        return Access(self._url, "QT", self._instruments)

    async def fetch_instruments(self) -> tuple[Instrument, ...]:
        """Always the same."""
        return self._instruments


class Account:
    """What the rows cost, from the first one stored to the last."""

    def __init__(self, store: Store, wanted: int) -> None:
        self._store = store
        self._wanted = wanted
        self._first: tuple[int, int, int] | None = None
        self.rows = 0
        self.lags_ms: list[float] = []
        self.result: dict[str, float] = {}
        self.done = threading.Event()

    def take(self, batch: TickBatch) -> int:
        """Guard, store and measure, as the ingest process does."""
        good, rejected = check(batch, CLOCK.now_ns() // NS_PER_US)
        assert not rejected, rejected[0].reason
        self._store.append(good)
        now_ns = CLOCK.now_ns()
        oldest_us = int(np.asarray(good.columns["ts_event"]).min())
        self.lags_ms.append(now_ns / 1e6 - oldest_us / 1e3)
        self.rows += good.rows
        if self._first is None:
            self._first = self.rows, CLOCK.monotonic_ns(), time.process_time_ns()
        elif self.rows == self._wanted:
            rows, wall_ns, cpu_ns = self._first
            cpu_s = (time.process_time_ns() - cpu_ns) / NS_PER_S
            wall_s = (CLOCK.monotonic_ns() - wall_ns) / NS_PER_S
            self.result = {
                "rows": self.rows - rows,
                "cpu_s": cpu_s,
                "wall_s": wall_s,
                "lag_ms_p99": float(np.percentile(self.lags_ms, 99)),
            }
            self.done.set()
        return good.rows


def main(url: str, wanted: int) -> None:
    """Feed a store of its own until all prints came."""
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        paths = Paths(Path(folder))
        paths.run.mkdir(parents=True)
        store = Store.open(paths, disk=OsDisk(), clock=CLOCK)
        account, board, stopping = Account(store, wanted), Board("bench", CLOCK), threading.Event()
        tape = StoredTape(Views(paths, str(paths.lake())))
        place = Place(account.take, store, tape, board)
        feed = threading.Thread(
            target=run,
            args=(OpenGate(url), place),
            kwargs={
                "clock": CLOCK,
                "journal": paths.run / "journal",
                "periods": Periods(),
                "stopping": stopping,
            },
        )
        feed.start()
        account.done.wait()
        stopping.set()
        feed.join()
        store.close()
        counters = board.snapshot()["counters"]
        print(json.dumps({**account.result, **counters}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
