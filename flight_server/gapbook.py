"""Which holes of the tape overlap a range: said in an answer's metadata, or refused by strict=1."""

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa

from core.clock import US_PER_S
from core.errors import GapInRange
from storage.view import View

GAPS_SHOWN_MAX = 50
EVERY_SYMBOL = "*"


@dataclass(frozen=True, slots=True)
class Gap:
    """One hole that is not repaired; `to_us` None while it lasts."""

    table: str
    symbol: str
    from_us: int
    to_us: int | None
    reason: str
    state: str

    def overlaps(self, start_us: int | None, end_us: int | None) -> bool:
        """Whether it reaches into the half-open range."""
        return (end_us is None or self.from_us < end_us) and (
            start_us is None or self.to_us is None or self.to_us >= start_us
        )

    def shown(self) -> dict[str, object]:
        """As JSON for clients, times in ISO-8601."""
        found = asdict(self)
        from_us, to_us = found.pop("from_us"), found.pop("to_us")
        return {**found, "from": iso(from_us), "to": None if to_us is None else iso(to_us)}


class GapBook:
    """The unrepaired gaps, read again only when table `gaps` moved."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: tuple[int, int] = (-1, -1)
        self._gaps: tuple[Gap, ...] = ()

    def unrepaired(self, view: View) -> tuple[Gap, ...]:
        """Every gap that is open or can never be repaired."""
        seen = (view.watermarks("gaps").visible_seq, view.snapshot("gaps").version)
        with self._lock:
            if seen != self._seen:
                self._gaps = _unrepaired(_rows(view))
                self._seen = seen
            return self._gaps

    def overlapping(
        self, view: View, table: str, symbol: str, start_us: int | None, end_us: int | None
    ) -> list[Gap]:
        """The gaps of one table and symbol that reach into a range."""
        return [
            gap
            for gap in self.unrepaired(view)
            if gap.table == table
            and gap.symbol in (symbol, EVERY_SYMBOL)
            and gap.overlaps(start_us, end_us)
        ]


def refuse_gaps(gaps: list[Gap]) -> None:
    """Raise GapInRange where there is any."""
    if gaps:
        first = gaps[0].shown()
        raise GapInRange(
            f"{len(gaps)} unrepaired gap(s) in the range, the first from {first['from']} "
            f"to {first['to'] or 'now'}: {first['reason']}",
            hint="ask without strict=1, or for a range without gaps (action gaps lists them)",
        )


def iso(time_us: int) -> str:
    """Epoch microseconds as text."""
    seconds, rest = divmod(time_us, US_PER_S)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"


def _rows(view: View) -> Iterable[pa.RecordBatch]:
    for symbol in view.symbols("gaps"):
        yield from view.scan("gaps", symbol)


def _unrepaired(batches: Iterable[pa.RecordBatch]) -> tuple[Gap, ...]:
    """Rows of one gap_id tell its life; the one with the highest seq is how it stands."""
    newest: dict[tuple[str, int], tuple[int, Gap]] = {}
    for batch in batches:
        times = {
            name: batch.column(name).cast(pa.int64()).to_pylist() for name in ("from_ts", "to_ts")
        }
        words = {
            name: batch.column(name).to_pylist()
            for name in ("symbol", "table_name", "reason", "state", "seq", "gap_id")
        }
        for row in range(batch.num_rows):
            gap = Gap(
                words["table_name"][row],
                words["symbol"][row],
                times["from_ts"][row],
                times["to_ts"][row],
                words["reason"][row],
                words["state"][row],
            )
            key, seq = (gap.table, words["gap_id"][row]), words["seq"][row]
            if key not in newest or newest[key][0] < seq:
                newest[key] = (seq, gap)
    found = [gap for _, gap in newest.values() if gap.state != "backfilled"]
    return tuple(sorted(found, key=lambda gap: (gap.from_us, gap.symbol)))
