"""What is missing, refused or proven: gaps, rejects, spot checks; read when their tables moved."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from core.clock import DAY_US, NS_PER_US
from core.errors import PipelineError
from core.log import Log
from webui.tape import StoreTape

GAPS_KEPT = 2_000
REJECTS_KEPT = 50_000
CHECKS_KEPT = 5_000
log = Log("web")


@dataclass(frozen=True, slots=True)
class GapRow:
    """One gap as it stands; `source` is who wrote it down first."""

    gap_id: int
    table: str
    symbol: str
    from_us: int
    to_us: int | None
    reason: str
    state: str
    rows: int | None
    seq: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One sample held against a witness, of rows from `from_us` to `to_us`."""

    ts_us: int
    symbol: str
    table: str
    witness: str
    outcome: str
    rows: int
    matched: int
    detail: str
    from_us: int | None = None
    to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """All of it at one moment; `rejects` by reason and `checks` are of the last 24 hours."""

    gaps: Sequence[GapRow] = ()
    rejects: Sequence[tuple[str, int]] = ()
    checks: Sequence[CheckRow] = field(default=())

    @property
    def open_gaps(self) -> list[GapRow]:
        """Gaps that are neither filled nor given up."""
        return [gap for gap in self.gaps if gap.state == "open"]

    def gaps_since(self, start_us: int, symbol: str = "") -> list[GapRow]:
        """Gaps that reach past a moment, of one symbol or of all."""
        return [
            gap
            for gap in self.gaps
            if (gap.to_us is None or gap.to_us >= start_us)
            and (not symbol or gap.symbol in (symbol, "*"))
        ]

    def score(self) -> tuple[int, int, int]:
        """(rows that matched, rows compared, samples that could be compared)."""
        compared = [check for check in self.checks if check.rows > 0]
        return sum(c.matched for c in compared), sum(c.rows for c in compared), len(compared)


class Ledger:
    """Keeps the account; `look` reads only tables that moved."""

    def __init__(self, tape: StoreTape) -> None:
        self._tape = tape
        self._seen: dict[str, tuple[int, int]] = {}
        self.account = Account()

    def look(self, now_ns: int) -> bool:
        """Read what moved; whether anything did."""
        since_us = now_ns // NS_PER_US - DAY_US
        was = self.account
        account = Account(
            self._gaps() if self._moved("gaps") else was.gaps,
            self._rejects(since_us) if self._moved("rejects") else was.rejects,
            self._checks(since_us) if self._moved("spot_checks") else was.checks,
        )
        self.account = account
        return account != was

    def _moved(self, table: str) -> bool:
        version = self._tape.version(table)
        if version == (-1, -1) or version == self._seen.get(table):
            return False
        self._seen[table] = version
        return True

    def _rows(self, table: str, since_us: int | None) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        try:
            for symbol in self._tape.symbols(table):
                for batch in self._tape.rows(table, symbol, since_us):
                    names = [n for n in batch.schema.names if n != "raw"]
                    found += batch.select(names).to_pylist()
        except PipelineError as error:
            log.warning("ledger.not_read", table=table, why=error.message)
        return found

    def _gaps(self) -> list[GapRow]:
        """Rows of one gap_id tell its life; the one with the highest seq is how it stands."""
        newest: dict[tuple[object, object], GapRow] = {}
        openers: dict[tuple[object, object], tuple[int, str]] = {}  # another may close a gap
        for row in self._rows("gaps", None):
            gap = GapRow(
                int(str(row["gap_id"])),
                str(row["table_name"]),
                str(row["symbol"]),
                _us(row["from_ts"]) or 0,
                _us(row["to_ts"]),
                str(row["reason"]),
                str(row["state"]),
                None if row["rows"] is None else int(str(row["rows"])),
                int(str(row["seq"])),
            )
            first = openers.get((gap.table, gap.gap_id), (gap.seq, ""))[0]
            if gap.seq <= first:
                openers[gap.table, gap.gap_id] = (gap.seq, str(row["source"]))
            known = newest.get((gap.table, gap.gap_id))
            if known is None or known.seq < gap.seq:
                newest[gap.table, gap.gap_id] = gap
        told = [replace(gap, source=openers[about][1]) for about, gap in newest.items()]
        ordered = sorted(told, key=lambda gap: (gap.state != "open", -gap.from_us))
        return ordered[:GAPS_KEPT]

    def _rejects(self, since_us: int) -> list[tuple[str, int]]:
        rows = self._rows("rejects", since_us)[-REJECTS_KEPT:]
        return Counter(str(row["reason"]) for row in rows).most_common(8)

    def _checks(self, since_us: int) -> list[CheckRow]:
        found = [
            CheckRow(
                _us(row["ts_event"]) or 0,
                str(row["symbol"]),
                str(row["table_name"]),
                str(row["witness"]),
                str(row["outcome"]),
                int(str(row["rows"])),
                int(str(row["matched"])),
                str(row["detail"]),
                _us(row["from_ts"]),
                _us(row["to_ts"]),
            )
            for row in self._rows("spot_checks", since_us)
        ]
        return sorted(found, key=lambda check: -check.ts_us)[:CHECKS_KEPT]


def _us(moment: object) -> int | None:
    """A naive UTC time as epoch microseconds."""
    if not isinstance(moment, datetime):
        return None
    return int(moment.replace(tzinfo=UTC).timestamp() * 1_000_000)
