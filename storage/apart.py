"""Rows that go straight to the lake: the numbers set aside for them, and the form they take.

Numbers of a fast table are written down before they are given, so that a start does not take them
for lost rows and never gives them again; those of a slow one are a frame of its log.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from core.batch import TickBatch
from core.schema import SEEDED_WORDS, TABLES
from storage.disk import Disk
from storage.layout import TRUE_BY_DEFAULT
from storage.recovery import Hole
from storage.slow import with_seq

NAME = "apart.log"  # beside the segments: a line of first and last number each


def note(disk: Disk, folder: Path, first_seq: int, last_seq: int) -> None:
    """Write numbers down; durable on return."""
    disk.append(folder / NAME, b"%d %d\n" % (first_seq, last_seq))
    disk.sync_folder(folder)


def noted(disk: Disk, folder: Path) -> list[tuple[int, int]]:
    """First and last number of each range, in the order they were given."""
    if NAME not in disk.names(folder):
        return []
    whole = disk.read(folder / NAME).decode().split("\n")[:-1]  # a torn last line gave nothing
    return [(int(first), int(last)) for first, last in (line.split() for line in whole)]


def without(holes: Sequence[Hole], ranges: Sequence[tuple[int, int]]) -> list[Hole]:
    """What of some holes is not numbers set aside."""
    left = list(holes)
    for first_seq, last_seq in ranges:
        cut = []
        for hole in left:
            before = Hole(hole.table, hole.first_seq, min(hole.last_seq, first_seq - 1))
            after = Hole(hole.table, max(hole.first_seq, last_seq + 1), hole.last_seq)
            cut += [part for part in (before, after) if part.first_seq <= part.last_seq]
        left = cut
    return left


def numbered(table: str, part: TickBatch | pa.RecordBatch, first_seq: int) -> pa.RecordBatch:
    """Rows of a fast or slow table as its hot rows would be, numbered from `first_seq` on."""
    if isinstance(part, TickBatch):
        return _of_ticks(part, first_seq)
    return with_seq(TABLES[table], part, first_seq).cast(TABLES[table].schema)


def _of_ticks(batch: TickBatch, first_seq: int) -> pa.RecordBatch:
    schema, rows = TABLES[batch.table].schema, batch.rows
    told = {"symbol": batch.symbol, "contract": batch.contract, "source": batch.source}
    arrays = []
    for field in schema:
        values = batch.columns.get(field.name)
        if field.name == "seq":
            arrays.append(pa.array(np.arange(first_seq, first_seq + rows)))
        elif pa.types.is_dictionary(field.type):
            words: Sequence[str] = SEEDED_WORDS.get(field.name, (told.get(field.name, ""),))
            if values is not None and values.dtype == object:
                arrays.append(pa.array(values, pa.utf8()).cast(field.type))
                continue
            codes = np.zeros(rows, np.int16) if values is None else values.astype(np.int16)
            arrays.append(pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(words)))
        elif values is None:
            nothing = field.name in TRUE_BY_DEFAULT if pa.types.is_boolean(field.type) else 0
            whole = pa.scalar(None if field.nullable else nothing, field.type)
            arrays.append(pa.repeat(whole, rows))
        elif field.nullable:
            arrays.append(pa.array(values, from_pandas=True))  # not a number: unknown
        else:
            arrays.append(pa.array(values).cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
