"""Every symbol as it stands: bars, rates, last trade, ladder and gamma, read from memory alone.

`look` is called a few times a second by one thread; what it gathered is read by the others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from core.clock import DAY_US, MINUTE_NS, NS_PER_S, NS_PER_US, US_PER_S
from core.errors import PipelineError, Unavailable
from core.log import Log
from core.session import NEW_YORK, Market, Sessions, session_at
from core.symbol import GEX_TICKERS
from webui.live_bars import MINUTE_US, SECONDS_KEPT, LiveBars, TradeRows, from_rollup
from webui.tape import StoreTape

SYMBOLS_MAX = 50
HISTORY_US = 7 * DAY_US
REVISED_MAX = 5  # minutes computed anew in one look
NYSE_SYMBOLS = frozenset({"SPY", "QQQ", "VIX", "IWM", "DIA", "SPX", "NDX"})
LADDER_COLUMNS = ("seq", "ts_event", "bid_px", "bid_sz", "ask_px", "ask_sz", "valid")
GEX_COLUMNS = (
    *("ticker", "ts_event", "spot", "net_gex", "strikes"),
    *("zero_gamma", "major_pos_vol", "major_neg_vol"),
)
LIMIT_S: Mapping[str, float] = {"rth": 60.0, "eth": 300.0, "closed": 300.0}
log = Log("web")


@dataclass(slots=True)
class SymbolNow:
    """One symbol at the last look."""

    symbol: str
    bars: LiveBars = field(default_factory=LiveBars)
    price: float | None = None
    bid: float | None = None
    ask: float | None = None
    ts_us: int | None = None
    day_open: float | None = None
    opened_minute: int = -1  # when day_open was last looked for
    is_loaded: bool = False

    @property
    def market(self) -> Market:
        """Whose hours it keeps."""
        return market_of(self.symbol)

    @property
    def tick(self) -> float:
        """The price grid, as far as the newest prices show it."""
        prices = [p for bar in self.bars.seconds.last(30) for p in (bar.high, bar.close)]
        return 0.25 if prices and all(p * 4 == int(p * 4) for p in prices) else 0.01

    def change(self) -> float | None:
        """Percent since the day began."""
        if self.price is None or not self.day_open:
            return None
        return (self.price / self.day_open - 1) * 100

    def freshness(self, now_ns: int) -> tuple[str, float | None]:
        """(state, limit in seconds): whether news came within what its session allows."""
        session = session_at(now_ns, self.market)
        limit_s = LIMIT_S[session]
        if self.ts_us is None:
            return ("closed" if session == "closed" else "unknown"), limit_s
        if now_ns // NS_PER_US - self.ts_us <= limit_s * US_PER_S:
            return "ok", limit_s
        return ("closed" if session == "closed" else "late"), limit_s


class MarketBook:
    """All symbols."""

    def __init__(self, tape: StoreTape) -> None:
        self._tape = tape
        self.symbols: dict[str, SymbolNow] = {}
        self.count = 0  # of all symbols, of which the first ones are shown
        self._gex: dict[str, dict[str, object]] = {}
        self._ladders: dict[str, dict[str, object]] = {}
        self._seen: dict[tuple[str, str], int] = {}

    def look(self, now_ns: int, *, only: Sequence[str] | None = None) -> None:
        """Take in what is new of all symbols, or of some."""
        names = self._names() if only is None else only
        for name in names:
            if name not in self.symbols:
                self.symbols = {**self.symbols, name: SymbolNow(name)}
        first_seq = self._tape.first_seq("trades")
        looked_at = [self.symbols[name] for name in names]
        for now in looked_at:
            if not now.is_loaded or self._is_behind(now, first_seq):
                self._load(now, now_ns)
        fresh = self._tape.trades_after({now.symbol: now.bars.seq for now in looked_at})
        if self._tape.first_seq("trades") != first_seq:
            return  # rows were let go meanwhile: the next look finds out whose they were
        for now in looked_at:
            try:
                self._take(now, fresh[now.symbol], now_ns)
            except Unavailable as error:
                log.warning("symbol.not_read", symbol=now.symbol, why=error.message)

    def _names(self) -> list[str]:
        """The symbols that are shown, and how many there are."""
        names = self._tape.symbols()
        self.count = len(names)
        return names[:SYMBOLS_MAX]

    def look_at_prices(self, names: Sequence[str]) -> None:
        """Take in the last prices of some symbols alone, which is a fraction of the work."""
        for name in names:
            self._price(self.symbols[name])

    def _take(self, now: SymbolNow, fresh: Sequence[TradeRows], now_ns: int) -> None:
        now.bars.take(fresh)
        for minute_us in sorted(now.bars.revised)[-REVISED_MAX:]:
            now.bars.revised.discard(minute_us)
            now.bars.put(minute_us, self._minute(now.symbol, minute_us))
        if not self._price(now) and now.price is None and (bars := now.bars.minutes.last(1)):
            now.price, now.ts_us = bars[0].close, bars[0].last_us
        minute = now_ns // MINUTE_NS
        if minute != now.opened_minute:
            now.day_open = day_open(now.bars, day_start_us(now_ns, now.market))
            now.opened_minute = minute if now.day_open is not None else -1

    def _price(self, now: SymbolNow) -> bool:
        last = self._tape.last_price(now.symbol)
        if last is not None:
            now.price, now.bid, now.ask, now.ts_us = last
        return last is not None

    def _is_behind(self, now: SymbolNow, first_seq: int) -> bool:
        """Whether rows were sealed and let go before they were seen here."""
        if first_seq <= now.bars.seq + 1:
            return False
        return self._tape.sealed("bars_1m").sealed_seq.get(now.symbol, 0) > now.bars.seq

    def _load(self, now: SymbolNow, now_ns: int) -> None:
        """Start from the rollups in the lake; rows after their seq are still in memory.

        Where the newest of them are old, as those of an imported file, the last ones are shown.
        """
        bars, now_us = LiveBars(), now_ns // NS_PER_US
        bars.seq = self._tape.sealed("bars_1m").sealed_seq.get(now.symbol, 0)
        spans = (("bars_1s", SECONDS_KEPT * US_PER_S), ("bars_1m", HISTORY_US))
        for table, span_us in spans:
            into = bars.seconds if table == "bars_1s" else bars.minutes
            try:
                end_us = min(self._tape.newest_us(table, now.symbol) or now_us, now_us)
                found = from_rollup(self._tape.sealed_bars(table, now.symbol, end_us - span_us))
            except PipelineError as error:
                log.warning("bars.not_read", table=table, symbol=now.symbol, why=error.message)
                continue
            into.put(found)
        now.bars, now.is_loaded = bars, True

    def _minute(self, symbol: str, minute_us: int) -> pa.Table:
        reader = self._tape.view().scan(
            "trades", symbol, start_us=minute_us, end_us=minute_us + MINUTE_US
        )
        return reader.read_all()

    def gex(self, symbol: str) -> dict[str, object] | None:
        """The newest snapshot of a symbol's ticker."""
        return self._newest(self._gex, "gex", gex_ticker(symbol), GEX_COLUMNS)

    def ladder(self, symbol: str) -> dict[str, object] | None:
        """The newest sample of a symbol's book."""
        return self._newest(self._ladders, "book", symbol, LADDER_COLUMNS)

    def _newest(
        self,
        held: dict[str, dict[str, object]],
        table: str,
        symbol: str,
        names: Sequence[str],
    ) -> dict[str, object] | None:
        """The last row of a slow table, looked for only among rows not looked at before."""
        try:
            visible_seq = self._tape.watermarks(table).visible_seq
            seen = self._seen.get((table, symbol), 0)
            if visible_seq > seen:
                row = self._tape.last_values(table, symbol, names, seen)
                self._seen[table, symbol] = visible_seq
                if row is not None:
                    held[symbol] = row
        except Unavailable:
            return None
        return held.get(symbol)


def gex_ticker(symbol: str) -> str:
    """GEXBot's ticker of a root."""
    return GEX_TICKERS.get(symbol, symbol)


def market_of(symbol: str) -> Market:
    """Whose hours a symbol keeps: stocks and their indices New York's, the rest Globex."""
    return "nyse" if symbol in NYSE_SYMBOLS else "cme"


def day_start_us(now_ns: int, market: Market) -> int:
    """When the trading day began that is under way or was the last."""
    today = datetime.fromtimestamp(now_ns / NS_PER_S, UTC).astimezone(NEW_YORK).date()
    sessions = Sessions()
    for back in range(-1, 10):
        day = today - timedelta(days=back)
        if market == "cme":
            begins = [begin for begin, _ in sessions.globex(day)[:1]]
        else:
            opens = sessions.rth_open(day)
            begins = [] if opens is None else [opens - 330 * MINUTE_NS]  # 4:00 in New York
        if begins and begins[0] <= now_ns:
            return begins[0] // NS_PER_US
    return now_ns // NS_PER_US - DAY_US


def day_open(bars: LiveBars, start_us: int) -> float | None:
    """What the day's change is measured from: the close before it, else its first price."""
    before, first = bars.minutes.before(start_us), bars.minutes.since(start_us)
    if before and before.start_us >= start_us - HISTORY_US:
        return before.close
    return first.open if first else None


def levels_of(gex: Mapping[str, object]) -> dict[str, float | None]:
    """The price levels of a snapshot that the chart draws."""

    def number(name: str) -> float | None:
        value = gex.get(name)
        return value if isinstance(value, float) and math.isfinite(value) and value else None

    return {
        "zero": number("zero_gamma"),
        "pos": number("major_pos_vol"),
        "neg": number("major_neg_vol"),
    }


def regime_of(price: float | None, zero: float | None) -> tuple[str, float | None]:
    """Above zero gamma dealers damp moves, below they feed them; and the distance in points."""
    if price is None or zero is None:
        return "unknown", None
    return ("calm" if price >= zero else "volatile"), price - zero


def percentile_cap(sizes: Sequence[int]) -> int:
    """The size at which a ladder's bars are full, so that one giant order does not flatten all."""
    ordered = sorted(size for size in sizes if size > 0)
    if not ordered:
        return 1
    return ordered[int((len(ordered) - 1) * 0.9)]
