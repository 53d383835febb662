"""The demo market: MES, MNQ, NQ, SPY, QQQ and VIX, trading as if they were real.

Prices lie on their tick grid and move together, trading comes in bursts and sweeps, the aggressor
pays the spread, and VIX is an index without volume or quote. Under one seed and rate the sequence
of prices, sizes, sides and intervals is always the same, however often it is asked for. `rate`
counts trades; of every two trades of a symbol one brings a quote as well.

Nothing here is a forecast or a record of any market, and it has no history before its start.
"""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from core.batch import TickBatch
from core.clock import DAY_US, NS_PER_S, NS_PER_US, US_PER_S
from ingest.contract import front_contract
from ingest.demo_gex import DemoGamma
from ingest.demo_path import FACTORS, SLOTS, Path, Second

SLOT_NS = NS_PER_S // SLOTS
RUN_TRADES = 8_192  # about how many trades are made at a time
CATCH_UP_US_MAX = 5 * US_PER_S
CATCH_UP_TRADES_MAX = 1_000_000

_FOLLOW_CHANCE = 0.45  # that a trade is part of the sweep before it
_SWEEP_SHRINK = 0.002  # how much closer together the trades of a sweep are
_SWEEP_STEP = 3  # trades of a sweep that one price level takes
_WIDE_CHANCE = 0.06
_SIZE_TABLE = 4_096
_SECONDS_KEPT = 16


@dataclass(frozen=True, slots=True)
class Listing:
    """What is traded: its price at the start, ticks a point, share of all trades, sizes."""

    symbol: str
    factor: str
    level: float
    ticks_per_point: int
    share: float
    size_mean: float  # 0: an index, without size, side or quote
    lot: int = 1
    is_future: bool = False


LISTINGS = (
    Listing("MES", "spx", 6_815.0, 4, 0.20, 2.0, is_future=True),
    Listing("MNQ", "ndx", 25_060.0, 4, 0.26, 1.8, is_future=True),
    Listing("NQ", "ndx", 25_060.0, 4, 0.18, 1.6, is_future=True),
    Listing("SPY", "spx", 679.0, 100, 0.18, 160.0, lot=100),
    Listing("QQQ", "ndx", 609.0, 100, 0.15, 140.0, lot=100),
    Listing("VIX", "vix", 16.5, 100, 0.03, 0.0),
)
_GAMMA = (("NQ_NDX", "NQ", 50.0, 12.47), ("ES_SPX", "MES", 10.0, 3.65), ("SPY", "SPY", 1.0, 0.0))


@dataclass(slots=True)
class _Run:
    """Rows made but not yet given, from row `given` on."""

    batch: TickBatch
    given: int = 0


class DemoMarket:
    """Makes the ticks of the time that has passed since it was last asked."""

    def __init__(self, seed: int, rate_per_s: float, start_us: int) -> None:
        assert rate_per_s > 0
        self._random = np.random.default_rng([seed, 0])
        self._path = Path(seed, rate_per_s, tuple(listing.share for listing in LISTINGS))
        self._sizes = [_size_table(seed, listing) for listing in LISTINGS]
        self._gamma = [
            DemoGamma(seed, ticker, _level(symbol), step, offset)
            for ticker, symbol, step, offset in _GAMMA
        ]
        self._slots_per_run = SLOTS
        while self._slots_per_run > 1 and rate_per_s / SLOTS * self._slots_per_run > RUN_TRADES:
            self._slots_per_run //= 2
        self._behind_us_max = max(
            US_PER_S, min(CATCH_UP_US_MAX, int(CATCH_UP_TRADES_MAX / rate_per_s * US_PER_S))
        )
        self._start_us = start_us
        self._slots_made = 0
        self._second: Second | None = None
        self._runs: deque[_Run] = deque()
        self._trade_seqs = [0] * len(LISTINGS)
        self._quote_seqs = [0] * len(LISTINGS)
        self._begun: deque[tuple[int, NDArray[np.float64]]] = deque(maxlen=_SECONDS_KEPT)
        self._contracts: dict[str, str] = {}
        self._contracts_day = -1
        self.skipped_us = 0

    def until(self, now_us: int) -> list[TickBatch]:
        """All ticks since the last call up to now, trades and quotes by symbol.

        After a long pause the market has stood still: time beyond a limit is left out, and counted
        in `skipped_us`.
        """
        behind_us = now_us - self._next_us()
        if behind_us > self._behind_us_max:
            self._start_us += behind_us - self._behind_us_max
            self.skipped_us += behind_us - self._behind_us_max
        while self._next_us() <= now_us:
            self._make_run()
        return self._give(now_us)

    def gex_until(self, now_us: int) -> list[dict[str, object]]:
        """GEX snapshots of the seconds begun since the last call, after `until` of the same now."""
        rows = []
        while self._begun and self._begun[0][0] <= now_us:
            at_us, prices = self._begun.popleft()
            for gamma, (_, symbol, _, _) in zip(self._gamma, _GAMMA, strict=True):
                spot = float(prices[_place(symbol)])
                rows.append(gamma.snapshot(at_us // US_PER_S * US_PER_S, now_us, spot))
        return rows

    def _next_us(self) -> int:
        return self._start_us + self._slots_made * SLOT_NS // NS_PER_US

    def _make_run(self) -> None:
        first = self._slots_made % SLOTS
        if first == 0 or self._second is None:
            self._second = self._path.plan()
            self._begun.append((self._next_us(), _points(self._second.factors[0])))
        base_ns = self._start_us * NS_PER_US + self._slots_made * SLOT_NS
        self._name_contracts(base_ns // NS_PER_US)
        last = first + self._slots_per_run
        edges = np.stack([_points(row) for row in self._second.factors[first : last + 1]])
        for place in range(len(LISTINGS)):
            counts = self._second.trades[first:last, place]
            if counts.any():
                self._make_trades(place, counts, edges[:, place], base_ns)
        self._slots_made += self._slots_per_run

    def _make_trades(
        self, place: int, counts: NDArray[np.int64], edges: NDArray[np.float64], base_ns: int
    ) -> None:
        """One listing's trades and quotes of a run, from its trades a slot and price path."""
        listing, random = LISTINGS[place], self._random
        rows = int(counts.sum())
        at = np.repeat(np.arange(len(counts), dtype=np.float64), counts)
        at += random.random(rows)
        at.sort()
        row = np.arange(rows)
        leads = random.random(rows) >= _FOLLOW_CHANCE
        leads[0] = True
        lead = np.maximum.accumulate(np.where(leads, row, 0))
        at = at[lead] + (at - at[lead]) * _SWEEP_SHRINK
        slot = np.minimum(at.astype(np.int64), len(counts) - 1)
        ns = (at * SLOT_NS).astype(np.int64) + base_ns
        ts_event = ns // NS_PER_US
        columns: dict[str, NDArray[np.generic]] = {
            "ts_event": ts_event,
            "ts_ns": (ns - ts_event * NS_PER_US).astype(np.int16),
        }
        ticks = (edges[slot] + (edges[slot + 1] - edges[slot]) * (at - slot))[lead]
        ticks *= listing.ticks_per_point
        if listing.size_mean == 0:
            columns["price"] = np.rint(ticks) / listing.ticks_per_point
        else:
            rise = np.tanh((edges[1:] - edges[:-1]) * listing.ticks_per_point)
            buys = (random.random(rows) < 0.5 + 0.3 * rise[slot])[lead]
            wide = (random.random(rows) < _WIDE_CHANCE)[lead]
            side = buys.view(np.int8) * np.int8(2) - np.int8(1)
            bid = np.floor(ticks) + side * ((row - lead) // _SWEEP_STEP)
            ask = bid + 1 + wide
            columns["price"] = np.where(buys, ask, bid) / listing.ticks_per_point
            columns["size"] = self._draw_sizes(place, rows)
            columns["side"] = side
            columns["bid"] = bid / listing.ticks_per_point
            columns["ask"] = ask / listing.ticks_per_point
        seq = self._trade_seqs[place] + 1
        self._trade_seqs[place] += rows
        columns["source_seq"] = np.arange(seq, seq + rows)
        self._keep("trades", place, columns)
        if listing.size_mean > 0:
            self._make_quotes(place, columns, seq)

    def _make_quotes(self, place: int, trades: dict[str, NDArray[np.generic]], seq: int) -> None:
        """The quote that stood before every second trade."""
        names = ("ts_event", "ts_ns", "bid", "ask")
        columns = {name: trades[name][seq % 2 :: 2] for name in names}
        rows = len(columns["bid"])
        if rows == 0:
            return
        columns["bid_size"] = self._draw_sizes(place, rows) * 5
        columns["ask_size"] = self._draw_sizes(place, rows) * 5
        first = self._quote_seqs[place] + 1
        self._quote_seqs[place] += rows
        columns["source_seq"] = np.arange(first, first + rows)
        self._keep("quotes", place, columns)

    def _draw_sizes(self, place: int, rows: int) -> NDArray[np.int64]:
        return self._sizes[place][self._random.integers(0, _SIZE_TABLE, rows, dtype=np.uint16)]

    def _keep(self, table: str, place: int, columns: dict[str, NDArray[np.generic]]) -> None:
        symbol = LISTINGS[place].symbol
        contract = self._contracts[symbol]
        self._runs.append(_Run(TickBatch(table, symbol, contract, "demo", columns)))

    def _give(self, now_us: int) -> list[TickBatch]:
        batches = []
        waiting: deque[_Run] = deque()
        for run in self._runs:
            batch = run.batch
            end = int(np.searchsorted(batch.columns["ts_event"], now_us, "right"))
            if end > run.given:
                part = batch.take(slice(run.given, end))
                recv = np.full(part.rows, now_us, np.int64)
                columns = {**part.columns, "ts_recv": recv}
                batches.append(
                    TickBatch(batch.table, batch.symbol, batch.contract, batch.source, columns)
                )
                run.given = end
            if end < batch.rows:
                waiting.append(run)
        self._runs = waiting
        return batches

    def _name_contracts(self, at_us: int) -> None:
        if at_us // DAY_US == self._contracts_day:
            return
        self._contracts_day = at_us // DAY_US
        day = datetime.fromtimestamp(at_us // US_PER_S, UTC).date()
        self._contracts = {
            listing.symbol: front_contract(listing.symbol, day).contract
            if listing.is_future
            else listing.symbol
            for listing in LISTINGS
        }


_LEVELS = np.array([listing.level for listing in LISTINGS])
_FACTOR_PLACES = np.array([FACTORS.index(listing.factor) for listing in LISTINGS])


def _points(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each listing's fair price under the factors' log prices."""
    return np.asarray(_LEVELS * np.exp(factors[_FACTOR_PLACES]))


def _place(symbol: str) -> int:
    return next(place for place, item in enumerate(LISTINGS) if item.symbol == symbol)


def _level(symbol: str) -> float:
    return LISTINGS[_place(symbol)].level


def _size_table(seed: int, listing: Listing) -> NDArray[np.int64]:
    """Sizes to draw from: many small, few large, round lots and odd ones for stocks."""
    random = np.random.default_rng([seed, 2])
    sizes = np.ceil(random.lognormal(np.log(listing.size_mean / 1.6 + 1e-9), 1.0, _SIZE_TABLE))
    if listing.lot > 1:
        is_round = random.random(_SIZE_TABLE) < 0.5
        sizes[is_round] = np.ceil(sizes[is_round] / listing.lot) * listing.lot
    return np.maximum(sizes, 1).astype(np.int64)
