"""The values of one row as plain ones, read where they lie in its Arrow IPC stream.

Whoever wants the newest row ten times a second spends most of the time in making a batch of it. In
streams of one shape, that is of the same bytes up to their body, values have the same places: the
first of a shape is decoded to find these, the others are read there.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from storage.arrow_stream import arrow_batch, head_bytes

SHAPES_MAX: Final = 64
EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, as columns have it
FORMATS: Final = {pa.float64(): "d", pa.int64(): "q", pa.int16(): "h", pa.timestamp("us"): "q"}
Reader = Callable[[memoryview], object]


@dataclass(frozen=True, slots=True)
class Shape:
    """How to read the columns of a row that are numbers, times, flags, text or lists of numbers."""

    readers: Mapping[str, Reader]

    def values(self, raw: memoryview, names: Sequence[str]) -> dict[str, object] | None:
        """Some columns of a stream of this shape; None where one of them is not read here."""
        if not all(name in self.readers for name in names):
            return None
        return {name: self.readers[name](raw) for name in names}


class Shapes:
    """The shapes seen so far; begun anew when they are too many."""

    def __init__(self) -> None:
        self._known: dict[bytes, Shape] = {}

    def of(self, raw: memoryview) -> Shape:
        """The shape of a stream of one row."""
        start = head_bytes(raw)
        head = bytes(raw[: start + head_bytes(raw[start:])])
        shape = self._known.get(head)
        if shape is None:
            if len(self._known) == SHAPES_MAX:
                self._known.clear()
            shape = self._known[head] = _shape_of(raw)
        return shape


def plain_row(row: pa.RecordBatch, names: Sequence[str]) -> dict[str, object]:
    """The same of a batch of one row."""
    return {name: row.column(name)[0].as_py() for name in names}


def _shape_of(raw: memoryview) -> Shape:
    row = arrow_batch(raw)
    assert row.num_rows == 1
    base = pa.py_buffer(raw).address
    found = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        buffers = column.buffers()
        places = [buffer.address - base for buffer in buffers if buffer is not None]
        # A null has a validity buffer, which makes one buffer more than is looked for.
        if column.offset == 0 and all(0 <= place < len(raw) for place in places):
            reader = _reader(column.type, places)
            if reader is not None:
                found[name] = reader
    return Shape(found)


def _reader(kind: pa.DataType, places: Sequence[int]) -> Reader | None:
    match len(places), kind:
        case 1, _ if kind in FORMATS:
            return _number(kind, places[0])
        case 1, _ if pa.types.is_boolean(kind):
            return lambda raw: bool(raw[places[0]] & 1)
        case 1, _ if pa.types.is_fixed_size_list(kind) and kind.value_type in FORMATS:
            layout = struct.Struct(f"<{kind.list_size}{FORMATS[kind.value_type]}")
            return lambda raw: list(layout.unpack_from(raw, places[0]))
        case 2, _ if pa.types.is_string(kind):
            return lambda raw: _text(raw, places[0], places[1])
    return None


def _number(kind: pa.DataType, place: int) -> Reader:
    layout = struct.Struct(f"<{FORMATS[kind]}")

    def read(raw: memoryview) -> Any:
        return layout.unpack_from(raw, place)[0]

    if pa.types.is_timestamp(kind):
        return lambda raw: EPOCH + timedelta(microseconds=read(raw))
    return read


def _text(raw: memoryview, offsets: int, letters: int) -> str:
    start, end = struct.unpack_from("<2i", raw, offsets)
    return str(raw[letters + start : letters + end], "utf-8")
