"""Which hours of which days are in the lake, held against the hours in which the market was open.

It is made from the manifest alone: a partition covers the hours from its first to its last row.
A hole inside them is a matter of table `gaps`; a day one reaches into is shown as partial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from core.clock import DAY_US, HOUR_NS, HOUR_US, NS_PER_S, NS_PER_US
from core.session import session_at
from storage.manifest import Partition, Snapshot
from webui.ledger import GapRow
from webui.market import market_of

CELL, CELL_GAP = 11, 3
DAYS_SHOWN = 371  # 53 weeks
LEVELS = ("void", "none", "low", "part", "most", "full", "gap", "hot")


@dataclass(frozen=True, slots=True)
class DayCoverage:
    """One day over all symbols; `level` is one of LEVELS, `void` where nothing was to be had."""

    day: date
    sealed_hours: int
    expected_hours: int
    level: str


class Coverage:
    """The map of a year; built anew when the manifest, the gaps or the hour moved."""

    def __init__(self) -> None:
        self.days: Sequence[DayCoverage] = ()
        self.paths: Mapping[str, str] = {}
        self.months: Sequence[tuple[str, int, int]] = ()
        self.width = 0
        self._expected: dict[tuple[date, str], frozenset[int]] = {}

    def build(
        self, snapshot: Snapshot, gaps: Sequence[GapRow], symbols: Sequence[str], now_ns: int
    ) -> None:
        """Count sealed and expected hours of every day shown."""
        hours = sealed_hours(snapshot.pruned(start_us=now_ns // NS_PER_US - DAYS_SHOWN * DAY_US))
        today = datetime.fromtimestamp(now_ns / NS_PER_S, UTC).date()
        gap_days = _days_of(gaps, now_ns)
        known = [symbol for symbol in hours if symbol] or list(symbols)
        # No hour before the first that was sealed is missed.
        sealed_from = (
            (day, min(has)) for days in hours.values() for day, has in days.items() if has
        )
        begun = min(sealed_from, default=None)
        found = []
        for back in range(DAYS_SHOWN - 1, -1, -1):
            day = today - timedelta(days=back)
            sealed = expected = 0
            for symbol in known:
                has = hours.get(symbol, {}).get(day, frozenset())
                wanted = frozenset(
                    hour
                    for hour in self.expected(day, symbol, now_ns)
                    if begun is not None and (day, hour) >= begun
                )
                # One under way, or of a closed market, may be sealed all the same.
                expected += len(wanted | has)
                sealed += len(has)
            is_today = bool(known) and back == 0
            level = _level(sealed, expected, is_gap=day in gap_days, is_today=is_today)
            found.append(DayCoverage(day, sealed, expected, level))
        self.days = found
        self.months = by_month(found)
        self.paths, self.width = grid_paths(found)

    def expected(self, day: date, symbol: str, now_ns: int) -> frozenset[int]:
        """UTC hours of a day that are over and in which the symbol's market was open."""
        market = market_of(symbol)
        begin_ns = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * NS_PER_S
        key = (day, market)
        if key not in self._expected:
            self._expected[key] = frozenset(
                hour
                for hour in range(24)
                if session_at(begin_ns + hour * HOUR_NS + HOUR_NS // 2, market) != "closed"
            )
        over = (now_ns - begin_ns) // HOUR_NS
        return frozenset(hour for hour in self._expected[key] if hour < over)


def sealed_hours(partitions: Sequence[Partition]) -> dict[str, dict[date, frozenset[int]]]:
    """Of every symbol and day the UTC hours its partitions reach over."""
    found: dict[str, dict[date, frozenset[int]]] = {}
    for part in partitions:
        day = date.fromisoformat(part.date)
        base_us = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
        first = max((part.min_ts_us - base_us) // HOUR_US, 0)
        last = min((part.max_ts_us - base_us) // HOUR_US, 23)
        days = found.setdefault(part.symbol, {})
        days[day] = days.get(day, frozenset()) | frozenset(range(first, last + 1))
    return found


def grid_paths(
    days: Sequence[DayCoverage], cell: int = CELL, gap: int = CELL_GAP
) -> tuple[Mapping[str, str], int]:
    """(one path a level, width): weeks as columns, Monday on top.

    Days of one level below each other are one stroke as wide as a cell, from the middle of their
    upper edge down; a dash pattern cuts it into days.
    """
    paths = dict.fromkeys(LEVELS, "")
    if not days:
        return paths, 0
    step = cell + gap
    lead = days[0].day.weekday()
    placed = [(*divmod(lead + i, 7), one.level) for i, one in enumerate(days)]
    for (column, level), run in groupby(placed, lambda place: (place[0], place[2])):
        rows = [row for _, row, _ in run]
        long = len(rows) * step - gap
        paths[level] += f"M{column * step + cell / 2:g} {rows[0] * step}v{long}"
    return paths, ((lead + len(days) - 1) // 7 + 1) * step


def month_marks(days: Sequence[DayCoverage], step: int) -> list[tuple[int, str]]:
    """Where each month begins, and its name."""
    lead = days[0].day.weekday() if days else 0
    return [
        ((lead + i) // 7 * step, f"{one.day:%b}")
        for i, one in enumerate(days)
        if one.day.day <= 7 and (lead + i) % 7 == 0
    ]


def by_month(days: Sequence[DayCoverage]) -> list[tuple[str, int, int]]:
    """(month, sealed, expected) for the table beside the map, the newest first."""
    sums: dict[str, tuple[int, int]] = {}
    for one in days:
        month = f"{one.day:%Y-%m}"
        sealed, expected = sums.get(month, (0, 0))
        if one.level != "void":
            sums[month] = (sealed + one.sealed_hours, expected + one.expected_hours)
    return [(month, *both) for month, both in sorted(sums.items(), reverse=True)]


def _level(sealed: int, expected: int, *, is_gap: bool, is_today: bool) -> str:
    if is_gap:
        return "gap"
    if is_today:
        return "hot"
    if sealed == 0:
        return "none" if expected else "void"
    share = sealed / expected if expected else 1.0
    if share >= 1:
        return "full"
    return "most" if share >= 0.9 else "part" if share >= 0.5 else "low"


def _days_of(gaps: Sequence[GapRow], now_ns: int) -> set[date]:
    days: set[date] = set()
    for gap in gaps:
        if gap.state == "backfilled":
            continue
        day = datetime.fromtimestamp(gap.from_us / 1_000_000, UTC).date()
        end_us = now_ns // NS_PER_US if gap.to_us is None else gap.to_us
        end = datetime.fromtimestamp(end_us / 1_000_000, UTC).date()
        while day <= end and len(days) < 2 * DAYS_SHOWN:
            days.add(day)
            day += timedelta(days=1)
    return days
