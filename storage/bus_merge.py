"""Entries of a table's streams as the rows a store takes: with their seqs, none missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.batch import STORE_COLUMNS, TickBatch
from core.schema import TABLES
from storage.bus_entries import read_entry, read_rows
from storage.bus_keys import seq_of
from storage.lane import Ints, Numbered
from storage.store import Store
from storage.words import Words

Read = Mapping[bytes, Sequence[tuple[bytes, Sequence[bytes]]]]  # per stream, ids and fields
DEFAULT_TEXT: Final = {"kind": "new", "grade": "tns", "conditions": "", "command": "none"}


def rows_up_to(read: Read, last_seq: int, entries_max: int) -> int:
    """Up to which seq all streams were read, where each gives at most `entries_max` entries."""
    ends = [seq_of(found[-1][0]) for found in read.values() if len(found) == entries_max]
    return min([last_seq, *ends])


# -- fast tables ---------------------------------------------------------------------------------


def numbered_rows(
    table: str, read: Read, seqs: tuple[int, int], words: Words
) -> list[Numbered] | None:
    """The rows with seqs[0] < seq <= seqs[1], each stream's in its order.

    None where one of them is missing or comes twice. New words are made durable first.
    """
    parts: list[Numbered] = []
    for found in read.values():
        if not found:
            continue
        rows = _cut(read_rows(table, [fields for _, fields in found]), *seqs)
        if rows.num_rows:
            parts += _parts(table, rows, words)
    there = np.zeros(seqs[1] - seqs[0], np.bool_)
    for part in parts:
        there[part.seqs - (seqs[0] + 1)] = True
    is_dense = bool(there.all()) and sum(len(part.seqs) for part in parts) == len(there)
    return parts if is_dense else None


def _cut(batch: pa.RecordBatch, after_seq: int, up_to_seq: int) -> pa.RecordBatch:
    seqs = batch.column("seq").to_numpy()
    first, end = np.searchsorted(seqs, [after_seq, up_to_seq], "right").tolist()
    return batch.slice(first, end - first)


def _parts(table: str, rows: pa.RecordBatch, words: Words) -> Iterator[Numbered]:
    """A symbol's rows, cut wherever contract or source change; what revises is a part of its own.

    So the store finds the last trade that stands as the first server did, row after row.
    """
    columns: dict[str, NDArray[Any]] = {}
    told: dict[str, tuple[Ints, list[str]]] = {}
    for name in rows.schema.names:
        column = rows.column(name)
        if pa.types.is_string(column.type):
            text = column.dictionary_encode()
            told[name] = text.indices.to_numpy().astype(np.int64), text.dictionary.to_pylist()
        elif name not in STORE_COLUMNS:
            times = pa.types.is_timestamp(column.type)
            columns[name] = (column.view(pa.int64()) if times else column).to_numpy(
                zero_copy_only=False
            )
    for name in TABLES[table].text_columns:
        indices, known = told[name]
        if name not in STORE_COLUMNS and known != [DEFAULT_TEXT[name]]:
            columns[name] = words.intern_all(name, known)[indices]
    (contract, contracts), (source, sources) = told["contract"], told["source"]
    changes = (np.diff(contract) != 0) | (np.diff(source) != 0)
    if table == "trades" and "kind" in columns:
        revises = columns["kind"] != 0
        changes |= revises[1:] | revises[:-1]
    seqs = rows.column("seq").to_numpy()
    symbol = told["symbol"][1][0]
    for first, end in pairwise([0, *(np.flatnonzero(changes) + 1).tolist(), len(seqs)]):
        about = table, symbol, contracts[contract[first]], sources[source[first]]
        some = {name: column[first:end] for name, column in columns.items()}
        yield Numbered(TickBatch(*about, some), seqs[first:end])


# -- slow tables ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of a slow table whose seqs follow each other.

    Without a batch they are numbers set aside for rows that are in the lake alone.
    """

    table: str
    first_seq: int
    rows: int
    batch: pa.RecordBatch | None

    def append_to(self, store: Store) -> int:
        """Store the rows; give the first seq they got. Raise DiskFull."""
        if self.batch is None:
            return store.reserve(self.table, self.rows)
        return store.append_rows(self.table, self.batch)


def logged_rows(table: str, read: Read, seqs: tuple[int, int]) -> list[Run] | None:
    """The rows with seqs[0] < seq <= seqs[1]; None where one of them is missing."""
    entries = [read_entry(table, fields) for found in read.values() for _, fields in found]
    runs = []
    for entry in entries:
        first_seq, last_seq = max(entry.first_seq, seqs[0] + 1), min(entry.last_seq, seqs[1])
        if first_seq <= last_seq:
            rows = _cut(entry.batch, *seqs) if entry.batch.num_rows else None
            runs.append(Run(table, first_seq, last_seq - first_seq + 1, rows))
    return runs if sum(run.rows for run in runs) == seqs[1] - seqs[0] else None
