"""Two witnesses of the same trades, laid side by side: a feed, and Sierra Chart's trades file.

Pure. Trades are matched by their order on (price, size); time only says which stretch of one is
compared with which of the other. What the reference has and the feed lacks is a repair; what the
feed has alone is told and never touched. Nothing is repaired that the reference may still change.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from core.batch import TickBatch
from core.clock import US_PER_S

WINDOW_PRINTS = 2_000
_SETTLED_PRINTS = 1_500  # the rest of a window is matched again with what follows it
SLACK_US_MAX = 2 * US_PER_S  # a match further than this from the usual lag is none
FLUSH_US_MAX = 15 * US_PER_S
MATCHED_SHARE_MIN = 0.9
_PRICE_STEPS = 10_000
_SIZE_MAX = 1 << 22

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prints:
    """Whole trades in file order: of each its time, price, size, side and its rows in the batch."""

    ts_us: Ints
    price: NDArray[np.float64]
    size: Ints
    side: NDArray[np.int8]
    first_row: Ints
    rows: Ints

    def __len__(self) -> int:
        return len(self.ts_us)

    @property
    def keys(self) -> Ints:
        """Price and size in one number."""
        steps = np.rint(self.price * _PRICE_STEPS).astype(np.int64)
        return steps * _SIZE_MAX + np.minimum(self.size, _SIZE_MAX - 1)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Which trade of the feed is which of the reference; -1 where it has no partner.

    `lag_us` is the median of the feed's time minus the reference's.
    """

    feed: Prints
    reference: Prints
    partner: Ints  # per reference trade, its place in the feed
    extra: Ints  # places of feed trades without a partner
    lag_us: int

    @property
    def matched(self) -> int:
        return int(np.count_nonzero(self.partner >= 0))

    @property
    def anchors(self) -> tuple[int, int] | None:
        """Places in the reference of the first and the last trade that both have."""
        matched = np.flatnonzero(self.partner >= 0)
        return (int(matched[0]), int(matched[-1])) if len(matched) else None


def whole_trades(batch: TickBatch) -> Prints:
    """The trades of a batch, those told in parts put together again."""
    rows = batch.rows
    words = batch.columns.get("conditions")
    begins = np.ones(rows, np.bool_)
    if words is not None:
        begins = (words != "bundle") & (words != "bundle_last")
    if rows:
        begins[0] = True
    return _grouped(_single(batch), np.asarray(begins))


def merge_runs(prints: Prints) -> Prints:
    """The same with runs of one price and side as one trade, as some sources report them."""
    begins = np.ones(len(prints), np.bool_)
    same_price = prints.price[1:] == prints.price[:-1]
    begins[1:] = ~(same_price & (prints.side[1:] == prints.side[:-1]))
    return _grouped(prints, begins)


def align(feed: TickBatch, reference: TickBatch, lag_us: int = 0) -> Alignment:
    """Match two batches of one contract's trades, each in its own order.

    `lag_us` is the lag to begin with; from then on it follows the matches.
    The two may cut one trade into different parts. Where whole trades match badly, runs of one
    price and side are merged on either side or both, and the best of these is taken.
    """
    feed_prints, reference_prints = whole_trades(feed), whole_trades(reference)
    best = _match(feed_prints, reference_prints, lag_us)
    if _share(best) < MATCHED_SHARE_MIN:
        feed_runs, reference_runs = merge_runs(feed_prints), merge_runs(reference_prints)
        others = [
            _match(feed_runs, reference_prints, lag_us),
            _match(feed_prints, reference_runs, lag_us),
            _match(feed_runs, reference_runs, lag_us),
        ]
        best = max([best, *others], key=_share)
    return best


def plan_repairs(alignment: Alignment, reference: TickBatch, now_us: int) -> TickBatch | None:
    """The reference's rows of trades the feed lacks, moved by the lag; None where it lacks none.

    Only what lies between two trades that both have is proven to be missing. Rows younger than
    FLUSH_US_MAX are left for later: the reference may not hold all of them yet. Nothing is planned
    where the two match too badly to be the same market.
    """
    anchors = alignment.anchors
    if _share(alignment) < MATCHED_SHARE_MIN or anchors is None:
        return None
    prints = alignment.reference
    place = np.arange(len(prints))
    is_between = (place > anchors[0]) & (place < anchors[1])
    is_old = prints.ts_us < now_us - FLUSH_US_MAX
    places = np.repeat((alignment.partner < 0) & is_between & is_old, prints.rows)
    if not places.any():
        return None
    rows = reference.take(places)
    moved: Ints = np.asarray(rows.columns["ts_event"], np.int64) + alignment.lag_us
    columns = {**rows.columns, "ts_event": moved, "repaired": np.ones(rows.rows, np.bool_)}
    return TickBatch(rows.table, rows.symbol, rows.contract, rows.source, columns)


def _single(batch: TickBatch) -> Prints:
    columns = batch.columns
    return Prints(
        np.asarray(columns["ts_event"], np.int64),
        np.asarray(columns["price"], np.float64),
        np.asarray(columns["size"], np.int64),
        np.asarray(columns["side"], np.int8),
        np.arange(batch.rows),
        np.ones(batch.rows, np.int64),
    )


def _grouped(prints: Prints, begins: NDArray[np.bool_]) -> Prints:
    first = np.flatnonzero(begins)
    if len(first) == len(prints):
        return prints
    return Prints(
        prints.ts_us[first],
        prints.price[first],
        np.add.reduceat(prints.size, first),
        prints.side[first],
        prints.first_row[first],
        np.add.reduceat(prints.rows, first),
    )


def _share(alignment: Alignment) -> float:
    """Matched trades among those of the smaller witness: holes do not count against it."""
    smaller = min(len(alignment.feed), len(alignment.reference))
    return alignment.matched / smaller if smaller else 1.0


def _match(feed: Prints, reference: Prints, lag_us: int) -> Alignment:
    """Window by window along the reference; each begins after what the last one settled."""
    feed_keys, reference_keys = feed.keys.tolist(), reference.keys.tolist()
    # Both files are in order; a running maximum makes them searchable where clocks step back.
    feed_us, reference_us = (np.maximum.accumulate(p.ts_us) for p in (feed, reference))
    partner = np.full(len(reference), -1, np.int64)
    first, feed_first = 0, 0
    while first < len(reference):
        end = min(first + WINDOW_PRINTS, len(reference))
        settled = end if end == len(reference) else first + _SETTLED_PRINTS
        latest_us = int(reference_us[end - 1]) + lag_us + SLACK_US_MAX
        feed_end = int(np.searchsorted(feed_us, latest_us, "right"))
        # Within a hole of the reference the feed goes on; there is nothing to compare it with.
        earliest_us = int(reference_us[first]) + lag_us - SLACK_US_MAX
        feed_first = max(feed_first, int(np.searchsorted(feed_us, earliest_us, "left")))
        matcher = SequenceMatcher(
            None, reference_keys[first:end], feed_keys[feed_first:feed_end], autojunk=False
        )
        for at, feed_at, size in matcher.get_matching_blocks():
            places = np.arange(first + at, min(first + at + size, settled))
            feed_places = places - first - at + feed_first + feed_at
            lags = feed.ts_us[feed_places] - reference.ts_us[places]
            near = np.abs(lags - lag_us) <= SLACK_US_MAX
            partner[places[near]] = feed_places[near]
        found = partner[first:settled]
        if (found >= 0).any():
            lag_us = _lag(feed, reference, partner[:settled], first)
            feed_first = int(found.max()) + 1
        first = settled
    is_extra = np.ones(len(feed), np.bool_)
    is_extra[partner[partner >= 0]] = False
    if (partner >= 0).any():
        lag_us = _lag(feed, reference, partner, 0)
    return Alignment(feed, reference, partner, np.flatnonzero(is_extra), lag_us)


def _lag(feed: Prints, reference: Prints, partner: Ints, first: int) -> int:
    """Median lag of the matched trades from `first` on."""
    places = first + np.flatnonzero(partner[first:] >= 0)
    return int(np.median(feed.ts_us[partner[places]] - reference.ts_us[places]))
