"""Trades of any stretch of an intraday file, read when asked for: what a witness has to say."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.batch import TickBatch
from core.clock import US_PER_S
from core.errors import FeedGarbled
from ingest import scid
from ingest.contract import Contract
from ingest.scale import find_scale
from ingest.scid import Naming
from ingest.sierra_file import EPOCH_US
from ingest.sierra_place import SierraPlace, opened
from ingest.tail import Kind, scid_plan

ROWS_MAX = 2_000_000  # of one stretch
FLUSH_US = 15 * US_PER_S  # rows this new may not all be in the file yet


@dataclass(slots=True)
class Reference:
    """The intraday files of a folder, by contract."""

    place: SierraPlace
    folder: Path
    _scales: dict[str, int] = field(default_factory=dict)

    def contracts(self) -> dict[Contract, str]:
        """Contracts that have a file, and its name; none where the folder cannot be read."""
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return {}
        found = {}
        for name in names:
            about = self.place.contract_of(name.split(".", maxsplit=1)[0])
            if about is not None and scid_plan(name) is not None:
                found[about] = name
        return found

    def complete_until_us(self, name: str) -> int | None:
        """Up to when a file holds everything that was written; None without a row."""
        with opened(self.folder / name, _kind(name)) as file:
            if file is None or file.records == 0:
                return None
            # Room at the end that is not filled yet has no time.
            last = file.first_at(2**61) - 1
            if last < 0:
                return None
            return int(file.read(last, 1)["time"][0]) - EPOCH_US - FLUSH_US

    def trades(self, about: Contract, name: str, start_us: int, end_us: int) -> TickBatch:
        """Trades with start <= ts_event < end in file order, at most ROWS_MAX.

        Raise FeedGarbled where the file cannot be read as what it is.
        """
        with opened(self.folder / name, _kind(name)) as file:
            if file is None:
                raise FeedGarbled(f"{name} has no header yet")
            if name not in self._scales:
                prices = scid.sample_prices(file)
                reference = self.place.tape.price(about.root)
                self._scales[name] = find_scale(
                    prices, about.root, is_future=about.is_future, reference=reference
                )
            first, end = file.first_at(start_us), file.first_at(end_us)
            records = file.read(first, min(end - first, ROWS_MAX))
            naming = Naming(about.root, about.contract, self._scales[name])
            batch = scid.decode(records, naming, self.place.now_us()).batch
        times = np.asarray(batch.columns["ts_event"], np.int64)
        return batch.take((times >= start_us) & (times < end_us))


def _kind(name: str) -> Kind:
    plan = scid_plan(name)
    assert plan is not None, name
    return plan.kind
