"""The ledger of holes: every row of table gaps that this feed writes, and reading them back.

A gap's life is told by rows with one gap_id; the last of them counts. A gap is called backfilled
only after the rows that fill it are durable.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import pyarrow as pa

from core.batch import Rejected
from core.clock import NS_PER_US, Clock
from core.log import Log
from ingest.dxlink_columns import SOURCE

log = Log("gaps")
GapState = Literal["open", "backfilled", "unrepairable"]


class Ledger(Protocol):
    """What is needed of the store beyond taking ticks."""

    def append_rows(self, table: str, rows: pa.RecordBatch | Sequence[dict[str, object]], /) -> int:
        """Keep rows of a slow table."""

    def reject(self, rejected: Sequence[Rejected], /) -> None:
        """Keep refused rows."""

    def commit(self) -> None:
        """Make everything durable."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole in a contract's rows; `to_us` is None while it lasts."""

    gap_id: int
    symbol: str
    contract: str
    from_us: int
    to_us: int | None
    reason: str
    state: GapState = "open"
    rows: int | None = None


class GapBook:
    """Opens and closes gaps of one table; one feed writes here."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        present: Iterable[Gap] = (),
        *,
        table: str = "trades",
        source: str = SOURCE,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._table = table
        self._source = source
        self._last_id = 0
        self._open = {gap.contract: gap for gap in present if gap.state == "open"}

    def open_gap(self, contract: str) -> Gap | None:
        """The gap of a contract that is not closed, from this run or an earlier one."""
        return self._open.get(contract)

    def open(self, symbol: str, contract: str, from_us: int, reason: str) -> Gap:
        """Write down that rows since `from_us` may be missing."""
        now_us = self._clock.now_ns() // NS_PER_US
        self._last_id = max(self._last_id + 1, now_us)
        gap = Gap(self._last_id, symbol, contract, from_us, None, reason)
        self._write(gap)
        self._open[contract] = gap
        log.warning("gap.opened", contract=contract, reason=reason)
        return gap

    def reopen(self, gap: Gap) -> Gap:
        """Write down that a hole which was given up is asked for once more."""
        again = replace(gap, state="open", rows=None, reason=f"{gap.reason}; asked for once more")
        self._write(again)
        self._open[gap.contract] = again
        log.info("gap.reopened", contract=gap.contract)
        return again

    def close(self, gap: Gap, state: GapState, *, to_us: int, rows: int, reason: str) -> Gap:
        """Write down how a gap ended; `reason` is added to what opened it."""
        assert state != "open"
        self._ledger.commit()
        told = f"{gap.reason}; {reason}"
        closed = replace(gap, state=state, to_us=max(to_us, gap.from_us), rows=rows, reason=told)
        self._write(closed)
        self._open.pop(gap.contract, None)
        log.info("gap.closed", contract=gap.contract, state=state, rows=rows, reason=reason)
        return closed

    def leave(self, wanted: Collection[str], reason: str) -> None:
        """Close what is open of contracts nobody looks after any more, as it stands now."""
        now_us = self._clock.now_ns() // NS_PER_US
        for gap in [gap for gap in self._open.values() if gap.contract not in wanted]:
            self.close(gap, "unrepairable", to_us=now_us, rows=0, reason=reason)

    def _write(self, gap: Gap) -> None:
        now_us = self._clock.now_ns() // NS_PER_US
        row: dict[str, object] = {
            "symbol": gap.symbol,
            "ts_event": now_us,
            "ts_recv": now_us,
            "source": self._source,
            "table_name": self._table,
            "from_ts": gap.from_us,
            "to_ts": gap.to_us,
            "reason": f"{gap.contract}: {gap.reason}",
            "state": gap.state,
            "closed_at": None if gap.state == "open" else now_us,
            "rows": gap.rows,
            "gap_id": gap.gap_id,
        }
        self._ledger.append_rows("gaps", [row])
