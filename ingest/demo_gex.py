"""Gamma exposure for the demo market: one ladder a ticker that lives with its spot price.

The shape is a textbook one (calls above, puts below, gamma greatest at the spot); the numbers mean
nothing beyond that.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

STRIKES = 41
WINDOWS_MINUTES = (0, 1, 5, 10, 15, 30)
_PRIOR_MINUTES = WINDOWS_MINUTES[1:]
_HISTORY_S = 60 * WINDOWS_MINUTES[-1] + 1
_WIDTH_STRIKES = 8.0
_GRID = 161


class DemoGamma:
    """The ladder of one ticker and its last half hour."""

    def __init__(self, seed: int, ticker: str, level: float, step: float, offset: float) -> None:
        self._random = np.random.default_rng([seed, 3, *ticker.encode()])
        self.ticker = ticker
        self._step = step
        middle = round(level / step) * step + offset
        self._strikes = np.round(middle + (np.arange(STRIKES) - STRIKES // 2) * step, 2)
        away = np.arange(STRIKES) - STRIKES // 2
        noise = self._random.lognormal(0.0, 0.5, (2, STRIKES))
        calls = noise[0] * np.exp(-(((away - 5) / 9) ** 2))
        puts = noise[1] * np.exp(-(((away + 5) / 9) ** 2))
        self._interest = 900.0 * (calls - puts)
        self._volume = self._interest * self._random.lognormal(0.0, 0.3, STRIKES)
        self._history: deque[NDArray[np.float64]] = deque(maxlen=_HISTORY_S)

    def snapshot(self, ts_event: int, ts_recv: int, spot: float) -> dict[str, object]:
        """The next second's row of table `gex`, its ladder at this spot."""
        self._volume *= 1 + self._random.normal(0.0, 0.01, STRIKES)
        near = self._nearness(np.array([spot]))[0]
        by_volume = np.round(self._volume * near, 3)
        by_interest = np.round(self._interest * near, 3)
        self._history.append(by_volume)
        sum_volume = round(float(by_volume.sum()), 3)
        return {
            "symbol": self.ticker,
            "ts_event": ts_event,
            "ts_ns": 0,
            "ts_recv": ts_recv,
            "source": "demo",
            "ticker": self.ticker,
            "package": "classic",
            "category": "gex_zero",
            "spot": round(spot, 2),
            "zero_gamma": self._zero_gamma(spot),
            "net_gex": sum_volume,
            "major_pos_vol": float(self._strikes[by_volume.argmax()]),
            "major_pos_oi": float(self._strikes[by_interest.argmax()]),
            "major_neg_vol": float(self._strikes[by_volume.argmin()]),
            "major_neg_oi": float(self._strikes[by_interest.argmin()]),
            "sum_gex_vol": sum_volume,
            "sum_gex_oi": round(float(by_interest.sum()), 3),
            "delta_risk_reversal": round(float(self._random.normal(-0.2, 0.02)), 3),
            "min_dte": 0,
            "sec_min_dte": 1,
            "change_windows": self._changes(by_volume),
            "strikes": self._ladder(by_volume, by_interest),
            "via": "api",
            "extra": None,
        }

    def _nearness(self, spots: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much of each strike's gamma is felt at each spot."""
        away = (self._strikes - spots[:, None]) / (self._step * _WIDTH_STRIKES)
        return np.asarray(np.exp(-0.5 * away**2))

    def _zero_gamma(self, spot: float) -> float | None:
        """The price nearest to the spot at which the net gamma would change its sign."""
        spots = np.linspace(self._strikes[0], self._strikes[-1], _GRID)
        net = self._nearness(spots) @ self._volume
        turns = np.flatnonzero(np.signbit(net[1:]) != np.signbit(net[:-1]))
        if len(turns) == 0:
            return None
        left, right = net[turns], net[turns + 1]
        crossings = spots[turns] + (spots[1] - spots[0]) * left / (left - right)
        return round(float(crossings[np.abs(crossings - spot).argmin()]), 2)

    def _before(self, minutes: int) -> NDArray[np.float64]:
        """The ladder some minutes ago, the oldest known where there was none yet."""
        return self._history[max(0, len(self._history) - 1 - 60 * minutes)]

    def _changes(self, now: NDArray[np.float64]) -> list[dict[str, float | int]]:
        """For each window the strike that changed most; the window of 0 minutes is what stands."""
        windows: list[dict[str, float | int]] = []
        for minutes in WINDOWS_MINUTES:
            change = now - self._before(minutes) if minutes else now
            most = int(np.abs(change).argmax())
            strike, value = float(self._strikes[most]), round(float(change[most]), 3)
            windows.append({"minutes": minutes, "strike": strike, "value": value})
        return windows

    def _ladder(
        self, by_volume: NDArray[np.float64], by_interest: NDArray[np.float64]
    ) -> list[dict[str, object]]:
        priors = np.stack([self._before(minutes) for minutes in _PRIOR_MINUTES], axis=1).tolist()
        return [
            {"strike": strike, "gex_vol": volume, "gex_oi": interest, "priors": prior}
            for strike, volume, interest, prior in zip(
                self._strikes.tolist(),
                by_volume.tolist(),
                by_interest.tolist(),
                priors,
                strict=True,
            )
        ]
