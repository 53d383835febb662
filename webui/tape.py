"""The store as pages and the status command see it."""

import threading

import pyarrow as pa

from storage.head import Watermarks
from storage.paths import Paths
from storage.view import Views


class StoreTape:
    """The store as the pages see it; opened when first asked, since it may start after us."""

    def __init__(self, paths: Paths, lake_url: str) -> None:
        self._paths = paths
        self._lake_url = lake_url
        self._opened: Views | None = None
        self._lock = threading.Lock()

    def symbols(self) -> list[str]:
        return self._views().view().symbols("trades")

    def latest(self, symbol: str) -> pa.RecordBatch | None:
        # From memory alone: looking into the lake for quiet symbols would cost a file each.
        return self._views().hot.latest(symbol)

    def watermarks(self, table: str) -> Watermarks:
        return self._views().view().watermarks(table)

    def _views(self) -> Views:
        with self._lock:
            if self._opened is None:
                self._opened = Views(self._paths, self._lake_url)
            return self._opened
