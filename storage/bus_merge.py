"""Entries of a table's streams as batches in the order of `seq`, as they were stored first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.batch import STORE_COLUMNS, TickBatch
from core.schema import TABLES
from storage.bus_entries import read_entry, same_text
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
        names, label = _labels(batch.column("contract"), batch.column("source"))
        symbol = batch.column("symbol")[0].as_py()
        return cls(symbol, names, label, batch.column("seq").to_numpy(), columns)


def _labels(
    contracts: pa.Array, sources: pa.Array
) -> tuple[Sequence[tuple[str, str]], NDArray[np.int64]]:
    """The different pairs of contract and source, and which one each row has."""
    first = contracts[0].as_py(), sources[0].as_py()
    if _is_all(contracts, first[0]) and _is_all(sources, first[1]):
        return [first], np.zeros(len(contracts), np.int64)
    contracts, sources = contracts.dictionary_encode(), sources.dictionary_encode()
    told = sources.dictionary.to_pylist()
    names = [(contract, s) for contract in contracts.dictionary.to_pylist() for s in told]
    label = contracts.indices.to_numpy().astype(np.int64) * len(told) + sources.indices.to_numpy()
    return names, label


def _is_all(column: pa.Array, word: str) -> bool:
    """Whether every row has this word; a comparison with a prepared column is one call."""
    return bool(column.equals(same_text(word).slice(0, len(column))))


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
