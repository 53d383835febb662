"""What the canvases draw, as plain numbers: bars and ladders."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isnan

from core.clock import US_PER_S
from webui.live_bars import Bar, widen
from webui.market import percentile_cap
from webui.picture import Gatherer
from webui.sheets import calendar_ms

FRESH_BARS = 2
EVERY_S = (1, 60, 300, 3_600)
BARS_MAX = 10_000
SCALES = (100, 10_000)  # of prices in whole hundredths, ...
WHOLE_WITHIN = 1e-6


def bar_frame(now: Gatherer, symbol: str) -> dict[str, object] | None:
    """The newest seconds and minutes of a symbol, and its last price."""
    found = now.market.symbols.get(symbol)
    if found is None:
        return None
    return {
        "s": [bar.shown() for bar in found.bars.seconds.last(FRESH_BARS)],
        "m": [bar.shown() for bar in found.bars.minutes.last(FRESH_BARS)],
        "p": found.price,
    }


def bars_of_symbol(now: Gatherer, symbol: str, every_s: int, count: int) -> list[Bar]:
    """The newest bars of a width, oldest first."""
    found = now.market.symbols.get(symbol)
    if found is None:
        return []
    if every_s == 1:
        return found.bars.seconds.last(count)
    minutes = found.bars.minutes.last(count * every_s // 60)
    wide = minutes if every_s == 60 else widen(minutes, every_s * US_PER_S)
    return wide[-count:]


def columns_of(bars: Sequence[Bar]) -> dict[str, list[float]]:
    """Bars as columns, which is half of what rows take."""
    rows = [bar.shown() for bar in bars]
    return {name: [row[i] for row in rows] for i, name in enumerate("tohlcv")}


def packed(columns: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Bars as a page carries them, in half the room.

    Times and prices are whole numbers, each after the first as its distance from the one before;
    `scale` is what prices were multiplied by. Where none makes them whole they stay as they are.
    """
    prices = [value for name in "ohlc" for value in columns[name]]
    scales = (s for s in SCALES if all(abs(v * s - round(v * s)) < WHOLE_WITHIN for v in prices))
    scale = next(scales, None)
    if scale is None:
        return dict(columns)
    found: dict[str, Sequence[float]] = {"scale": [scale], "v": columns["v"]}
    for name in "tohlc":
        whole = [round(value * (1 if name == "t" else scale)) for value in columns[name]]
        found[name] = [*whole[:1], *(after - before for before, after in pairwise(whole))]
    return found


def gap_spans(now: Gatherer, symbol: str, start_us: int) -> list[list[int | str | None]]:
    """Holes of the tape in seconds, so that the chart hatches them and never bridges them."""
    return [
        [
            gap.from_us // US_PER_S,
            None if gap.to_us is None else -(-gap.to_us // US_PER_S),
            gap.reason,
        ]
        for gap in now.ledger.account.gaps_since(start_us, symbol)
        if gap.state != "backfilled" and gap.table == "trades"
    ]


def ladder_frame(now: Gatherer, symbol: str) -> dict[str, object] | None:
    """Ten levels each side; `cap` is the size at which a bar is full."""
    row = now.market.ladder(symbol)
    return None if row is None else shown_ladder(row)


def shown_ladder(row: Mapping[str, object]) -> dict[str, object]:
    """A row of table `book` as the ladder draws it; prices that are not there are left out."""
    bids = _levels(row["bid_px"], row["bid_sz"])
    asks = _levels(row["ask_px"], row["ask_sz"])
    return {
        "b": bids,
        "a": asks,
        "cap": percentile_cap([int(size) for _, size in bids + asks]),
        "ts": int(calendar_ms(row["ts_event"])),
        "ok": bool(row["valid"]),
    }


def _levels(prices: object, sizes: object) -> list[tuple[float, int]]:
    assert isinstance(prices, list)
    assert isinstance(sizes, list)
    pairs = zip(prices, sizes, strict=True)
    return [(price, size) for price, size in pairs if price and not isnan(price) and size]
