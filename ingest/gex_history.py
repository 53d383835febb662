"""One history file: its records become snapshots in a spool, all of them checked before any counts.

A file whose records are bad beyond one in a hundred is refused as a whole. Records that repeat a
second are left out; where they differ from the first one they are rejects.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from core.batch import Rejected
from core.clock import NS_PER_US
from core.errors import FeedGarbled
from ingest.gex_inflate import Limits, inflate
from ingest.gex_links import Series
from ingest.gex_snapshot import About, Row, gex_batch, kind_of, parse_snapshot
from ingest.gex_split import records
from ingest.gex_spool import SpoolWriter
from ingest.gex_values import parse_json

BATCH_ROWS: Final = 128
REJECTS_KEPT_MAX: Final = 1_000
BAD_SHARE_MAX: Final = 0.01


class HistoryInvalid(FeedGarbled):
    """Too many records of a file are bad; nothing of it was taken."""

    code = "history_invalid"


@dataclass(slots=True)
class Read:
    """What a file held, record by record."""

    records: int = 0
    snapshots: int = 0
    repeats: int = 0
    rejected: int = 0
    inflated_bytes: int = 0
    first_us: int = 0
    last_us: int = 0
    rejects: list[Rejected] = field(default_factory=list)

    def facts(self) -> dict[str, object]:
        """The counts, for a job's page."""
        return {
            "records": self.records,
            "repeats": self.repeats,
            "rejected": self.rejected,
            "inflated_bytes": self.inflated_bytes,
            "first_us": self.first_us,
            "last_us": self.last_us,
        }


def read_history(
    pieces: Iterable[bytes], series: Series, about: About, folder: Path, limits: Limits
) -> Read:
    """Spool every snapshot of a file; raise FeedGarbled or HistoryInvalid, then nothing counts.

    `about` says how the file came and when.
    """
    work = _Work(series, about, SpoolWriter(folder))
    try:
        for record in records(_sized(inflate(pieces, limits), work.read)):
            work.take(record)
        work.flush()
    finally:
        work.spool.close()
    read = work.read
    if read.rejected > BAD_SHARE_MAX * read.records:
        first = read.rejects[0].reason if read.rejects else ""
        raise HistoryInvalid(
            f"{read.rejected:,} of {read.records:,} records are bad; the first: {first}"
        )
    if not read.snapshots:
        raise HistoryInvalid("the file holds no snapshot")
    return read


@dataclass(slots=True)
class _Work:
    """One file on its way."""

    series: Series
    about: About
    spool: SpoolWriter
    read: Read = field(default_factory=Read)
    waiting: list[Row] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)

    def take(self, record: bytes) -> None:
        """One record: a row, a repetition, or a reject."""
        self.read.records += 1
        try:
            found = parse_json(record)
            kind = kind_of(found) if isinstance(found, dict) else None
            if not isinstance(found, dict) or kind is None:
                raise ValueError("not a snapshot")
            row = parse_snapshot(kind, found, self.about)
        except ValueError as error:
            self._reject(record, str(error)[:500])
            return
        second = row["ts_event"]
        assert isinstance(second, int)
        mark = hash(record)
        if second in self.seen:
            self.read.repeats += 1
            if self.seen[second] != mark:
                self._reject(record, "another snapshot of the file has the same time")
                self.read.repeats -= 1
            return
        self.seen[second] = mark
        self._keep(row, second)

    def _keep(self, row: Row, event_us: int) -> None:
        read = self.read
        read.snapshots += 1
        read.first_us = min(read.first_us or event_us, event_us)
        read.last_us = max(read.last_us, event_us)
        self.waiting.append(row)
        if len(self.waiting) == BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self.waiting:
            self.spool.add(gex_batch(self.waiting))
            self.waiting = []

    def _reject(self, record: bytes, reason: str) -> None:
        read = self.read
        read.rejected += 1
        if len(read.rejects) < REJECTS_KEPT_MAX:
            recv_us = self.about.now_ns // NS_PER_US
            read.rejects.append(
                Rejected("gex", self.series.ticker, "gexbot", reason, record, recv_us)
            )


def about_file(series: Series, via: str, now_ns: int) -> About:
    """What a file's name says of each of its records."""
    return About(via, now_ns, series.ticker, series.package, series.category)


def _sized(pieces: Iterable[bytes], read: Read) -> Iterator[bytes]:
    for piece in pieces:
        read.inflated_bytes += len(piece)
        yield piece
