"""Sierra Chart's depth files as a feed: rows of table `depth`, and of `book` rebuilt from them.

One thread polls. A file that was rewritten is taken again and adds only what is new; a book that
is not known for a while is written down as a gap of table `depth`.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import US_PER_S
from core.errors import FeedGarbled
from core.log import Log
from ingest import depth
from ingest.depth import DepthNaming
from ingest.gapbook import GapBook
from ingest.ranks import Ranks
from ingest.scale import find_scale
from ingest.sierra_book import LiveBook
from ingest.sierra_file import RecordFile
from ingest.sierra_place import SierraPlace, opened
from ingest.tail import FolderTail, Grown, Plan, depth_plan
from ingest.taking import Taker

log = Log("sierra")
PART = "sierra depth"
LATE_US = 60 * US_PER_S  # without a row while the market is open

_NO_TRADES = np.empty(0, np.int64)

Times = NDArray[np.int64]


@dataclass(slots=True)
class _File:
    """One file being followed: its names, its book, and when it grew last by our clock."""

    naming: DepthNaming
    plan: Plan
    book: LiveBook
    grown_us: int
    has_scale: bool = False
    newest_us: int = 0


@dataclass(slots=True)
class DepthFeed:
    """Follows every depth file of a folder that is ours."""

    place: SierraPlace
    folder: Path
    _tail: FolderTail = field(init=False)
    _gaps: GapBook = field(init=False)
    _files: dict[str, _File] = field(default_factory=dict)
    _twins: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._tail = FolderTail(self.folder, self._plan, self._begin, self._forget)
        present = self.place.tape.gaps("depth", depth.SOURCE)
        self._gaps = GapBook(
            self.place.store, self.place.clock, present, table="depth", source=depth.SOURCE
        )

    def poll(self, trades: Mapping[str, Times]) -> int:
        """Take what has come; `trades` are times of trades that came meanwhile, by contract."""
        now_us, rows = self.place.now_us(), 0
        for name, grown in self._tail.poll(now_us):
            try:
                rows += self._take(name, grown)
            except FeedGarbled as error:
                self._tail.refuse(name, error)
        for file in self._current():
            trades_us = trades.get(file.naming.contract, _NO_TRADES)
            now_us = self.place.now_us()
            quiet_us = now_us - file.grown_us
            self._write(file.book.judge(trades_us, quiet_us, now_us))
            self._write(file.book.settle(quiet_us, now_us))
            self._note(file)
        self._tell()
        return rows

    def _plan(self, name: str) -> Plan | None:
        named = depth.parse_name(name)
        about = None if named is None else self.place.contract_of(*named)
        if named is None or about is None:
            return None
        # Another service's name for the same contract: its records' numbers would be taken twice.
        of_day = (about.contract, named[1])
        twins = {n for n, f in self._files.items() if (f.naming.contract, f.naming.day) == of_day}
        if twins - {name}:
            self._twins.add(name)
            return None
        self._twins.discard(name)
        return depth_plan(name)

    def _begin(self, name: str) -> int:
        """How many records of a file are stored; its book is brought up to them."""
        named, plan = depth.parse_name(name), depth_plan(name)
        assert named is not None
        assert plan is not None
        about = self.place.contract_of(*named)
        assert about is not None
        naming = DepthNaming(about.root, about.contract, 1, named[1])
        file = _File(naming, plan, self._new_book(naming), self.place.now_us())
        self._files[name] = file
        records = self.place.tape.depth_records(naming)
        if records:
            # What is wrong with the file is told when it grows.
            with suppress(FeedGarbled):
                self._find_scale(name, file, records)
            if file.book.book is not None:
                file.newest_us = file.book.book.last_ts_us or 0
        return records

    def _forget(self, name: str) -> None:
        del self._files[name]

    def _new_book(self, naming: DepthNaming) -> LiveBook:
        tape = self.place.tape
        written_us = tape.last_us("book", naming.symbol, naming.contract, depth.SOURCE)
        book = LiveBook(naming.symbol)
        book.written_us = book.written_us if written_us is None else written_us
        return book

    def _take(self, name: str, grown: Grown) -> int:
        file, store = self._files[name], self.place.store
        if not file.has_scale:
            self._find_scale(name, file, grown.first)
        now_us = self.place.now_us()
        if grown.is_again and grown.first == 0:
            file.book = self._new_book(file.naming)
            self.place.board.count("sierra.depth.rewrites")
        decoded = depth.decode(grown.records, grown.first, file.naming, now_us)
        if grown.is_again:
            Taker(store, self.place.existing, now_us).take(
                grown.first, decoded.batch, Ranks(depth.no_repeats)
            )
        else:
            store.take(decoded.batch)
            store.reject(decoded.refused)
        self._write(file.book.take(decoded.batch, self.place.now_us()))
        if grown.is_again:
            list(file.book.changes())  # written down when it was new
        if decoded.batch.rows:
            file.newest_us = int(np.asarray(decoded.batch.columns["ts_event"])[-1])
        file.grown_us = self.place.now_us()
        return decoded.batch.rows

    def _find_scale(self, name: str, file: _File, first: int) -> None:
        """Tell the file's factor once it has prices, and bring its book up to record `first`."""
        with opened(self.folder / name, file.plan.kind) as source:
            if source is None:
                return
            prices = depth.sample_prices(source)
            if len(prices) == 0:
                return  # clears alone, which have no price
            naming = file.naming
            is_future = naming.symbol != naming.contract
            reference = self.place.tape.price(naming.symbol)
            scale = find_scale(prices, naming.symbol, is_future=is_future, reference=reference)
            file.naming, file.has_scale = replace(naming, scale=scale), True
            self._catch_up(file, source, first)

    def _catch_up(self, file: _File, source: RecordFile, end: int) -> None:
        """Replay the stored records since the last clear."""
        now_us = self.place.now_us()
        for first in range(_last_clear(source, end), end, depth.FORMAT.chunk_records):
            records = source.read(first, min(depth.FORMAT.chunk_records, end - first))
            batch = depth.decode(records, first, file.naming, now_us).batch
            self._write(file.book.take(batch, now_us))

    def _write(self, rows: pa.RecordBatch | None) -> None:
        if rows is not None:
            self.place.store.append_rows("book", rows)

    def _current(self) -> Iterable[_File]:
        """The newest file with rows of each contract."""
        newest: dict[str, _File] = {}
        for file in sorted(self._files.values(), key=lambda file: file.naming.day):
            if file.newest_us:
                newest[file.naming.contract] = file
        return newest.values()

    def _note(self, file: _File) -> None:
        """Write down when the book became unknown or known, and what was odd."""
        naming = file.naming
        for change in file.book.changes():
            gap = self._gaps.open_gap(naming.contract)
            if change.is_valid and gap is not None:
                self._gaps.close(
                    gap,
                    "unrepairable",
                    to_us=change.at_us,
                    rows=0,
                    reason="the book is known again from a full snapshot on",
                )
            elif not change.is_valid and gap is None:
                self._gaps.open(naming.symbol, naming.contract, change.at_us, change.reason)
        for count, fresh in file.book.fresh_counts().items():
            self.place.board.count(f"book.{count.name.lower()}", fresh)

    def _tell(self) -> None:
        """How the feed is, on the board."""
        board, now_us = self.place.board, self.place.now_us()
        files = list(self._current())
        board.gauge("sierra.depth.files", len(self._tail.open_names))
        if not self.folder.is_dir():
            board.state(PART, "off", f"no folder {self.folder.name}")
            return
        behind_s = {f.naming.contract: (f.grown_us - f.newest_us) / US_PER_S for f in files}
        silent_us = min((now_us - file.grown_us for file in files), default=0)
        if files:
            board.gauge("sierra.depth.lag_s", max(behind_s.values()))
            board.gauge("sierra.depth.silent_s", silent_us / US_PER_S)
        unknown = [f.naming.contract for f in files if not (f.book.book and f.book.book.is_valid)]
        told = [f"{contract} {behind:.1f} s behind" for contract, behind in behind_s.items()]
        told += [f"book of {contract} unknown" for contract in unknown]
        told += [f"{name} refused" for name in self._tail.refused]
        told += [f"{name} left alone: its contract has a file" for name in sorted(self._twins)]
        detail = ", ".join(told) or "no file of today"
        if self._tail.refused or self._twins:
            board.state(PART, "degraded", detail)
        elif not self.place.is_market_open():
            board.state(PART, "closed", detail)
        elif not files or silent_us > LATE_US:
            board.state(PART, "late", detail)
        else:
            board.state(PART, "degraded" if unknown else "ok", detail, limit_s=30)


def _last_clear(source: RecordFile, end: int) -> int:
    """Number of the last clear before record `end`; 0 where there is none."""
    step = depth.FORMAT.chunk_records
    for first in range((max(end, 1) - 1) // step * step, -1, -step):
        clears = np.flatnonzero(
            source.read(first, min(step, end - first))["command"] == depth.CLEAR
        )
        if len(clears):
            return first + int(clears[-1])
    return 0
