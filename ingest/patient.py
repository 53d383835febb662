"""The store as a feed sees it that may wait: a full disk is told and waited for."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from core.batch import Rejected, TickBatch
from core.board import Board
from core.errors import DiskFull
from core.log import Log
from ingest.gapbook import Ledger

log = Log("ingest")
RETRY_S = 1.0

Take = Callable[[TickBatch], int]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PatientStore:
    """Waits while the disk is full, shown as a part beside `part`, whose state is not ours.

    Raise DiskFull only when told to stop.
    """

    keep: Take
    ledger: Ledger
    board: Board
    part: str
    stopping: threading.Event

    def take(self, batch: TickBatch) -> int:
        """Guard and store rows; give how many were stored."""
        return self._wait(lambda: self.keep(batch))

    def append_rows(self, table: str, rows: pa.RecordBatch | Sequence[dict[str, object]], /) -> int:
        """Keep rows of a slow table."""
        return self._wait(lambda: self.ledger.append_rows(table, rows))

    def append(self, batch: TickBatch, /) -> object:
        """Store rows the guard may not have seen."""
        return self.take(batch)

    def reject(self, rejected: Sequence[Rejected], /) -> None:
        """Keep refused rows."""
        self._wait(lambda: self.ledger.reject(rejected))

    def seal(self, symbols: list[str], /) -> None:
        """A feed leaves sealing to its time."""

    @property
    def seals_apart(self) -> bool:
        """A feed's rows are hot first."""
        return False

    def seal_apart(
        self, table: str, symbol: str, parts: Iterable[TickBatch | pa.RecordBatch], /
    ) -> None:
        """A feed's rows are hot first."""
        raise AssertionError(f"rows of {table} {symbol} go through the hot hour")

    def commit(self) -> None:
        """Make everything durable."""
        self.ledger.commit()

    def _wait(self, write: Callable[[], T]) -> T:
        has_failed = False
        while True:
            try:
                written = write()
            except DiskFull as error:
                has_failed = True
                self.board.state(f"{self.part} disk", "down", error.message)
                log.error("disk.full", part=self.part, error=error.message, hint=error.hint)
                if self.stopping.wait(RETRY_S):
                    raise  # what is not stored lies after the last row, and is asked for again
            else:
                if has_failed:
                    self.board.state(f"{self.part} disk", "ok", "there is room again")
                return written
