"""What spot checks add up to: rows checked and equal by witness, and how sure that makes us.

Pure, but for reading the table back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from core.clock import DAY_US
from storage.spot import Spot
from storage.view import View

SCORE_MIN = 0.999
WINDOW_US = DAY_US
EVERY_SYMBOL = "*"
_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows compared and equal with one witness, samples, and samples without a counterpart."""

    checked: int = 0
    matched: int = 0
    samples: int = 0
    unverifiable: int = 0

    @property
    def score(self) -> float:
        """Share of equal rows; 1 where nothing was compared."""
        return self.matched / self.checked if self.checked else 1.0

    @property
    def wilson_low(self) -> float:
        """With 95 % confidence at least this share of all rows is equal; 0 without a sample."""
        return wilson_low(self.matched, self.checked)

    def plus(self, checked: int, matched: int) -> "Tally":
        """One more sample."""
        unverifiable = self.unverifiable + (checked == 0)
        return Tally(self.checked + checked, self.matched + matched, self.samples + 1, unverifiable)


def wilson_low(matched: int, checked: int) -> float:
    """Lower bound of Wilson's 95 % interval of a share."""
    if checked == 0:
        return 0.0
    share, z2 = matched / checked, _Z_95**2
    spread = _Z_95 * math.sqrt(share * (1 - share) / checked + z2 / (4 * checked**2))
    return (share + z2 / (2 * checked) - spread) / (1 + z2 / checked)


def read_tallies(view: View, start_us: int) -> dict[str, Tally]:
    """What the samples since a time say, by witness."""
    tallies: dict[str, Tally] = {}
    for symbol in view.symbols("spot_checks"):
        for batch in view.scan("spot_checks", symbol, start_us=start_us):
            names = ("witness", "rows", "matched")
            columns = (batch.column(name).to_pylist() for name in names)
            for witness, rows, matched in zip(*columns, strict=True):
                tallies[witness] = tallies.get(witness, Tally()).plus(rows, matched)
    return tallies


def total(tallies: Sequence[Tally]) -> Tally:
    """All of them together."""
    return Tally(
        sum(t.checked for t in tallies),
        sum(t.matched for t in tallies),
        sum(t.samples for t in tallies),
        sum(t.unverifiable for t in tallies),
    )


def spot_rows(spots: Sequence[Spot], now_us: int) -> pa.RecordBatch:
    """Samples as rows of table `spot_checks`."""
    columns = {
        # A row of every symbol says so: nothing in a table kept by symbol is without one.
        "symbol": [spot.symbol or EVERY_SYMBOL for spot in spots],
        "ts_event": pa.array([now_us] * len(spots), pa.timestamp("us")),
        "ts_recv": pa.array([now_us] * len(spots), pa.timestamp("us")),
        "source": ["spot check"] * len(spots),
        "table_name": [spot.table for spot in spots],
        "witness": [spot.witness for spot in spots],
        "from_ts": pa.array([spot.from_us for spot in spots], pa.timestamp("us")),
        "to_ts": pa.array([spot.to_us for spot in spots], pa.timestamp("us")),
        "outcome": [spot.outcome for spot in spots],
        "rows": [spot.rows for spot in spots],
        "matched": [spot.matched for spot in spots],
        "detail": [spot.detail for spot in spots],
    }
    return pa.RecordBatch.from_pydict(columns)
