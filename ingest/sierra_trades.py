"""Sierra Chart's intraday files as a feed: the source of trades, or a witness of another's.

Where no other feed brings a root's trades, rows go into table `trades` with source scid. Where one
does, storing them too would count every trade twice: then the file is only read by the witness, who
holds it against the feed. Either way the trades' times are told, for depth to be judged by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.batch import TickBatch
from core.clock import DAY_US, HOUR_US, US_PER_S
from core.errors import FeedGarbled
from core.log import Log
from ingest import scid
from ingest.contract import Contract
from ingest.ranks import KeptSeqs, Ranks
from ingest.scale import find_scale
from ingest.scid import Naming, OpenBundle, Tally
from ingest.sierra_place import SierraPlace, opened
from ingest.tail import FolderTail, Grown, Plan, scid_plan
from ingest.taking import Taker

log = Log("sierra")
PART = "sierra trades"
LATE_US = 60 * US_PER_S
LOOK_BACK_US = DAY_US  # of a file the tape holds nothing of; older rows are for the importer
WITNESS_BACK_US = HOUR_US

_ALL = 2**62

Times = NDArray[np.int64]


@dataclass(slots=True)
class _File:
    """One file being followed. Rows up to `known_us` may be stored already."""

    about: Contract
    naming: Naming
    plan: Plan
    is_witness: bool
    grown_us: int
    is_twin: bool = False  # another service's name for a contract that has a file
    known_us: int = 0
    has_scale: bool = False
    newest_us: int = 0
    bundle: OpenBundle | None = None
    kept: KeptSeqs = field(default_factory=KeptSeqs)
    ranks: Ranks = field(init=False)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what was taken of the file."""
        self.kept = KeptSeqs()
        self.ranks = Ranks(partial(self.kept.recall, ("", "")))
        self.bundle = None


@dataclass(slots=True)
class TradesFeed:
    """Follows every intraday file of a folder that is ours; `fed` are roots another feed brings."""

    place: SierraPlace
    folder: Path
    fed: frozenset[str]
    _tail: FolderTail = field(init=False)
    _files: dict[str, _File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tail = FolderTail(self.folder, self._plan, self._begin, self._forget)

    def poll(self) -> Mapping[str, Times]:
        """Take what has come; give the times of its trades, by contract."""
        times: dict[str, list[Times]] = {}
        for name, grown in self._tail.poll(self.place.now_us()):
            try:
                batch = self._take(name, grown)
            except FeedGarbled as error:
                self._tail.refuse(name, error)
                continue
            if batch.rows:
                ts_event = np.asarray(batch.columns["ts_event"], np.int64)
                times.setdefault(batch.contract, []).append(ts_event)
        self._tell()
        return {contract: np.concatenate(parts) for contract, parts in times.items()}

    def _plan(self, name: str) -> Plan | None:
        plan = scid_plan(name)
        return plan if plan and self.place.contract_of(_stem(name)) is not None else None

    def _begin(self, name: str) -> int:
        """Which record to begin with: after what is stored, or a while ago."""
        plan, about = scid_plan(name), self.place.contract_of(_stem(name))
        assert plan is not None
        assert about is not None
        now_us = self.place.now_us()
        is_witness = about.root in self.fed
        naming = Naming(about.root, about.contract, 1)
        is_twin = any(other.about == about for other in self._files.values())
        file = _File(about, naming, plan, is_witness, now_us, is_twin)
        self._files[name] = file
        stored_us = None
        if not is_witness:
            tape = self.place.tape
            stored_us = tape.last_us("trades", about.root, about.contract, scid.SOURCE)
        if stored_us is not None:
            start_us = file.known_us = stored_us
        else:
            start_us = now_us - (WITNESS_BACK_US if is_witness else LOOK_BACK_US)
        try:
            with opened(self.folder / name, plan.kind) as source:
                return source.first_at(start_us) if source else 0
        except FeedGarbled:
            return 0  # the tail tells what is wrong with it

    def _forget(self, name: str) -> None:
        del self._files[name]

    def _take(self, name: str, grown: Grown) -> TickBatch:
        file = self._files[name]
        if not file.has_scale:
            self._find_scale(name, file)
        if grown.is_again and grown.first == 0:
            self.place.board.count("sierra.trades.rewrites")
            file.begin_again()
            file.known_us = _ALL
        now_us = self.place.now_us()
        decoded = scid.decode(grown.records, file.naming, now_us, file.bundle)
        file.bundle = decoded.bundle
        file.tally += decoded.tally
        batch = decoded.batch
        file.grown_us = now_us
        if batch.rows == 0:
            return batch
        times = np.asarray(batch.columns["ts_event"], np.int64)
        if not file.is_witness:
            if file.is_twin or times.min() <= file.known_us:
                self._take_again(file, grown, batch)
            else:
                self.place.store.take(batch)
        if file.known_us == _ALL and not grown.is_again:
            file.known_us = int(times[-1])  # the rewritten file is through
        file.newest_us = int(times[-1])
        return batch

    def _take_again(self, file: _File, grown: Grown, batch: TickBatch) -> None:
        """Take rows that may be stored already."""
        taker = Taker(self.place.store, self.place.existing, self.place.now_us())
        seqs = taker.take(grown.first, batch, file.ranks)
        file.kept.keep(("", ""), grown.first, seqs)

    def _find_scale(self, name: str, file: _File) -> None:
        with opened(self.folder / name, file.plan.kind) as source:
            prices = scid.sample_prices(source) if source else np.empty(0, np.float32)
        if len(prices) == 0:
            return
        root, is_future = file.about.root, file.about.is_future
        reference = self.place.tape.price(root)
        scale = find_scale(prices, root, is_future=is_future, reference=reference)
        file.naming, file.has_scale = replace(file.naming, scale=scale), True

    def _tell(self) -> None:
        """How the feed is, on the board."""
        board, now_us = self.place.board, self.place.now_us()
        files = [file for file in self._files.values() if file.newest_us]
        board.gauge("sierra.trades.files", len(self._tail.open_names))
        if not self.folder.is_dir():
            board.state(PART, "off", f"no folder {self.folder.name}")
            return
        silent_us = min((now_us - file.grown_us for file in files), default=0)
        told, bars = [], 0
        for file in files:
            behind_s = (file.grown_us - file.newest_us) / US_PER_S
            role = "witness" if file.is_witness else "source"
            told.append(f"{file.about.contract} {behind_s:.1f} s behind ({role})")
            bars += file.tally.bars
        if files:
            board.gauge(
                "sierra.trades.lag_s", max((f.grown_us - f.newest_us) / US_PER_S for f in files)
            )
            board.gauge("sierra.trades.silent_s", silent_us / US_PER_S)
        if bars:
            told.append(f"{bars} bars left out: set Sierra's storage time unit to 1 tick")
        told += [f"{name} refused" for name in self._tail.refused]
        detail = ", ".join(told) or "no file to follow"
        if bars or self._tail.refused:
            board.state(PART, "degraded", detail)
        elif not self.place.is_market_open():
            board.state(PART, "closed", detail)
        elif not files or silent_us > LATE_US:
            board.state(PART, "late", detail)
        else:
            board.state(PART, "ok", detail, limit_s=30)


def _stem(name: str) -> str:
    return name.split(".", maxsplit=1)[0]
