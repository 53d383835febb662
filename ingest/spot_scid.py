"""Random minutes of trades on the tape, held against the intraday file print by print.

Beside another feed this tells whether two sources agree; where the file is the source itself, that
what was read is what is kept. A minute is unverifiable where the file has no trade in it or a hole
is known; that is told apart from a mismatch.
"""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.clock import DAY_US, HOUR_US, US_PER_S
from core.errors import FeedGarbled
from ingest.align import Alignment, Prints, align
from ingest.contract import Contract
from ingest.sierra_place import SierraPlace
from ingest.sierra_reference import Reference
from storage.spot import Spot

MINUTE_US = 60 * US_PER_S
SETTLE_US = 3 * MINUTE_US
LATELY_US, LONG_US = HOUR_US, 7 * DAY_US
LONG_AGO_SHARE = 0.25  # of the samples; the others are of the last hour
TRIES_MAX = 8
SLACK_US = 5 * US_PER_S
LAG_US_MAX = US_PER_S // 4  # off the usual lag
EDGE_US = US_PER_S  # trades this near a minute's edge may lie on the other side of it


@dataclass(slots=True)
class ScidCheck:
    """Takes samples of every contract that has an intraday file."""

    place: SierraPlace
    reference: Reference
    rng: random.Random

    def check(self) -> Spot | None:
        """One minute of one contract; None where there is no file, or no trade to be seen."""
        contracts = list(self.reference.contracts().items())
        if not contracts:
            return None
        for _ in range(TRIES_MAX):
            about, name = self.rng.choice(contracts)
            start_us = self._minute()
            try:
                spot = self.check_minute(about, name, start_us)
            except FeedGarbled:
                continue  # the feed tells what is wrong with the file
            if spot is not None:
                return spot
        return None

    def check_minute(self, about: Contract, name: str, start_us: int) -> Spot | None:
        """One minute; None where neither has a trade in it, or the file is not that far yet."""
        end_us = start_us + MINUTE_US
        complete_us = self.reference.complete_until_us(name)
        if complete_us is None or complete_us < end_us + SLACK_US:
            return None
        place, symbol, contract = self.place, about.root, about.contract
        bounds = (start_us - SLACK_US, end_us + SLACK_US)
        reference = self.reference.trades(about, name, *bounds)
        feed = place.tape.trades(symbol, contract, *bounds)
        if reference.rows == 0 and feed.rows == 0:
            return None

        def spot(rows: int, matched: int, detail: str) -> Spot:
            return Spot("trades", symbol, "scid", start_us, end_us, rows, matched, detail)

        holes = [
            gap
            for gap in place.tape.gaps("trades")
            if gap.contract == contract
            and gap.from_us < end_us
            and (gap.to_us is None or gap.to_us >= start_us)
        ]
        if holes:
            return spot(0, 0, f"{contract}: a hole is known: {holes[0].reason}"[:400])
        if reference.rows == 0:
            return spot(0, 0, f"{contract}: {feed.rows} trades, none in the intraday file")
        if feed.rows == 0 and place.tape.last_us("trades", symbol, contract, None) is None:
            return None  # the tape does not carry this contract
        found = align(feed, reference)
        compared, matched = _compare(found, start_us, end_us)
        return spot(compared, matched, f"{contract}: {_told(found, start_us, end_us)}")

    def _minute(self) -> int:
        """The start of a minute, mostly of the last hour."""
        now_us = self.place.now_us() - SETTLE_US
        back_us = LONG_US if self.rng.random() < LONG_AGO_SHARE else LATELY_US
        return (now_us - self.rng.randrange(back_us)) // MINUTE_US * MINUTE_US


def _compare(found: Alignment, start_us: int, end_us: int) -> tuple[int, int]:
    """Trades of the minute compared, and those that both have at about the same time."""
    feed, reference = found.feed, found.reference
    inside = _inside(reference, start_us, end_us)
    partner = found.partner
    has = partner >= 0
    lags = np.zeros(len(reference), np.int64)
    lags[has] = feed.ts_us[partner[has]] - reference.ts_us[has]
    matched = inside & has & (np.abs(lags - found.lag_us) <= LAG_US_MAX)
    extra_us = feed.ts_us[found.extra] - found.lag_us
    extra = (extra_us >= start_us + EDGE_US) & (extra_us < end_us - EDGE_US)
    compared = int(np.count_nonzero(inside)) + int(np.count_nonzero(extra))
    return compared, int(np.count_nonzero(matched))


def _told(found: Alignment, start_us: int, end_us: int) -> str:
    """Counts, volumes and lags of both, for people."""
    inside = _inside(found.reference, start_us, end_us)
    has = found.partner >= 0
    ours = found.partner[has & inside]
    lags = found.feed.ts_us[ours] - found.reference.ts_us[has & inside]
    spread = np.percentile(np.abs(lags - found.lag_us), [50, 99]) / 1_000 if len(lags) else (0, 0)
    side = int(np.count_nonzero(found.feed.side[ours] == found.reference.side[has & inside]))
    return (
        f"{int(inside.sum())} trades in the file, {len(ours)} of them here; volume "
        f"{int(found.reference.size[inside].sum())} and {int(found.feed.size[ours].sum())}; lag "
        f"{found.lag_us / 1_000:.0f} ms, off it p50 {spread[0]:.0f} p99 {spread[1]:.0f} ms; "
        f"same side {side}"
    )


def _inside(prints: Prints, start_us: int, end_us: int) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (prints.ts_us >= start_us) & (prints.ts_us < end_us)
    return inside
