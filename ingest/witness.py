"""The second witness at work: what a feed missed is repaired from the intraday file.

A feed's trades are laid beside the file's, stretch by stretch up to a minute ago. What lies between
two trades both have and is in the file alone is missing: it goes on the tape as source scid,
repaired, and never in place of a feed's row. A hole the ledger knows is then closed; one it did not
know is written down as found and filled. While the ledger has a hole open the feed may still fill
it, so the witness waits before it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from core.batch import TickBatch
from core.board import Board
from core.clock import DAY_US, HOUR_US, US_PER_S
from core.errors import FeedGarbled
from core.log import Log
from ingest import scid
from ingest.align import MATCHED_SHARE_MIN, Alignment, align, plan_repairs
from ingest.contract import Contract
from ingest.gapbook import Gap, GapBook
from ingest.sierra_place import SierraPlace
from ingest.sierra_reference import Reference

log = Log("witness")
PART = "second witness"
SETTLE_US = 60 * US_PER_S  # a feed puts its own history in order within this
BACK_US = HOUR_US  # compared anew after a start
GAPS_BACK_US = 3 * DAY_US  # holes older than this are left as they are
STRETCH_US, STRETCH_US_MAX = HOUR_US // 4, 8 * HOUR_US  # doubled while a hole is longer
EDGE_US = 2 * US_PER_S
HOLE_EDGE_US = 10 * US_PER_S  # the ledger's bounds of a hole are this much wider than the hole


@dataclass(slots=True)
class _Line:
    """One contract: compared up to here, with this lag."""

    from_us: int
    stretch_us: int = STRETCH_US
    lag_us: int = 0
    share: float = 1.0


@dataclass(slots=True)
class Witness:
    """Compares and repairs every contract that has a file and a feed."""

    place: SierraPlace
    reference: Reference
    fed: frozenset[str]
    _gaps: GapBook = field(init=False)
    _lines: dict[str, _Line] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._gaps = GapBook(self.place.store, self.place.clock, source=scid.SOURCE)

    def round(self) -> int:
        """Compare what has settled since the last round; give the rows repaired."""
        repaired, told, faults = 0, [], []
        for about, name in self.reference.contracts().items():
            if about.root not in self.fed:
                continue
            try:
                repaired += self._compare(about, name)
            except FeedGarbled as error:
                faults.append(f"{name}: {error.message}")
                continue
            line = self._lines.get(about.contract)
            if line is not None:
                told.append(f"{about.contract} {line.share:.2%} alike")
        board: Board = self.place.board
        if repaired:
            board.count("witness.repaired", repaired)
        if faults:
            board.state(PART, "degraded", "; ".join(faults))
        elif told:
            board.state(PART, "ok", ", ".join(told), limit_s=120)
        else:
            board.state(PART, "off", "no contract has both a feed and an intraday file")
        return repaired

    def _compare(self, about: Contract, name: str) -> int:
        """One stretch of one contract."""
        now_us = self.place.now_us()
        complete_us = self.reference.complete_until_us(name)
        if complete_us is None:
            return 0
        gaps = [
            gap
            for gap in self.place.tape.gaps("trades", start_us=now_us - GAPS_BACK_US)
            if gap.contract == about.contract
        ]
        line = self._line(about, gaps, now_us)
        open_us = [
            gap.from_us for gap in gaps if gap.state == "open" and gap.from_us > line.from_us
        ]
        end_us = min(now_us - SETTLE_US, complete_us, *open_us, line.from_us + line.stretch_us)
        if end_us <= line.from_us + EDGE_US:
            return 0
        reference = self.reference.trades(about, name, line.from_us, end_us)
        feed = self.place.tape.trades(
            about.root, about.contract, line.from_us - EDGE_US, end_us + EDGE_US
        )
        if reference.rows == 0:
            line.from_us = end_us
            return 0
        alignment = align(feed, reference, line.lag_us)
        anchors = alignment.anchors
        if anchors is None:
            self._go_on(line, line.from_us, end_us)
            return 0
        smaller = min(len(alignment.feed), len(alignment.reference))
        line.share = alignment.matched / smaller if smaller else 1.0
        line.lag_us = alignment.lag_us
        if line.share < MATCHED_SHARE_MIN:
            log.error("witness.disagrees", contract=about.contract, share=round(line.share, 4))
            line.from_us = end_us
            return 0
        repairs = plan_repairs(alignment, reference, now_us)
        if repairs is not None:
            self.place.store.take(repairs)
        self._close(alignment, gaps, repairs, about)
        self._go_on(line, int(alignment.reference.ts_us[anchors[1]]), end_us)
        return 0 if repairs is None else repairs.rows

    def _line(self, about: Contract, gaps: Iterable[Gap], now_us: int) -> _Line:
        """Where to begin: before the oldest hole that may yet be filled, or a while ago."""
        if about.contract not in self._lines:
            holes = [g.from_us - EDGE_US for g in gaps if g.from_us > now_us - GAPS_BACK_US]
            start_us = min([now_us - BACK_US, *(us - HOLE_EDGE_US for us in holes)])
            self._lines[about.contract] = _Line(start_us)
        return self._lines[about.contract]

    def _go_on(self, line: _Line, anchor_us: int, end_us: int) -> None:
        """Begin the next stretch at the last trade both have; behind it a hole may have begun."""
        has_moved = anchor_us - line.from_us > EDGE_US
        is_full = end_us - line.from_us >= line.stretch_us
        line.from_us = anchor_us
        if has_moved:
            line.stretch_us = STRETCH_US
        elif is_full and line.stretch_us < STRETCH_US_MAX:
            line.stretch_us *= 2
        elif is_full:
            line.from_us, line.stretch_us = end_us, STRETCH_US

    def _close(
        self, alignment: Alignment, gaps: Iterable[Gap], repairs: TickBatch | None, about: Contract
    ) -> None:
        """Close the holes that lie between trades both have; write down those nobody knew."""
        anchors = alignment.anchors
        assert anchors is not None
        first_us, last_us = (int(alignment.reference.ts_us[at]) for at in anchors)
        times = np.empty(0, np.int64)
        if repairs is not None:
            times = np.asarray(repairs.columns["ts_event"], np.int64)
        is_told = np.zeros(len(times), np.bool_)
        for gap in gaps:
            if gap.state == "open" or gap.to_us is None:
                continue
            inside = (times >= gap.from_us) & (times <= gap.to_us)
            is_told |= inside
            if gap.from_us + HOLE_EDGE_US >= first_us and gap.to_us - HOLE_EDGE_US <= last_us:
                self._gaps.close(
                    gap,
                    "backfilled",
                    to_us=gap.to_us,
                    rows=int(np.count_nonzero(inside)),
                    reason="filled from the intraday file, which agrees before and after it",
                )
        fresh = times[~is_told]
        if len(fresh):
            reason = "found by the second witness: the feed missed trades"
            gap = self._gaps.open(about.root, about.contract, int(fresh.min()), reason)
            self._gaps.close(
                gap,
                "backfilled",
                to_us=int(fresh.max()),
                rows=len(fresh),
                reason="filled from the intraday file",
            )
