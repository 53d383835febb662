"""Bars and rates kept up to date from the newest rows, so that no page has to ask for them.

Rows are folded in as they become visible, in any order of time; a bar knows the time of its first
and last trade. A revision makes its minute be computed anew from the rows themselves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from core.clock import US_PER_S
from storage.reader import HotSlice
from storage.rollup import bars_of

SECONDS_KEPT = 3_600
MINUTES_KEPT = 7 * 24 * 60
MINUTE_US = 60 * US_PER_S


@dataclass(slots=True)
class Bar:
    """One bar; `start_us` is where it begins."""

    start_us: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    count: int
    first_us: int
    last_us: int

    def fold(self, other: "Bar") -> None:
        """Take in trades of the same bucket."""
        if other.first_us < self.first_us:
            self.open, self.first_us = other.open, other.first_us
        if other.last_us >= self.last_us:
            self.close, self.last_us = other.close, other.last_us
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.volume += other.volume
        self.count += other.count

    def shown(self) -> list[float]:
        """Seconds, open, high, low, close, volume."""
        return [self.start_us // US_PER_S, self.open, self.high, self.low, self.close, self.volume]


@dataclass(slots=True)
class LiveBars:
    """The bars of one symbol: an hour of seconds, a week of minutes."""

    seconds: dict[int, Bar] = field(default_factory=dict)
    minutes: dict[int, Bar] = field(default_factory=dict)
    seq: int = 0  # rows up to it are folded in
    revised: set[int] = field(default_factory=set)  # minutes to compute anew

    def take(self, slices: Iterable[HotSlice]) -> int:
        """Fold in rows of the hot side; give their number."""
        rows = 0
        for part in slices:
            self._take(part)
            self.seq = part.last_seq
            rows += part.batch.num_rows
        self._trim()
        return rows

    def _take(self, part: HotSlice) -> None:
        batch = part.batch
        times = batch.column("ts_event").cast(pa.int64()).to_numpy()
        kinds = batch.column("kind").indices.to_numpy()
        if kinds.any():
            # The code of "new" is 0 in every data folder; all else revises an earlier trade.
            self.revised |= {int(t) // MINUTE_US * MINUTE_US for t in times[kinds != 0]}
        prices = batch.column("price").to_numpy()
        sizes = batch.column("size").to_numpy()
        if not part.all_valid:
            keep = batch.column("valid").to_numpy(zero_copy_only=False) & (kinds == 0)
            times, prices, sizes = times[keep], prices[keep], sizes[keep]
        if not len(times):
            return
        seconds = times // US_PER_S
        cuts = np.flatnonzero(np.diff(seconds)) + 1
        starts = [0, *cuts.tolist()]
        ends = [*cuts.tolist(), len(times)]
        for low, high in zip(starts, ends, strict=True):
            run = prices[low:high]
            bar = Bar(
                int(seconds[low]) * US_PER_S,
                float(run[0]),
                float(run.max()),
                float(run.min()),
                float(run[-1]),
                int(sizes[low:high].sum()),
                high - low,
                int(times[low]),
                int(times[high - 1]),
            )
            fold_in(self.seconds, bar, US_PER_S)
            fold_in(self.minutes, bar, MINUTE_US)

    def put(self, minute_us: int, trades: pa.Table) -> None:
        """Replace the bars of one minute by those of its rows as they stand now."""
        for width_us, bars in ((US_PER_S, self.seconds), (MINUTE_US, self.minutes)):
            for start_us in [t for t in bars if minute_us <= t < minute_us + MINUTE_US]:
                del bars[start_us]
            for bar in from_rollup(bars_of(trades, width_us).to_batches()):
                bars[bar.start_us] = bar

    def _trim(self) -> None:
        for bars, kept in ((self.seconds, SECONDS_KEPT), (self.minutes, MINUTES_KEPT)):
            if len(bars) > kept + kept // 8:
                for start_us in sorted(bars)[: len(bars) - kept]:
                    del bars[start_us]

    def last(self, count: int, *, is_minutes: bool) -> list[Bar]:
        """The newest bars, oldest first."""
        bars = self.minutes if is_minutes else self.seconds
        return [bars[start_us] for start_us in sorted(bars)[-count:]]

    def per_second(self, now_s: int, count: int) -> list[int]:
        """Trades in each of the whole seconds before now, oldest first."""
        moments = range(now_s - count, now_s)
        bars = (self.seconds.get(moment * US_PER_S) for moment in moments)
        return [bar.count if bar else 0 for bar in bars]


def fold_in(bars: dict[int, Bar], bar: Bar, width_us: int) -> None:
    """Put a bar into the wider bucket it belongs to."""
    start_us = bar.start_us // width_us * width_us
    known = bars.get(start_us)
    if known is None:
        bars[start_us] = Bar(
            start_us,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            bar.count,
            bar.first_us,
            bar.last_us,
        )
    else:
        known.fold(bar)


def from_rollup(batches: Iterable[pa.RecordBatch]) -> list[Bar]:
    """Bars as the lake keeps them."""
    found = []
    for batch in batches:
        columns = [batch.column("ts_event").cast(pa.int64()).to_pylist()]
        columns += [batch.column(name).to_pylist() for name in ("open", "high", "low", "close")]
        columns += [batch.column(name).to_pylist() for name in ("volume", "count")]
        for name in ("first_ns", "last_ns"):
            columns.append([ns // 1_000 for ns in batch.column(name).to_pylist()])
        found += [Bar(*row) for row in zip(*columns, strict=True)]
    return found


def widen(bars: Sequence[Bar], width_us: int) -> list[Bar]:
    """Bars of a multiple of their width."""
    wide: dict[int, Bar] = {}
    for bar in bars:
        fold_in(wide, bar, width_us)
    return [wide[start_us] for start_us in sorted(wide)]
