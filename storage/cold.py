"""Sealed partitions as parts of a scan: Parquet read back in order, pruned by row group.

Text comes out as the hot side's dictionaries, so hot and cold are one stream of one schema.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import PartitionCorrupt
from core.schema import TABLES
from storage.manifest import Partition
from storage.partition import read_range
from storage.ranges import Range, cut, filtered
from storage.words import Words

READ_ROWS = 16_384
AHEAD = 6  # files of a bucket fetched while one is read


@dataclass(frozen=True, slots=True)
class ColdPart:
    """One sealed file; its rows are sorted by (ts_event, ts_ns, seq)."""

    partition: Partition
    table: str
    words: Words
    later: Sequence[Partition] = ()  # what is read next, to be fetched meanwhile

    @property
    def rows(self) -> int:
        return self.partition.rows

    @property
    def bounds(self) -> tuple[int, int]:
        return self.partition.min_ts_us, self.partition.max_ts_us

    @property
    def is_sorted(self) -> bool:
        return True

    @property
    def is_hot(self) -> bool:
        return False

    def batches(self, wanted: Range) -> Iterator[pa.RecordBatch]:
        """Rows of the range, streamed."""
        path = self._local()
        try:
            with pq.ParquetFile(path, memory_map=True) as file:
                groups = _row_groups(file, wanted)
                for batch in file.iter_batches(READ_ROWS, row_groups=groups, use_threads=False):
                    rows = cut(self._in_schema(batch), wanted)
                    yield filtered(rows, wanted, all_valid=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise PartitionCorrupt(
                f"a sealed partition of {self.table} for {self.partition.date} cannot be read",
                hint="run: tickflight verify --all",
            ) from error

    def columns(self, names: Sequence[str], wanted: Range) -> Iterator[pa.RecordBatch]:
        """Some columns of the range."""
        wanted_names = dict.fromkeys(("ts_event", *names))
        start_us = wanted.start_us if wanted.start_us is not None else self.partition.min_ts_us
        end_us = wanted.end_us if wanted.end_us is not None else self.partition.max_ts_us + 1
        rows = read_range(self.partition, list(wanted_names), start_us, end_us)
        yield from rows.select(list(names)).to_batches()

    def _local(self) -> str:
        if self.later and self.partition.lake is not None:
            self.partition.lake.begin([self.partition, *self.later])
        return self.partition.local()

    def _in_schema(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = []
        for field in TABLES[self.table].schema:
            if field.name == "symbol" and field.name not in batch.schema.names:
                column = pa.repeat(pa.scalar(self.partition.symbol, pa.utf8()), batch.num_rows)
            else:
                column = batch.column(field.name)
            if pa.types.is_dictionary(field.type):
                column = _coded(column, self.words.array(field.name))
            arrays.append(column.cast(field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=TABLES[self.table].schema)


def cold_parts(files: Sequence[Partition], table: str, words: Words) -> list[ColdPart]:
    """The files as parts of a scan; raise TooMuch where a bucket's do not fit on this machine."""
    lake = files[0].lake if files else None
    if lake is None or lake.far is None:
        return [ColdPart(file, table, words) for file in files]
    lake.expect(files)
    return [
        ColdPart(file, table, words, files[i + 1 : i + 1 + AHEAD]) for i, file in enumerate(files)
    ]


def _coded(column: pa.Array, words: pa.StringArray) -> pa.Array:
    """Text as codes of the shared dictionary; words it lacks get a dictionary of their own."""
    codes = pc.index_in(column, value_set=words)
    if codes.null_count > column.null_count:
        return column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(codes.cast(pa.int16()), words)


def _row_groups(file: pq.ParquetFile, wanted: Range) -> list[int]:
    place = file.schema_arrow.get_field_index("ts_event")
    groups = []
    for number in range(file.metadata.num_row_groups):
        bounds = file.metadata.row_group(number).column(place).statistics
        if bounds is not None and bounds.has_min_max:
            low, high = (_us(bounds.min), _us(bounds.max))
            if wanted.start_us is not None and high < wanted.start_us:
                continue
            if wanted.end_us is not None and low >= wanted.end_us:
                continue
        groups.append(number)
    return groups


def _us(moment: object) -> int:
    value = pa.scalar(moment, pa.timestamp("us")).value
    assert isinstance(value, int)
    return value
