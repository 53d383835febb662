"""Rows of a slow table made ready for its log by whoever has them: all but their numbers.

Making the bytes is most of what storing a row costs, and the writer has feeds to listen to. Only it
can number the rows; so they carry numbers nobody else has, and it is told where in the bytes those
lie and puts its own there.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import pyarrow as pa

from core.schema import TABLES
from storage.arrow_stream import END
from storage.slow import numbered

_NOBODYS: Final = (1 << 62) | secrets.randbits(61)  # the first of the numbers that are replaced
_SEQ_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """An Arrow IPC stream of one batch in a table's plain schema; its seqs lie at `seq_at`."""

    payload: bytes
    rows: int
    seq_at: int

    def numbered(self, first_seq: int) -> bytes:
        """The stream with the rows' own numbers, counted from `first_seq`."""
        end = self.seq_at + _SEQ_BYTES * self.rows
        assert 0 <= self.seq_at < end <= len(self.payload), "no room for the numbers"
        seqs = _seqs(first_seq, self.rows)
        return b"".join((self.payload[: self.seq_at], seqs, self.payload[end:]))


def prepare(table: str, columns: Sequence[pa.Array]) -> Prepared:
    """Make rows ready, at least one; `columns` are those of `unnumbered_schema`, in its order."""
    batch = numbered(TABLES[table], columns, _NOBODYS)
    payload = b"".join((_head_of(table), batch.serialize().to_pybytes(), END))
    numbers = _seqs(_NOBODYS, batch.num_rows)
    assert payload.count(numbers) == 1, "these bytes were to be nowhere else"
    return Prepared(payload, batch.num_rows, payload.index(numbers))


def _seqs(first_seq: int, rows: int) -> bytes:
    if rows == 1:
        return first_seq.to_bytes(_SEQ_BYTES, "little")
    return np.arange(first_seq, first_seq + rows, dtype="<i8").tobytes()


@cache
def _head_of(table: str) -> bytes:
    """What a stream of the table's plain schema begins with."""
    raw: bytes = TABLES[table].plain_schema.serialize().to_pybytes()
    return raw
