"""Takes history files that are on this disk into the tape: JSON, gzip or the end-of-day archive.

Each file, and each member of an archive, is checked whole, held against what was polled that day,
and published in one version. The same file again adds nothing.
"""

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import pyarrow as pa

from core.batch import Rejected
from core.errors import FeedGarbled
from core.log import Log
from ingest.gex_checks import hold_against
from ingest.gex_history import Read, about_file, read_history
from ingest.gex_inflate import GZIP, PIECE_BYTES, Limits
from ingest.gex_links import Series, parse_file_name
from ingest.gex_spool import remove_spool, spooled_parts
from ingest.importer import Imported
from storage.view import View

log = Log("gex")
MEMBERS_MAX: Final = 200
MEMBER_NAME: Final = re.compile(r"[A-Za-z0-9_./-]{1,200}")
NAMED_LIKE: Final = "name it like 2026-11-20_NQ_NDX_classic_gex_zero.json.gz"
Progress = Callable[[int, int], None]


class Sink(Protocol):
    """The writer, in this process or another."""

    def publish_gex(self, folder: str, symbol: str) -> int:
        """Seal what a spool folder holds and is not stored yet; count it."""

    def append_rows(self, table: str, rows: pa.RecordBatch, /) -> object:
        """Store rows of a slow table."""

    def reject(self, rejected: list[Rejected], /) -> object:
        """Keep refused rows."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one file or member."""

    series: Series
    read: Read
    added: int
    check: str

    def facts(self) -> dict[str, object]:
        """The counts, for a job's page."""
        duplicates = self.read.snapshots - self.added
        return {**self.read.facts(), "added": self.added, "duplicates": duplicates} | {
            "check": self.check
        }


@dataclass(frozen=True, slots=True)
class Importer:
    """Where files go: `spools` is the folder of spools, `name` is this import's own in it."""

    sink: Sink
    view: Callable[[], View]
    spools: Path
    name: str
    limits: Limits
    now_ns: int

    def take_file(
        self, path: Path, series: Series | None, via: str, progress: Progress | None = None
    ) -> list[Taken]:
        """One file; an archive's members each. Raise FeedGarbled where it cannot be read."""
        size = path.stat().st_size
        with _memory_given_back(), path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return list(self._take_archive(path, series, via, progress))
            file.seek(0)
            series = series or parse_file_name(path.name)
            if series is None or not series.category:
                raise FeedGarbled(f"no history file's name: {path.name[:120]}", hint=NAMED_LIKE)
            return [self._take(_pieces(file, size, progress), series, via)]

    def _take_archive(
        self, path: Path, wanted: Series | None, via: str, progress: Progress | None
    ) -> Iterator[Taken]:
        """The members that are history files; with `wanted` that series alone."""
        try:
            with zipfile.ZipFile(path) as archive:
                members = _checked_members(archive, self.limits)
                done, whole = 0, sum(member.compress_size for member in members)
                for member in members:
                    series = parse_file_name(member.filename.rsplit("/", 1)[-1])
                    if series is None or not series.category:
                        log.info("member.skipped", name=member.filename)
                    elif wanted is None or series == wanted:
                        with closing(archive.open(member)) as file:
                            pieces = iter(partial(file.read, PIECE_BYTES), b"")
                            yield self._take(pieces, series, via)
                    done += member.compress_size
                    if progress is not None:
                        progress(done, whole)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise FeedGarbled(f"the archive cannot be read: {error}") from error

    def _take(self, pieces: Iterator[bytes], series: Series, via: str) -> Taken:
        folder = self.spools / self.name
        try:
            about = about_file(series, via, self.now_ns)
            read = read_history(pieces, series, about, folder, self.limits)
            parts = spooled_parts(folder)
            check, told = hold_against(self.view(), parts, series, self.now_ns)
            added = self.sink.publish_gex(self.name, series.ticker)
            self.sink.append_rows("spot_checks", check)
            if read.rejects:
                self.sink.reject(read.rejects)
        finally:
            remove_spool(folder)
        log.info("history.imported", series=series, snapshots=read.snapshots, added=added)
        return Taken(series, read, added, told)


@contextmanager
def _memory_given_back() -> Iterator[None]:
    """Meanwhile memory that was let go is given back; Arrow's usual pool keeps much of it."""
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(usual)


def is_history(path: Path) -> bool:
    """Whether a file is named or looks like one of these: JSON, gzip or an archive."""
    if parse_file_name(path.name) is not None:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return False  # whoever reads it next says what is wrong
    return head.startswith((b"PK\x03\x04", GZIP)) or head.lstrip()[:1] in (b"[", b"{")


def summed(taken: list[Taken]) -> Imported:
    """What became of every record of a file, all members together."""
    reads = [one.read for one in taken]
    repeats = sum(read.repeats + read.snapshots for read in reads)
    added = sum(one.added for one in taken)
    return Imported(
        symbols=tuple(sorted({one.series.ticker for one in taken})),
        rows_read=sum(read.records for read in reads),
        added=added,
        duplicates=repeats - added,
        rejected=sum(read.rejected for read in reads),
    )


def _pieces(file: BinaryIO, size: int, progress: Progress | None) -> Iterator[bytes]:
    done = 0
    while piece := file.read(PIECE_BYTES):
        done += len(piece)
        yield piece
        if progress is not None:
            progress(done, size)


def _checked_members(archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    """The files of an archive, none of which leads out of it or is too much."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MEMBERS_MAX:
        raise FeedGarbled(f"expected at most {MEMBERS_MAX} members, found {len(members)}")
    for member in members:
        name = member.filename
        if not MEMBER_NAME.fullmatch(name) or name.startswith("/") or ".." in name.split("/"):
            raise FeedGarbled(f"expected plain member names, found {name[:80]!r}")
        if member.file_size > limits.compressed_bytes:
            raise FeedGarbled(f"{name}: expected at most {limits.compressed_bytes:,} bytes")
    total = sum(member.file_size for member in members)
    if total > limits.inflated_bytes:
        raise FeedGarbled(f"expected at most {limits.inflated_bytes:,} bytes inside: {total:,}")
    return members
