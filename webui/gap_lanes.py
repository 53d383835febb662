"""Gaps over time: a lane for each symbol, table and source, a mark for each gap. Pure.

A mark leads to its gap's line in the table, which says the same in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.board import BoardStatus
from core.clock import DAY_US, HOUR_NS, HOUR_US, US_PER_S
from core.session import session_at
from webui.backfill import hindrance_of
from webui.ledger import GapRow
from webui.words import DASH, format_age, format_count, iso_utc

WIDTH = 1_000  # of a lane, in its own units
LANES_MAX = 24
SPANS_DAYS = {"day": 1, "week": 7, "month": 30}
SPAN_DEFAULT = "week"
MARKS = {"open": "degraded", "backfilled": "ok"}
STATES = {"open": "open", "backfilled": "filled", "unrepairable": "lost"}


@dataclass(frozen=True, slots=True)
class Mark:
    """One gap in its lane, in units of WIDTH; `words` say what the picture shows."""

    key: str
    x: float
    width: float
    look: str
    words: str


@dataclass(frozen=True, slots=True)
class Lane:
    """The gaps of one symbol, table and source, the oldest first."""

    symbol: str
    table: str
    source: str
    marks: Sequence[Mark]

    @property
    def open_count(self) -> int:
        """How many are open."""
        return sum(mark.look == "open" for mark in self.marks)


@dataclass(frozen=True, slots=True)
class Lanes:
    """The whole picture; `hidden` gaps are of lanes beyond LANES_MAX or before the span."""

    span: str
    lanes: Sequence[Lane]
    ticks: Sequence[tuple[float, str]]
    closed: str
    hidden: int


def key_of(gap: GapRow) -> str:
    """What names a gap on the page."""
    return f"{gap.table}.{gap.gap_id}"


def gap_line(gap: GapRow, boards: Sequence[BoardStatus], now_us: int) -> dict[str, object]:
    """A gap as a line of the table; `hindrance` is why nobody can be asked to fill it."""
    end_us = now_us if gap.to_us is None else gap.to_us
    lasted = format_age(max(end_us - gap.from_us, 0) / US_PER_S)
    return {
        "key": key_of(gap),
        "mark": MARKS.get(gap.state, "down"),
        "from_ms": gap.from_us // 1_000,
        "symbol": gap.symbol,
        "table": gap.table,
        "source": gap.source,
        "length": f"{lasted}, lasts" if gap.to_us is None else lasted,
        "reason": gap.reason,
        "rows": DASH if gap.rows is None else format_count(gap.rows),
        "state": gap.state,
        "hindrance": hindrance_of(gap, boards),
    }


def lanes_of(gaps: Sequence[GapRow], now_us: int, span: str) -> Lanes:
    """Gaps that reach into the days before now; lanes with open ones first."""
    span = span if span in SPANS_DAYS else SPAN_DEFAULT
    span_us = SPANS_DAYS[span] * DAY_US
    start_us = now_us - span_us
    grouped: dict[tuple[str, str, str], list[Mark]] = {}
    for gap in sorted(gaps, key=lambda gap: gap.from_us):
        if (now_us if gap.to_us is None else gap.to_us) >= start_us:
            lane = (gap.symbol, gap.table, gap.source)
            grouped.setdefault(lane, []).append(_mark(gap, start_us, now_us))
    lanes = [Lane(*about, marks) for about, marks in grouped.items()]
    lanes.sort(key=lambda lane: (-lane.open_count, lane.table != "trades", lane.symbol, lane.table))
    shown = lanes[:LANES_MAX]
    hidden = len(gaps) - sum(len(lane.marks) for lane in shown)
    return Lanes(span, shown, _ticks(start_us, span), _closed(start_us, now_us), hidden)


def gaps_of_day(gaps: Sequence[GapRow], start_us: int, now_us: int) -> list[tuple[str, str]]:
    """(key, words) of the gaps of trades that reach into a day and are not filled."""
    return [
        (key_of(gap), _words(gap, now_us))
        for gap in gaps
        if is_hole(gap, start_us, start_us + DAY_US)
    ]


def is_hole(gap: GapRow, start_us: int, end_us: int) -> bool:
    """Whether trades of some time are missing by a gap."""
    reaches = gap.from_us < end_us and (gap.to_us is None or gap.to_us > start_us)
    return reaches and gap.table == "trades" and gap.state != "backfilled"


def _words(gap: GapRow, now_us: int) -> str:
    end_us = now_us if gap.to_us is None else gap.to_us
    lasted = "lasts" if gap.to_us is None else format_age((end_us - gap.from_us) / US_PER_S)
    begin = iso_utc(gap.from_us * 1_000)
    return f"{gap.state}: {gap.symbol} {gap.table} from {begin}, {lasted}; {gap.reason}"


def _mark(gap: GapRow, start_us: int, now_us: int) -> Mark:
    end_us = now_us if gap.to_us is None else gap.to_us
    x, end = (
        min(max((us - start_us) / (now_us - start_us), 0), 1) * WIDTH
        for us in (gap.from_us, end_us)
    )
    look = STATES.get(gap.state, "lost")
    return Mark(key_of(gap), round(x, 2), round(max(end - x, 0), 2), look, _words(gap, now_us))


def _ticks(start_us: int, span: str) -> list[tuple[float, str]]:
    """Where days begin, or every sixth hour of the last one; in UTC, as days of the lake are."""
    step_us = {"day": 6 * HOUR_US, "week": DAY_US, "month": 5 * DAY_US}[span]
    span_us = SPANS_DAYS[span] * DAY_US
    first_us = -(-start_us // step_us) * step_us
    found = []
    for at_us in range(first_us, start_us + span_us, step_us):
        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us)
        name = f"{moment:%H:%M}" if span == "day" else f"{moment:%b} {moment.day}"
        found.append((round((at_us - start_us) / span_us * 100, 2), name))
    return found


def _closed(start_us: int, now_us: int) -> str:
    """A path over the hours in which Globex was closed: there nothing can be missing."""
    path, hour_us = "", start_us // HOUR_US * HOUR_US
    scale = WIDTH / (now_us - start_us)
    while hour_us < now_us:
        if session_at(hour_us * 1_000 + HOUR_NS // 2, "cme") == "closed":
            begin = max(hour_us - start_us, 0) * scale
            end = (min(hour_us + HOUR_US, now_us) - start_us) * scale
            path += f"M{begin:.1f} 0H{end:.1f}V24H{begin:.1f}z"
        hour_us += HOUR_US
    return path
