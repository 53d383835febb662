"""Entries of a table's streams as batches in the order of `seq`, as they were stored first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.batch import STORE_COLUMNS, TickBatch
from core.schema import TABLES
from storage.bus_entries import read_entry
from storage.bus_keys import seq_of
from storage.store import Store

Read = Mapping[bytes, Sequence[tuple[bytes, Sequence[bytes]]]]  # per stream, ids and fields
DEFAULT_TEXT: Final = {"kind": "new", "grade": "tns", "conditions": "", "command": "none"}


@dataclass(frozen=True, slots=True)
class Run:
    """Rows whose seqs follow each other: of one symbol, contract and source in a fast table.

    Without a batch they are numbers set aside for rows that are in the lake alone.
    """

    table: str
    first_seq: int
    rows: int
    batch: TickBatch | pa.RecordBatch | None

    def append_to(self, store: Store) -> int:
        """Store the rows; give the first seq they got. Raise DiskFull."""
        match self.batch:
            case None:
                return store.reserve(self.table, self.rows)
            case TickBatch():
                return store.append(self.batch)
            case _:
                return store.append_rows(self.table, self.batch)


def rows_up_to(read: Read, last_seq: int, entries_max: int) -> int:
    """Up to which seq all streams were read, where each gives at most `entries_max` entries."""
    ends = [seq_of(found[-1][0]) for found in read.values() if len(found) == entries_max]
    return min([last_seq, *ends])


def in_seq_order(table: str, read: Read, after_seq: int, up_to_seq: int) -> Iterator[Run]:
    """The rows with after_seq < seq <= up_to_seq."""
    entries = [read_entry(table, fields) for found in read.values() for _, fields in found]
    if TABLES[table].is_fast:
        parts = [_cut(entry.batch, after_seq, up_to_seq) for entry in entries]
        yield from _merged(table, [_Part.of(table, part) for part in parts if part.num_rows])
        return
    for entry in entries:
        first_seq, last_seq = max(entry.first_seq, after_seq + 1), min(entry.last_seq, up_to_seq)
        if first_seq <= last_seq:
            rows = _cut(entry.batch, after_seq, up_to_seq) if entry.batch.num_rows else None
            yield Run(table, first_seq, last_seq - first_seq + 1, rows)


def _cut(batch: pa.RecordBatch, after_seq: int, up_to_seq: int) -> pa.RecordBatch:
    seqs = batch.column("seq").to_numpy()
    first, end = np.searchsorted(seqs, [after_seq, up_to_seq], "right").tolist()
    return batch.slice(first, end - first)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one symbol as columns; `label` tells rows of different contract or source apart."""

    symbol: str
    names: Sequence[tuple[str, str]]  # contract and source of each label
    label: NDArray[np.int64]
    seqs: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, table: str, batch: pa.RecordBatch) -> "_Part":
        columns = {}
        for name in batch.schema.names:
            if name in STORE_COLUMNS:
                continue
            column = batch.column(name)
            if name in DEFAULT_TEXT and _is_all(column, DEFAULT_TEXT[name]):
                continue  # what the store fills in by itself
            if pa.types.is_timestamp(column.type):
                column = column.view(pa.int64())
            columns[name] = column.to_numpy(zero_copy_only=False)
        contracts, sources = (
            batch.column(name).dictionary_encode() for name in ("contract", "source")
        )
        width = len(sources.dictionary)
        names = [
            (c, s) for c in contracts.dictionary.to_pylist() for s in sources.dictionary.to_pylist()
        ]
        label = contracts.indices.to_numpy().astype(np.int64) * width + sources.indices.to_numpy()
        symbol = batch.column("symbol")[0].as_py()
        return cls(symbol, names, label, batch.column("seq").to_numpy(), columns)


def _is_all(column: pa.Array, word: str) -> bool:
    return bool(pc.all(pc.equal(column, word)).as_py())


def _merged(table: str, parts: Sequence[_Part]) -> Iterator[Run]:
    """Runs by seq: wherever the part, the contract or the source changes, a new one begins."""
    if not parts:
        return
    seqs = np.concatenate([part.seqs for part in parts])
    owners = np.repeat(np.arange(len(parts)), [len(part.seqs) for part in parts])
    labels = np.concatenate([part.label for part in parts])
    order = np.argsort(seqs, kind="stable")
    seqs, owners, labels = seqs[order], owners[order], labels[order]
    changes = (np.diff(owners) != 0) | (np.diff(labels) != 0)
    taken = [0] * len(parts)
    for start, end in pairwise([0, *(np.flatnonzero(changes) + 1).tolist(), len(seqs)]):
        owner = int(owners[start])
        part, first = parts[owner], taken[owner]
        taken[owner] = last = first + end - start
        contract, source = part.names[int(labels[start])]
        columns = {name: column[first:last] for name, column in part.columns.items()}
        batch = TickBatch(table, part.symbol, contract, source, columns)
        yield Run(table, int(seqs[start]), batch.rows, batch)
