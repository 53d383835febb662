"""Bars and rates kept up to date from the newest rows, so that no page has to ask for them.

Rows are folded in as they become visible, in any order of time; a bar knows the time of its first
and last trade. A revision makes its minute be computed anew from the rows themselves.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import US_PER_S
from storage.rollup import bars_of

SECONDS_KEPT = 3_600
MINUTES_KEPT = 7 * 24 * 60
MINUTE_US = 60 * US_PER_S


class TradeRows(NamedTuple):
    """Columns of some trades of one symbol in the order they came; `kind` and `valid` as stored."""

    ts_us: NDArray[Any]
    price: NDArray[Any]
    size: NDArray[Any]
    kind: NDArray[Any]
    valid: NDArray[Any]
    last_seq: int


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


class BarSeries:
    """The newest `kept` bars of one width, in order; one thread writes, others may read."""

    def __init__(self, width_us: int, kept: int) -> None:
        self.width_us = width_us
        self._kept = kept
        self._bars: dict[int, Bar] = {}
        self._starts: list[int] = []  # sorted, so that the newest are found without a look at all

    def __len__(self) -> int:
        return len(self._starts)

    def get(self, start_us: int) -> Bar | None:
        """The bar that begins there."""
        return self._bars.get(start_us)

    def last(self, count: int) -> list[Bar]:
        """The newest bars, oldest first."""
        return self._found(self._starts[-count:])

    def before(self, start_us: int) -> Bar | None:
        """The newest bar that begins before a moment."""
        place = bisect_left(self._starts, start_us)
        return next(iter(self._found(self._starts[place - 1 : place])), None)

    def since(self, start_us: int) -> Bar | None:
        """The oldest bar that begins at a moment or after it."""
        place = bisect_left(self._starts, start_us)
        return next(iter(self._found(self._starts[place : place + 1])), None)

    def fold(self, bar: Bar) -> None:
        """Take in trades that lie within one bucket."""
        start_us = bar.start_us // self.width_us * self.width_us
        known = self._bars.get(start_us)
        if known is None:
            self._add(replace(bar, start_us=start_us))
        else:
            known.fold(bar)

    def put(self, bars: Iterable[Bar]) -> None:
        """Take in whole bars in place of what is known of their time."""
        for bar in bars:
            if bar.start_us in self._bars:
                self._bars[bar.start_us] = bar
            else:
                self._add(bar)

    def drop(self, start_us: int, end_us: int) -> None:
        """Forget the bars that begin in [start, end)."""
        low, high = bisect_left(self._starts, start_us), bisect_left(self._starts, end_us)
        for gone in self._starts[low:high]:
            del self._bars[gone]
        del self._starts[low:high]

    def _add(self, bar: Bar) -> None:
        self._bars[bar.start_us] = bar
        insort(self._starts, bar.start_us)
        if len(self._starts) > self._kept:
            del self._bars[self._starts.pop(0)]

    def _found(self, starts: Sequence[int]) -> list[Bar]:
        bars = map(self._bars.get, starts)
        return [bar for bar in bars if bar is not None]  # let go while we look


@dataclass(slots=True)
class LiveBars:
    """The bars of one symbol: an hour of seconds, a week of minutes."""

    seconds: BarSeries = field(default_factory=lambda: BarSeries(US_PER_S, SECONDS_KEPT))
    minutes: BarSeries = field(default_factory=lambda: BarSeries(MINUTE_US, MINUTES_KEPT))
    seq: int = 0  # rows up to it are folded in
    revised: set[int] = field(default_factory=set)  # minutes to compute anew

    def take(self, found: Iterable[TradeRows]) -> int:
        """Fold in rows of the hot side; give their number."""
        count = 0
        for rows in found:
            self._take(rows)
            self.seq = rows.last_seq
            count += len(rows.ts_us)
        return count

    def _take(self, rows: TradeRows) -> None:
        times, prices, sizes = rows.ts_us, rows.price, rows.size
        is_revising = bool(rows.kind.any())
        if is_revising:
            # The code of "new" is 0 in every data folder; all else revises an earlier trade.
            self.revised |= {int(t) // MINUTE_US * MINUTE_US for t in times[rows.kind != 0]}
        if is_revising or not rows.valid.all():
            keep = (rows.valid != 0) & (rows.kind == 0)
            times, prices, sizes = times[keep], prices[keep], sizes[keep]
        if not len(times):
            return
        cuts: list[int] = []
        if int(times.min()) // US_PER_S != int(times.max()) // US_PER_S:
            cuts = (np.flatnonzero(np.diff(times // US_PER_S)) + 1).tolist()
        for low, high in pairwise([0, *cuts, len(times)]):
            bar = _bar_of(times[low:high], prices[low:high], sizes[low:high])
            self.seconds.fold(bar)
            self.minutes.fold(bar)

    def put(self, minute_us: int, trades: pa.Table) -> None:
        """Replace the bars of one minute by those of its rows as they stand now."""
        for bars in (self.seconds, self.minutes):
            bars.drop(minute_us, minute_us + MINUTE_US)
            bars.put(from_rollup(bars_of(trades, bars.width_us).to_batches()))

    def per_second(self, now_s: int, count: int) -> list[int]:
        """Trades in each of the whole seconds before now, oldest first."""
        moments = range(now_s - count, now_s)
        bars = (self.seconds.get(moment * US_PER_S) for moment in moments)
        return [bar.count if bar else 0 for bar in bars]


def _bar_of(times: NDArray[np.int64], prices: NDArray[np.float64], sizes: NDArray[Any]) -> Bar:
    """The bar of trades that lie within one second."""
    return Bar(
        int(times[0]) // US_PER_S * US_PER_S,
        float(prices[0]),
        float(prices.max()),
        float(prices.min()),
        float(prices[-1]),
        int(sizes.sum()),
        len(times),
        int(times[0]),
        int(times[-1]),
    )


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
    wide = BarSeries(width_us, max(len(bars), 1))
    for bar in bars:
        wide.fold(bar)
    return wide.last(len(bars))
