"""Takes a market file into the tape, once, however often it is given.

Rows the tape already holds are dropped and counted; rows the guard refuses become rejects; records
that are no trades are counted by kind. Every row read is in exactly one of these counts or added.
The file is only read, chunk by chunk, in bounded memory.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

from core.clock import US_PER_S
from core.errors import FeedGarbled
from core.log import Log
from ingest import depth, scid
from ingest.contract import Contract, parse_stem
from ingest.depth import DepthNaming, open_depth, parse_name
from ingest.guard import TIME_US_MIN, find_faults
from ingest.ranks import KeptSeqs, Ranks, Seqs
from ingest.scale import find_scale
from ingest.scid import Naming, OpenBundle, Tally, decode, open_scid
from ingest.sierra_file import RecordFile, Records
from ingest.tabular import Table, open_csv, open_parquet
from ingest.taking import Existing, Sink, Taker, good_rows, source_seqs

log = Log("import")
Progress = Callable[[int, int], None]  # bytes done, bytes in all

_SUPPORTED = (
    "give a Sierra Chart .scid or .depth file, ticks as Parquet or CSV, or a GEXBot history file"
)
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"[": "a JSON file",
    b"{": "a JSON file",
}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the caller knows better than the file.

    `symbol` replaces the name in the file; `scale` is the factor of a .scid file's prices;
    `reference` is a price of the instrument near the file's, to find that factor. At most
    `chunk_records` records are in memory at a time.
    """

    symbol: str | None = None
    scale: int | None = None
    reference: float | None = None
    chunk_records: int = scid.FORMAT.chunk_records


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file's rows."""

    symbols: tuple[str, ...]
    rows_read: int
    added: int
    duplicates: int
    rejected: int
    skipped: dict[str, int] = field(default_factory=dict)
    partial_bytes: int = 0

    def __post_init__(self) -> None:
        told = self.added + self.duplicates + self.rejected + sum(self.skipped.values())
        assert told == self.rows_read, f"{self.rows_read} rows read, {told} accounted for"


def import_file(
    path: Path,
    *,
    sink: Sink,
    existing: Existing,
    now_us: int,
    options: ImportOptions = ImportOptions(),
    progress: Progress | None = None,
) -> Imported:
    """Take one file in; raise FeedGarbled where it cannot be read as what it is."""
    job = _Job(Taker(sink, existing, now_us), options, progress or (lambda _done, _all: None))
    with _opened(path) as (descriptor, size, head):
        done = job.run(path, descriptor, size, head)
    log.info(
        "file.imported",
        file=path.name,
        symbols=",".join(done.symbols),
        read=done.rows_read,
        added=done.added,
        duplicates=done.duplicates,
        rejected=done.rejected,
    )
    return done


@dataclass(frozen=True, slots=True)
class _Job:
    """One import: what takes the rows, and what the caller said."""

    taker: Taker
    options: ImportOptions
    progress: Progress

    def run(self, path: Path, descriptor: int, size: int, head: bytes) -> Imported:
        if head.startswith(scid.FORMAT.magic) or path.suffix.lower() == ".scid":
            file = open_scid(partial(os.pread, descriptor), size, path.name)
            return self._import_scid(file, path, size)
        if head.startswith(depth.FORMAT.magic) or path.suffix.lower() == ".depth":
            book_file = open_depth(partial(os.pread, descriptor), size, path.name)
            return self._import_depth(book_file, path, size)
        for magic, kind in _OTHERS.items():
            if head.startswith(magic):
                raise FeedGarbled(
                    f"expected a file with ticks, found {kind}: {path.name}", hint=_SUPPORTED
                )
        if head.startswith(b"PAR1"):
            return self._import_table(open_parquet(path, self.options.symbol), size)
        if path.suffix.lower() in {".csv", ".txt", ".tsv"}:
            return self._import_table(open_csv(path, self.options.symbol), size)
        raise FeedGarbled(
            f"expected a file with ticks, found one that begins with {head!r}: {path.name}",
            hint=_SUPPORTED,
        )

    def _import_scid(self, file: RecordFile, path: Path, size: int) -> Imported:
        about = self._contract_of(file, path)
        scale = self.options.scale or find_scale(
            scid.sample_prices(file),
            about.root,
            is_future=about.is_future,
            reference=self.options.reference,
        )
        naming = Naming(about.root, about.contract, scale)
        ranks = Ranks(lambda chunk: self._scid_seqs(file, naming, chunk))
        tally = Tally()
        bundle: OpenBundle | None = None
        for chunk, records in self._chunks(file):
            decoded = decode(records, naming, self.taker.now_us, bundle)
            tally, bundle = tally + decoded.tally, decoded.bundle
            self.taker.take(chunk, decoded.batch, ranks)
            self.progress(file.header_bytes + tally.records * scid.RECORD.itemsize, size)
        skipped = {"quotes": tally.quotes, "bars": tally.bars, "blanks": tally.blanks}
        return self._done((about.root,), tally.records, skipped, file.partial_bytes)

    def _import_depth(self, file: RecordFile, path: Path, size: int) -> Imported:
        named = parse_name(path.name)
        today = datetime.fromtimestamp(self.taker.now_us // US_PER_S, UTC).date()
        day = named[1] if named else depth.first_day(file) or today
        about = self._contract_on(day, path)
        scale = self.options.scale or find_scale(
            depth.sample_prices(file),
            about.root,
            is_future=about.is_future,
            reference=self.options.reference,
        )
        naming = DepthNaming(about.root, about.contract, scale, day)
        # The book's kernel takes a second to load; only who has such files waits for it.
        from ingest.depth_import import DepthImport

        def told(records: int) -> None:
            self.progress(file.header_bytes + records * depth.RECORD.itemsize, size)

        tally = DepthImport(self.taker, naming, told).run(self._chunks(file))
        skipped = {"blanks": tally.blanks}
        return self._done((about.root,), tally.records, skipped, file.partial_bytes)

    def _contract_of(self, file: RecordFile, path: Path) -> Contract:
        first_us = scid.first_time_us(file)
        if first_us is None or not TIME_US_MIN <= first_us <= self.taker.now_us:
            first_us = self.taker.now_us
        return self._contract_on(datetime.fromtimestamp(first_us // US_PER_S, UTC).date(), path)

    def _contract_on(self, day: date, path: Path) -> Contract:
        """What the caller or the file's name says; `day` is a day in the file."""
        if self.options.symbol is None:
            return parse_stem(path.name.split(".")[0], day)
        named = parse_stem(self.options.symbol, day)
        if named.is_future:
            return named
        try:
            in_file = parse_stem(path.name.split(".")[0], day)
        except FeedGarbled:
            return named
        if not in_file.is_future:
            return named
        return Contract(named.root, named.root + in_file.contract.removeprefix(in_file.root))

    def _chunks(self, file: RecordFile) -> Iterator[tuple[int, Records]]:
        rows = self.options.chunk_records
        for chunk, records in enumerate(file.chunks(rows)):
            expected = min(rows, file.records - chunk * rows)
            if len(records) < expected:
                raise FeedGarbled(
                    f"expected {expected} records in chunk {chunk}, found {len(records)}: "
                    "the file became shorter while it was read",
                    hint="import it again when nothing is writing to it; nothing is added twice",
                )
            yield chunk, records

    def _scid_seqs(self, file: RecordFile, naming: Naming, chunk: int) -> Seqs:
        """The source_seqs of an earlier chunk's good trades, read again."""
        rows = self.options.chunk_records
        records = file.read(chunk * rows, rows)
        batch = decode(records, naming, self.taker.now_us).batch
        return source_seqs(good_rows(batch, find_faults(batch, self.taker.now_us)))

    def _import_table(self, table: Table, size: int) -> Imported:
        kept = KeptSeqs()
        ranks: dict[tuple[str, str], Ranks] = {}
        chunks_of: dict[tuple[str, str], int] = {}
        rows_read = 0
        for chunk in table.chunks(self.taker.now_us):
            rows_read += chunk.rows
            for batch in chunk.batches:
                name = (batch.symbol, batch.contract)
                if name not in ranks:
                    ranks[name] = Ranks(partial(kept.recall, name))
                number = chunks_of.get(name, 0)
                chunks_of[name] = number + 1
                kept.keep(name, number, self.taker.take(number, batch, ranks[name]))
            self.taker.take_unreadable(chunk.unreadable)
            self.progress(min(chunk.bytes_done, size), size)
        symbols = tuple(sorted({symbol for symbol, _ in ranks}))
        return self._done(symbols, rows_read, {}, 0)

    def _done(
        self, symbols: tuple[str, ...], rows: int, skipped: dict[str, int], partial_bytes: int
    ) -> Imported:
        taker = self.taker
        return Imported(
            symbols, rows, taker.added, taker.duplicates, taker.rejected, skipped, partial_bytes
        )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """A descriptor to read from, the file's size and its first bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _no_file(path, error) from error
    try:
        try:
            size, head = os.fstat(descriptor).st_size, os.pread(descriptor, 8, 0)
        except OSError as error:
            raise _no_file(path, error) from error
        yield descriptor, size, head
    finally:
        os.close(descriptor)


def _no_file(path: Path, error: OSError) -> FeedGarbled:
    return FeedGarbled(
        f"expected a readable file at {path}, found: {error.strerror}",
        hint="check the path and who may read it",
    )
