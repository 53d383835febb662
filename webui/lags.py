"""How far what is durable, and what Redis has, lags behind what is visible, with its last minute.

Watermarks are read once a second; nothing is asked of the writer.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.board import BoardStatus
from core.errors import PipelineError
from core.schema import LOGGED_TABLES
from webui.sheet import Sheet, spark_path
from webui.tape import StoreTape
from webui.words import DASH, format_count, format_ms

TREND_S = 60
FULL_MS = 100.0  # a lag of this fills the small graph's height; longer ones fill it themselves
REDIS, MIRROR = "redis", "mirror"


@dataclass(frozen=True, slots=True)
class Lag:
    """One line: rows behind, and how long they took to come, in ms; None where not known."""

    visible: int | None
    behind: int
    unsealed: int | None
    ms: float | None
    rate: float | None


class Lags:
    """The lags at the last look, by table and `redis`."""

    def __init__(self) -> None:
        self.now: Mapping[str, Lag] = {}
        self._trends: dict[str, deque[float]] = {}

    def look(
        self, tape: StoreTape, rates: Mapping[str, float], boards: Sequence[BoardStatus]
    ) -> None:
        """Take the present lags in; once a second."""
        found = {}
        for table in LOGGED_TABLES:
            try:
                found[table.name] = _of_table(tape, table.name, rates.get(table.name))
            except PipelineError:
                continue  # its process has not begun
        gauges = next((b["gauges"] for b in boards if b["process"] == MIRROR and b["is_alive"]), {})
        if "lag_ms" in gauges:
            behind = int(gauges.get("behind_rows", 0))
            found[REDIS] = Lag(None, behind, None, gauges["lag_ms"], None)
        for name, lag in found.items():
            self._trends.setdefault(name, deque(maxlen=TREND_S)).append(lag.ms or 0.0)
        self.now = found

    def sheet(self) -> Sheet:
        """The lines as cells."""
        sheet = Sheet()
        for name, lag in self.now.items():
            key = f"mark.{name}"
            sheet.t[f"{key}.visible"] = DASH if lag.visible is None else f"{lag.visible:,}"
            sheet.t[f"{key}.behind"] = f"{lag.behind:,}"
            sheet.t[f"{key}.unsealed"] = DASH if lag.unsealed is None else f"{lag.unsealed:,}"
            sheet.t[f"{key}.lag"] = format_ms(lag.ms)
            sheet.t[f"{key}.rate"] = DASH if lag.rate is None else f"{format_count(lag.rate)}/s"
            sheet.g[f"{key}.spark"] = spark_path(self._trends[name], FULL_MS)
        return sheet


def _of_table(tape: StoreTape, table: str, rate: float | None) -> Lag:
    marks = tape.watermarks(table)
    # Rows of a long file go straight to the lake and were never hot.
    sealed = max([*tape.sealed(table).sealed_seq.values(), tape.first_seq(table) - 1])
    behind = marks.visible_seq - marks.durable_seq
    ms = None if not rate else behind / rate * 1_000
    return Lag(marks.visible_seq, behind, marks.visible_seq - sealed, ms, rate)
