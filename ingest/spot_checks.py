"""Spot checks beside the feeds: now and then a sample, its outcome in table `spot_checks`.

Digests and rollups are checked always; with a second witness, random minutes of trades too. A
witness by which less than 99.9 % of the rows of the last day are equal raises the alarm.
"""

import random
import threading
from collections.abc import Callable, Sequence
from functools import partial

from core.board import Board
from core.clock import NS_PER_US, Clock
from core.log import Log
from ingest.gapbook import Ledger
from ingest.score import SCORE_MIN, WINDOW_US, read_tallies, spot_rows, total
from storage.lake import Lake
from storage.paths import Paths
from storage.spot import Spot, Spotter, check_hot
from storage.view import Views

log = Log("spot")
PART = "spot check"
PERIOD_S = 30.0

Check = Callable[[], Spot | None]


class SpotChecks:
    """Takes samples, keeps their outcomes, and tells the board what they add up to."""

    def __init__(
        self, ledger: Ledger, views: Views, board: Board, clock: Clock, checks: Sequence[Check]
    ) -> None:
        self._ledger = ledger
        self._views = views
        self._board = board
        self._clock = clock
        self._checks = checks

    def round(self) -> list[Spot]:
        """One sample of each kind."""
        spots = [spot for check in self._checks if (spot := check()) is not None]
        now_us = self._clock.now_ns() // NS_PER_US
        if spots:
            self._ledger.append_rows("spot_checks", spot_rows(spots, now_us))
        for spot in spots:
            if spot.outcome == "mismatch":
                log.error(
                    "sample.differs",
                    table=spot.table,
                    symbol=spot.symbol,
                    witness=spot.witness,
                    rows=spot.rows,
                    matched=spot.matched,
                    detail=spot.detail,
                )
        self._tell(now_us)
        return spots

    def run(self, stopping: threading.Event) -> None:
        """A round now and then until told to stop."""
        while not stopping.wait(PERIOD_S):
            try:
                self.round()
            except Exception as error:
                self._board.state(PART, "down", f"{type(error).__name__}: {error}")
                log.exception("round.failed")

    def _tell(self, now_us: int) -> None:
        tallies = read_tallies(self._views.view(), now_us - WINDOW_US)
        everything = total(list(tallies.values()))
        board = self._board
        for name, tally in (("spot", everything), *((f"spot.{w}", t) for w, t in tallies.items())):
            board.gauge(f"{name}.checked", tally.checked)
            board.gauge(f"{name}.matched", tally.matched)
            board.gauge(f"{name}.score", tally.score)
            board.gauge(f"{name}.wilson_low", tally.wilson_low)
        bad = {w: t for w, t in tallies.items() if t.checked and t.score < SCORE_MIN}
        told = [
            f"{witness}: {tally.matched:,} of {tally.checked:,} rows equal"
            for witness, tally in (bad or tallies).items()
        ]
        detail = "; ".join(told) or "nothing to check yet"
        limit_s = 10 * PERIOD_S
        board.state(PART, "degraded" if bad else "ok", detail, limit_s=limit_s)


def own_checks(paths: Paths, lake: Lake) -> list[Check]:
    """The checks that need no second source."""
    rng = random.SystemRandom()
    spotter = Spotter(lake, rng)
    return [partial(check_hot, paths, rng), spotter.check_digest, spotter.check_rollup]
