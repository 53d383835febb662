"""Rows as raw little-endian columns, which a browser puts into typed arrays without parsing them.

An answer is the length of a JSON header as an unsigned 32-bit number, the header, blanks up to a
multiple of eight bytes, then each column at such a multiple. The header has `rows`, and of each
column its `name`, `type` (f64, i8 or u16), and `at`, where it begins after the header. Text is a
u16 place in the column's `words`. No value is NaN.
"""

import json
import struct
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MEDIA_TYPE = "application/octet-stream"
ALIGN = 8
HEAD_BYTES = struct.Struct("<I")

Numbers = NDArray[np.float64] | NDArray[np.int8] | NDArray[np.uint16]


def raw_columns(table: pa.Table, about: Mapping[str, object]) -> bytes:
    """A table whose columns are numbers, times and repeated text; `about` goes into the header."""
    told: list[dict[str, object]] = []
    parts: list[bytes] = []
    at = 0
    for name in table.column_names:
        numbers, kind, words = _plain(table.column(name))
        raw = numbers.tobytes()
        told.append({"name": name, "type": kind, "at": at, **({"words": words} if words else {})})
        padded = raw.ljust(-(-len(raw) // ALIGN) * ALIGN, b"\0")
        parts.append(padded)
        at += len(padded)
    header = json.dumps({**about, "rows": table.num_rows, "columns": told}).encode()
    blank = -(HEAD_BYTES.size + len(header)) % ALIGN
    return b"".join((HEAD_BYTES.pack(len(header)), header, b" " * blank, *parts))


def _plain(column: pa.ChunkedArray) -> tuple[Numbers, str, list[str]]:
    kind = column.type
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        encoded = column.cast(pa.utf8()).combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        codes = encoded.indices.to_numpy(zero_copy_only=False).astype("<u2")
        return codes, "u16", encoded.dictionary.to_pylist()
    if pa.types.is_timestamp(kind):
        return column.cast(pa.int64()).to_numpy() / 1_000, "f64", []
    if pa.types.is_int8(kind):
        return pc.fill_null(column, 0).to_numpy().astype("i1"), "i8", []
    return column.cast(pa.float64(), safe=False).to_numpy().astype("<f8"), "f64", []
