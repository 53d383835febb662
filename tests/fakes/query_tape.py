"""A small tape on disk for query tests: a store, a sealer, and what should be found."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from core.batch import TickBatch
from core.clock import SystemClock
from core.schema import LOGGED_TABLES
from storage.disk import OsDisk
from storage.head import Head, Word
from storage.hot import HotReader
from storage.paths import Paths
from storage.seal import Sealer
from storage.store import Store, StoreOptions

HOUR_US = 3_600_000_000
START_US = 1_763_647_200_000_000  # 2025-11-20 14:00:00 UTC


class QueryTape:
    """Writes like the ingest process does."""

    def __init__(self, root: Path) -> None:
        self.clock = SystemClock()
        self.paths = Paths(root)
        self.lake_url = str(self.paths.lake())
        tables = frozenset(table.name for table in LOGGED_TABLES)
        self.store = Store.open(
            self.paths, StoreOptions(tables=tables), disk=OsDisk(), clock=self.clock
        )
        self.sealer = Sealer(self.lake_url, self.clock)
        self.hot = HotReader(self.paths)
        self._numbers = 0
        self._versions = 0

    def add(
        self, symbol: str, count: int, hour: int = 0, contract: str = "", **columns: object
    ) -> None:
        """Append trades of one hour, in random order of time."""
        rng = np.random.default_rng(self._numbers)
        ts = START_US + hour * HOUR_US + rng.integers(0, HOUR_US, count)
        given: dict[str, object] = {
            "ts_event": ts,
            "ts_recv": ts + 1_000,
            "price": 20_000 + rng.integers(-100, 100, count) * 0.25,
            "size": rng.integers(1, 9, count),
            "side": rng.integers(-1, 2, count).astype(np.int8),
            "source_seq": np.arange(self._numbers + 1, self._numbers + count + 1),
        }
        self._numbers += count
        batch = TickBatch("trades", symbol, contract or f"{symbol}Z5", "test", {**given, **columns})
        self.store.append(batch)

    def seal(self, symbol: str, table: str = "trades") -> None:
        """Seal every row of a symbol and tell the readers."""
        slices = self.hot.slices(table, symbol)
        batches = [part.batch for part in slices]
        self.sealer.seal(table, symbol, batches, slices[-1].last_seq)
        self._versions += 1
        head = Head(self.paths.head(table), is_writer=True)
        head.words[Word.LAKE_VERSION] = self._versions

    def truth(self) -> pa.Table:
        """Every trade ever added; all of them are still hot."""
        batches = [
            part.batch
            for symbol in self.hot.symbols("trades")
            for part in self.hot.slices("trades", symbol)
        ]
        return pa.Table.from_batches(batches).unify_dictionaries()

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()
