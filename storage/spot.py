"""Spot checks that need no second source: rows against their checksums, bars against trades.

Each takes one sample by chance and says how it came out. What was folded or replaced meanwhile is
no sample.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from core.clock import HOUR_US
from core.errors import PartitionCorrupt
from core.schema import FAST_TABLES, TABLES
from storage.bars import bars_between
from storage.disk import OsDisk
from storage.lake import Lake
from storage.layout import layout_of
from storage.manifest import Manifest
from storage.partition import group_rows, read_proven, read_range
from storage.paths import Paths
from storage.recovery import segment_numbers
from storage.rollup import WIDTHS_US, merge
from storage.segment import Segment
from storage.words import Words

ROLLUP = "bars_1m"
Outcome = Literal["match", "mismatch", "unverifiable"]


@dataclass(frozen=True, slots=True)
class Spot:
    """One sample: where it lies, how many rows were compared and how many were equal."""

    table: str
    symbol: str
    witness: str
    from_us: int
    to_us: int
    rows: int
    matched: int
    detail: str

    @property
    def outcome(self) -> Outcome:
        """What became of it."""
        if self.rows == 0:
            return "unverifiable"
        return "match" if self.matched == self.rows else "mismatch"


def check_hot(paths: Paths, rng: random.Random) -> Spot | None:
    """Durable rows of one block of a hot segment, against the checksum of their commit."""
    disk = OsDisk()
    found = [(t.name, n) for t in FAST_TABLES for n in segment_numbers(disk, paths, t.name)]
    if not found:
        return None
    table, number = rng.choice(found)
    layout = layout_of(table)
    try:
        segment = Segment.open(disk, paths.segment(table, number), layout)
    except FileNotFoundError:
        return None  # let go meanwhile
    try:
        commits = segment.commits()
        blocks = np.flatnonzero(commits[0].rows).tolist() if commits else []
        if not blocks:
            return None
        place = rng.choice(blocks)
        rows, crc = int(commits[0].rows[place]), int(commits[0].crcs[place])
        block = segment.block(place)
        times = block.values[[column.name for column in layout.columns].index("ts_event")][:rows]
        bounds = (int(times.min()), int(times.max()))
        matched = rows if block.crc(rows) == crc else 0
        words = Words(paths, disk)
        words.reload()
        symbol = words.by_column["symbol"][int(commits[0].symbols[place])]
        detail = f"block {place} of hot segment {number}"
        return Spot(table, symbol, "digest", *bounds, rows, matched, detail)
    finally:
        segment.close()


class Spotter:
    """Takes samples of one lake."""

    def __init__(self, lake: Lake | str, rng: random.Random) -> None:
        self._manifests: Mapping[str, Manifest] = {t: Manifest(lake, t) for t in TABLES}
        self._rng = rng

    def check_digest(self) -> Spot | None:
        """A row group of a sealed file, against the checksums it was sealed with."""
        found = [name for name, manifest in self._manifests.items() if len(manifest.refresh())]
        if not found:
            return None
        table = self._rng.choice(found)
        manifest = self._manifests[table]
        partition = self._rng.choice(manifest.snapshot().pruned())
        size = group_rows(TABLES[table])
        group = self._rng.randrange(-(-partition.rows // size))
        try:
            rows = sum(batch.num_rows for batch in read_proven(partition.local(), only=[group]))
            matched, detail = rows, f"row group {group}"
        except PartitionCorrupt as error:
            rows, matched, detail = min(size, partition.rows), 0, error.message
            if partition.path not in manifest.refresh().paths:
                return None
        bounds = (partition.min_ts_us, partition.max_ts_us)
        return Spot(table, partition.symbol, "digest", *bounds, rows, matched, detail)

    def check_rollup(self) -> Spot | None:
        """The minute bars of one sealed hour, against bars made anew from its trades."""
        rollups, trades = self._manifests[ROLLUP], self._manifests["trades"]
        before = rollups.refresh()
        if not len(before):
            return None
        partition = self._rng.choice(before.pruned())
        first, last = partition.min_ts_us // HOUR_US, partition.max_ts_us // HOUR_US
        start_us = self._rng.randint(first, last) * HOUR_US
        symbol, end_us = partition.symbol, start_us + HOUR_US
        snapshot = trades.refresh()
        if snapshot.sealed_seq.get(symbol) != before.sealed_seq.get(symbol):
            return None  # trades are sealed further than their bars: soon made
        try:
            names = [name for name in TABLES[ROLLUP].schema.names if name != "symbol"]
            told = read_range(partition, names, start_us, end_us)
            seconds = bars_between(snapshot, symbol, start_us, end_us)
        except PartitionCorrupt:
            return None  # told by the check of digests
        made = merge(seconds, width_us=WIDTHS_US[ROLLUP]).select(names)
        rows, matched = max(told.num_rows, made.num_rows), _equal(told, made)
        if matched < rows and rollups.refresh().version != before.version:
            return None
        detail = f"{rows} bars made from trades again"
        return Spot(ROLLUP, symbol, "rollup", start_us, end_us, rows, matched, detail)


def _equal(told: pa.Table, made: pa.Table) -> int:
    """Rows that are the same in both, by time."""
    by_time = {row["ts_event"]: row for row in made.to_pylist()}
    return sum(by_time.get(row["ts_event"]) == row for row in told.to_pylist())
