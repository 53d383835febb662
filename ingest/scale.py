"""How many times its price a Sierra Chart file writes for each trade: 1, 10, 100 ...

The factor differs from file to file, so it is found from the file's own trades and never taken
from another file. Where it cannot be told the file is refused: a guess would put wrong prices on
the tape.
"""

import math

import numpy as np
from numpy.typing import NDArray

from core.errors import FeedGarbled

SCALE_MAX = 1_000_000
OFF_GRID_SHARE_MAX = 0.001
DISTINCT_PRICES_MIN = 20
_FOLD_MAX = 10.0  # a known root's price is believed within this factor of its usual one

# Root: its smallest price step, and a usual price.
_FUTURES = {
    "ES": (0.25, 5_000.0),
    "MES": (0.25, 5_000.0),
    "NQ": (0.25, 18_000.0),
    "MNQ": (0.25, 18_000.0),
    "RTY": (0.1, 2_000.0),
    "M2K": (0.1, 2_000.0),
    "YM": (1.0, 38_000.0),
    "MYM": (1.0, 38_000.0),
    "CL": (0.01, 70.0),
    "MCL": (0.01, 70.0),
    "GC": (0.1, 2_500.0),
    "MGC": (0.1, 2_500.0),
}
_USUAL = {"SPY": 500.0, "QQQ": 500.0, "VIX": 20.0, "SPX": 5_000.0, "NDX": 18_000.0}


def find_scale(
    raw: NDArray[np.float32], root: str, *, is_future: bool, reference: float | None = None
) -> int:
    """The factor of a file whose trades hold these raw prices; raise FeedGarbled if unclear."""
    prices = raw[np.isfinite(raw) & (raw > 0)].astype(np.float64)
    if len(prices) == 0:
        return 1
    middle = float(np.median(prices))
    if (prices != np.floor(prices)).any():
        scale = 1
    elif reference is not None:
        scale = _nearest(middle, reference)
    else:
        scale = _from_whole_prices(prices, middle, root, is_future=is_future)
    _prove(prices, middle, scale, root)
    return scale


def tick_of(root: str) -> float | None:
    """The smallest price step of a future that is known here."""
    known = _FUTURES.get(root)
    return known[0] if known else None


def _from_whole_prices(
    prices: NDArray[np.float64], middle: float, root: str, *, is_future: bool
) -> int:
    distinct = np.unique(prices)
    tick, usual = _FUTURES.get(root, (0.01, _USUAL.get(root)))
    step = float(np.gcd.reduce(distinct.astype(np.int64))) / tick
    by_step = int(10 ** max(0, round(math.log10(step))))
    is_by_step = math.isclose(step, by_step) and by_step <= SCALE_MAX
    if usual is not None:
        is_usual = is_by_step and _is_near(middle / by_step, usual)
        return by_step if is_usual else _nearest(middle, usual)
    if not is_future and is_by_step and len(distinct) >= DISTINCT_PRICES_MIN:
        return by_step
    raise FeedGarbled(
        f"expected prices that show how they are scaled, found only whole numbers near {middle:g} "
        f"for {root}, which may be {middle:g} or {middle / 100:g}",
        hint="import the file with a known scale or with a reference price",
    )


def _prove(prices: NDArray[np.float64], middle: float, scale: int, root: str) -> None:
    """Refuse a factor that puts a known future off its price grid or far from usual prices."""
    if root not in _FUTURES:
        return
    tick, usual = _FUTURES[root]
    ticks = prices / scale / tick
    off_grid = np.abs(ticks - np.rint(ticks)) > 0.05
    share = float(off_grid.mean())
    if share <= OFF_GRID_SHARE_MAX and _is_near(middle / scale, usual):
        return
    raise FeedGarbled(
        f"expected {root} prices in steps of {tick:g} near {usual:g}, found {middle / scale:g} "
        f"with {share:.1%} of the trades off that grid",
        hint="check that the file is what its name says, or import it with a known scale",
    )


def _nearest(middle: float, usual: float) -> int:
    power = round(math.log10(middle / usual))
    return int(10 ** min(max(0, power), round(math.log10(SCALE_MAX))))


def _is_near(price: float, usual: float) -> bool:
    return usual / _FOLD_MAX <= price <= usual * _FOLD_MAX
