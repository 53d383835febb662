"""Which gamma snapshots stand: the better source's, where two tell of the same second.

A file of history knows better than what was polled, and that better than what was relayed. The
writer stores the better row as well where the two differ, and begins its `extra` with the seq it
supersedes; nobody else can begin it so. Both stay on record; answers leave out what is superseded.
"""

import re
from collections.abc import Iterable
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

KEY: Final = "supersedes"
MARK: Final = f'{{"{KEY}":'  # how such an `extra` begins
PATTERN: Final = r'^\{"supersedes":([0-9]+)'
NEAR_US: Final = 1_000_000  # a row and what it supersedes are of one second
_NUMBER = re.compile(PATTERN)
Ints = NDArray[np.int64]


def superseding(rows: pa.RecordBatch, seqs: Ints) -> pa.RecordBatch:
    """Rows of which each says what seq it supersedes, where that is not 0, and no other does."""
    place = rows.schema.get_field_index("extra")
    extra = pa.nulls(rows.num_rows, pa.utf8()) if place < 0 else rows.column(place)
    is_changed = pc.fill_null(pc.starts_with(extra, MARK), False).to_numpy(zero_copy_only=False)
    is_changed = is_changed | (seqs != 0)
    if not is_changed.any():
        return rows
    texts = extra.to_pylist()
    for number in np.flatnonzero(is_changed).tolist():
        texts[number] = _marked(texts[number], int(seqs[number]))
    told = pa.array(texts, pa.utf8())
    if place < 0:
        return rows.append_column("extra", told)
    return rows.set_column(place, rows.schema.field(place), told)


def superseded_by(batches: Iterable[pa.RecordBatch], known_at_us: int | None) -> Ints:
    """The seqs that rows with these `ts_recv` and `extra` supersede, as far as known at a time."""
    found: list[int] = []
    for rows in batches:
        extra = rows.column("extra")
        if extra.null_count == len(extra):
            continue
        marked = rows.filter(pc.fill_null(pc.starts_with(extra, MARK), False))
        if known_at_us is not None:
            received = marked.column("ts_recv").cast(pa.int64())
            marked = marked.filter(pc.less_equal(received, known_at_us))
        texts = marked.column("extra").to_pylist()
        found += [int(number) for text in texts for number in _NUMBER.findall(text)]
    return np.array(found, np.int64)


def _marked(text: str | None, seq: int) -> str:
    """An `extra` that begins with a seq (0: none), and what it said before."""
    try:
        said = orjson.loads(text or "{}")
    except ValueError:
        said = text
    given = said if isinstance(said, dict) else {"sent": said}
    others = {f"sent_{KEY}" if name == KEY else name: value for name, value in given.items()}
    return orjson.dumps(({KEY: seq} if seq else {}) | others).decode()
