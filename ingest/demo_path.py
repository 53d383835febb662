"""Second by second, how fast the demo market trades and where its prices are heading.

A second is cut into 64 slots. Trading comes in bursts: the slots' activities are a lognormal
process with rare eruptions, scaled so that every second holds exactly its share of trades. Prices
follow a fast market moving them more: two index factors with most of their moves in common, pulled
back slowly so that a long demo stays near where it began, and a volatility factor against them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOTS = 64
FACTORS = ("ndx", "spx", "vix")

_ACTIVITY_MEMORY = 0.9
_ACTIVITY_SPREAD = 0.35
_ERUPTION_CHANCE = 0.01
_ERUPTION_TIMES = 8.0
_MOVE_PER_S = 1.2e-4
_COMMON_SHARE = 0.95
_PULL_PER_S = 2e-4
_VIX_AGAINST_SPX = -5.0


@dataclass(frozen=True, slots=True)
class Second:
    """One second's plan: trades for each slot and listing, log prices at the slots' edges."""

    trades: NDArray[np.int64]  # (SLOTS, listings)
    factors: NDArray[np.float64]  # (SLOTS + 1, FACTORS)


class Path:
    """Plans one second after another from its own random numbers."""

    def __init__(self, seed: int, rate_per_s: float, shares: tuple[float, ...]) -> None:
        self._random = np.random.default_rng([seed, 1])
        self._rate = rate_per_s
        self._shares = np.array(shares) / sum(shares)
        self._activity = 0.0
        self._factors = np.zeros(2)
        self._own_vix = 0.0
        self._seconds = 0

    def plan(self) -> Second:
        """The next second."""
        weights = self._weights()
        cells = np.outer(weights, self._shares).ravel()
        count = int(self._rate * (self._seconds + 1)) - int(self._rate * self._seconds)
        self._seconds += 1
        trades = self._random.multinomial(count, cells / cells.sum())
        return Second(trades.reshape(SLOTS, len(self._shares)), self._walk(weights))

    def _weights(self) -> NDArray[np.float64]:
        shocks = self._random.normal(0.0, _ACTIVITY_SPREAD, SLOTS).tolist()
        levels = []
        level = self._activity
        for shock in shocks:
            level = _ACTIVITY_MEMORY * level + shock
            levels.append(level)
        self._activity = level
        weights = np.exp(np.array(levels))
        weights[self._random.random(SLOTS) < _ERUPTION_CHANCE] *= _ERUPTION_TIMES
        return np.asarray(weights / weights.sum())

    def _walk(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log prices at the 65 edges; a slot's variance goes with its share of the activity."""
        spread = _MOVE_PER_S * np.sqrt(weights)
        common, own_ndx, own_spx, own_vix = self._random.normal(size=(4, SLOTS)) * spread
        alone = (1 - _COMMON_SHARE**2) ** 0.5
        moves = np.stack(
            (
                1.2 * (_COMMON_SHARE * common + alone * own_ndx),
                _COMMON_SHARE * common + alone * own_spx,
            ),
            axis=1,
        )
        moves -= self._factors * (_PULL_PER_S / SLOTS)
        edges = np.empty((SLOTS + 1, 3))
        edges[0, :2] = self._factors
        edges[1:, :2] = self._factors + np.cumsum(moves, axis=0)
        vix_moves = 2 * own_vix - self._own_vix * (_PULL_PER_S / SLOTS)
        edges[0, 2] = self._own_vix
        edges[1:, 2] = self._own_vix + np.cumsum(vix_moves)
        self._factors, self._own_vix = edges[-1, :2].copy(), float(edges[-1, 2])
        edges[:, 2] += _VIX_AGAINST_SPX * edges[:, 1]
        return edges
