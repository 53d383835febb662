"""What the feed shows on the health board.

Part `dxlink` says whether the tape of everything listened to is whole. Gauges, by contract:
`dxlink.grade.X` (0 unproven, 1 every print, 2 asking for candles of one trade, 3 such candles, 4
last values), `dxlink.gap_s.X` (how long the open gap has lasted, 0 without one),
`dxlink.silent_s.X` (since the last live print) and `dxlink.lag_ms.X` (from its time to when it
came).
"""

from collections.abc import Iterable

from core.board import Board
from core.clock import NS_PER_S, US_PER_S
from ingest.dxlink_grade import GRADES, Grade
from ingest.dxlink_line import Line
from ingest.gapbook import GapBook
from ingest.rolls import Instrument

PART = "dxlink"
NAMED_MAX = 8
US_PER_MS = 1_000


def show(
    board: Board,
    grades: Iterable[tuple[Instrument, Grade]],
    lines: Iterable[Line],
    book: GapBook,
    now_ns: int,
    monotonic_ns: int,
) -> None:
    """Put everything on the board."""
    lacks = []
    for about, grade in grades:
        contract = about.contract
        board.gauge(f"dxlink.grade.{contract}", GRADES.index(grade))
        gap = book.open_gap(contract)
        lasted_s = 0.0 if gap is None else max(now_ns / NS_PER_S - gap.from_us / US_PER_S, 0.0)
        board.gauge(f"dxlink.gap_s.{contract}", lasted_s)
        if gap is not None:
            lacks.append(f"{contract}: {gap.reason}")
    for line in lines:
        silent_s = (monotonic_ns - line.heard_ns) / NS_PER_S
        board.gauge(f"dxlink.silent_s.{line.instrument.contract}", silent_s)
        board.gauge(f"dxlink.lag_ms.{line.instrument.contract}", line.lag_us / US_PER_MS)
    if lacks:
        rest = f" and {len(lacks) - NAMED_MAX} more" if len(lacks) > NAMED_MAX else ""
        board.state(PART, "degraded", "; ".join(lacks[:NAMED_MAX]) + rest)
    else:
        board.state(PART, "ok", "every tape is whole")
