"""One partition: written aside, synced, renamed, read back and compared; later read again.

Nothing here lists a file; a partition that is not in the manifest does not exist.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import PartitionCorrupt, SealFailed
from core.schema import Table
from storage.digest import FOOTER_KEY, Blank, Digest, parse_digest, stamp
from storage.lake import make_folder, sync
from storage.manifest import Manifest, Partition, seq_columns
from storage.parquet import write_parquet

GROUP_ROWS = 122_880
NESTED_GROUP_ROWS = 8_192
LADDER_GROUP_ROWS = 1_024  # kilobytes a row: this bounds what writing a file takes
SCRATCH = "_scratch"
DAY = "day"  # the label of a file that holds a whole day; others are labelled by their hour

Step = Callable[[str], None]  # told before each step; a test stops the seal by raising


def no_step(name: str) -> None:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A partition to be: where it goes, and what its name says."""

    symbol: str
    date: str
    label: str
    first_seq: int
    last_seq: int
    rows_max: int


@dataclass
class _Bounds:
    """What a manifest tells of a file, gathered batch by batch."""

    table: Table
    min_ts_us: int = 1 << 62
    max_ts_us: int = -(1 << 62)
    first_seq: int = 1 << 62
    last_seq: int = 0
    max_recv_us: int = 0
    has_revisions: bool = False

    def add(self, batch: pa.RecordBatch) -> None:
        first, last = seq_columns(self.table)
        ts = whole(batch, "ts_event")
        assert not np.any(ts[1:] < ts[:-1]), "partitions are in time order"
        assert not len(ts) or self.max_ts_us <= ts[0], "partitions are in time order"
        self.min_ts_us = min(self.min_ts_us, int(ts[0]))
        self.max_ts_us = max(self.max_ts_us, int(ts[-1]))
        self.first_seq = min(self.first_seq, int(whole(batch, first).min()))
        self.last_seq = max(self.last_seq, int(whole(batch, last).max()))
        if "ts_recv" in batch.schema.names:
            self.max_recv_us = max(self.max_recv_us, int(whole(batch, "ts_recv").max()))
        if "kind" in batch.schema.names:
            self.has_revisions |= pc.unique(batch.column("kind")).to_pylist() != ["new"]


def whole(rows: pa.RecordBatch | pa.Table, name: str) -> NDArray[np.int64]:
    """A column of whole numbers or times as int64, times in microseconds."""
    column = rows.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: NDArray[np.int64] = column.to_numpy().astype(np.int64, copy=False)
    return values


def text_columns(table: Table) -> list[str]:
    """Text columns of a sealed file."""
    return [name for name in table.text_columns if name != "symbol" or not table.by_symbol]


def group_rows(table: Table) -> int:
    """Rows in one row group of a table."""
    nested = [column.type for column in table.columns if pa.types.is_nested(column.type)]
    if any(pa.types.is_struct(kind.value_type) for kind in nested):
        return LADDER_GROUP_ROWS
    return NESTED_GROUP_ROWS if nested else GROUP_ROWS


def in_groups(tables: Iterable[pa.Table], size: int) -> Iterator[pa.RecordBatch]:
    """Cut a stream of tables into batches of exactly `size` rows, the last one shorter."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= size:
            rows = _joined(waiting)
            full = count - count % size
            yield from rows.slice(0, full).to_batches(max_chunksize=size)
            waiting, count = [rows.slice(full)], count - full
    if count:
        yield from _joined(waiting).to_batches(max_chunksize=size)


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def write_partition(
    manifest: Manifest, draft: Draft, rows: Iterable[pa.Table], *, now_us: int, step: Step = no_step
) -> Partition:
    """Write sorted rows (without the partition columns) and prove them; raise SealFailed.

    Where the lake is a bucket the file is put there too and read back; raise LakeError.
    """
    table, url = manifest.table, manifest.url
    name = f"{draft.label}-{draft.first_seq:012d}-{draft.last_seq:012d}.parquet"
    final = Path(url, manifest.folder(draft.symbol, draft.date), name)
    assert str(final) not in manifest.snapshot().paths, f"{final} is alive and never overwritten"
    bounds = _Bounds(table)
    digest = Digest(group_rows(table))
    try:
        scratch = make_folder(Path(url, SCRATCH)) / f"{name}.new"
        step("write")
        _write(rows, draft, scratch, digest, bounds)
        step("sync")
        sync(scratch)
        step("make_folder")
        make_folder(final.parent)
        step("rename")
        scratch.replace(final)
        step("sync_folder")
        sync(final.parent)
        step("read_back")
        _prove(final, digest, bounds)
        step("put")
        manifest.lake.put(str(final))
    except (OSError, pa.ArrowException) as error:
        raise SealFailed(f"cannot seal {final}: {error}", hint="the rows stay hot") from error
    return Partition(
        table=table.name,
        symbol=draft.symbol,
        date=draft.date,
        path=str(final),
        rows=digest.rows,
        bytes=final.stat().st_size,
        first_seq=bounds.first_seq,
        last_seq=bounds.last_seq,
        min_ts_us=bounds.min_ts_us,
        max_ts_us=bounds.max_ts_us,
        max_recv_us=bounds.max_recv_us or now_us,
        has_revisions=bounds.has_revisions,
        lake=manifest.lake,
    )


def _write(
    rows: Iterable[pa.Table], draft: Draft, path: Path, digest: Digest, bounds: _Bounds
) -> None:
    groups = in_groups(rows, digest.group_rows)
    head = next(groups)

    def counted() -> Iterator[pa.RecordBatch]:
        batch: pa.RecordBatch | None = head
        while batch is not None:
            digest.add(batch)
            bounds.add(batch)
            yield batch
            batch = next(groups, None)

    blank = Blank(tuple(head.schema.names), digest.group_rows, draft.rows_max)
    write_parquet(
        counted(),
        head.schema,
        path,
        group_rows=digest.group_rows,
        footer=(FOOTER_KEY, blank.text()),
    )
    stamp(path, blank, digest)


def _prove(path: Path, digest: Digest, bounds: _Bounds) -> None:
    found_digest, found = Digest(digest.group_rows), _Bounds(bounds.table)
    with pq.ParquetFile(path, read_dictionary=text_columns(bounds.table)) as source:
        for number in range(source.num_row_groups):
            rows = source.read_row_group(number, use_threads=False).combine_chunks()
            for batch in rows.to_batches():
                found_digest.add(batch)
                found.add(batch)
    if found_digest != digest or found != bounds:
        raise SealFailed(
            f"{path} reads back as {found_digest.rows} rows, {found}; "
            f"expected {digest.rows} rows, {bounds}",
            hint="the rows stay hot; check the disk, the seal is tried again",
        )


def read_proven(
    path: Path | str,
    *,
    columns: Sequence[str] | None = None,
    only: Sequence[int] | None = None,
    words: Sequence[str] = (),
) -> Iterator[pa.RecordBatch]:
    """Row groups of a file in order, each as one batch that matches the file's digest.

    `columns` and `only` leave out columns and row groups; text columns among `words` come as
    dictionary codes. Raises PartitionCorrupt.
    """
    with _opened(path, words) as source:
        digest = parse_digest(source.metadata.metadata, source.metadata.num_rows)
        for number in range(source.num_row_groups) if only is None else only:
            rows = source.read_row_group(number, columns=columns, use_threads=False)
            for batch in rows.combine_chunks().to_batches():
                digest.prove(batch, number)
                yield batch


@contextmanager
def _opened(path: Path | str, words: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, read_dictionary=list(words)) as source:
            yield source
    except (OSError, pa.ArrowException) as error:
        raise PartitionCorrupt(f"{path} cannot be decoded: {error}") from error
    except PartitionCorrupt as error:
        raise PartitionCorrupt(f"{path}: {error.message}", hint=error.hint) from error


def read_range(
    partition: Partition, columns: Sequence[str], start_us: int, end_us: int
) -> pa.Table:
    """Columns (`ts_event` among them) of the rows in [start, end)."""
    rows = read_near(partition, columns, "ts_event", (start_us, end_us - 1))
    first, last = np.searchsorted(whole(rows, "ts_event"), [start_us, end_us])
    return rows.slice(first, last - first)


def read_near(
    partition: Partition, columns: Sequence[str], by: str, bounds: tuple[int, int]
) -> pa.Table:
    """Columns of the row groups whose values of `by` may lie within inclusive bounds."""
    with _opened(partition.local()) as source:
        schema = source.schema_arrow
        at = schema.names.index(by)
        near = [
            number
            for number in range(source.num_row_groups)
            if _may_hold(source.metadata.row_group(number).column(at).statistics, bounds)
        ]
    batches = read_proven(partition.local(), columns=list(columns), only=near)
    fields = [schema.field(name) for name in columns]
    return pa.Table.from_batches(batches, pa.schema(fields, metadata=schema.metadata))


def read_revising(partition: Partition, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Columns of the row groups of trades that may hold a correction or cancel."""
    with _opened(partition.local()) as source:
        at = source.schema_arrow.names.index("kind")
        told = [
            source.metadata.row_group(number).column(at).statistics
            for number in range(source.num_row_groups)
        ]
    some = [n for n, of in enumerate(told) if not (of and of.min == of.max == "new")]
    return read_proven(partition.local(), columns=list(columns), only=some)


def _may_hold(told: pq.Statistics | None, bounds: tuple[int, int]) -> bool:
    if told is None or not told.has_min_max:
        return True
    return _int(told.max) >= bounds[0] and _int(told.min) <= bounds[1]


def _int(value: int | datetime) -> int:
    """A statistic in the form of `whole`: times in microseconds."""
    if isinstance(value, datetime):
        return int(np.datetime64(value, "us").astype(np.int64))
    return value
