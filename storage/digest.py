"""What the rows of a sealed file must be: crc32c per column and row group, and of the whole file.

A column's checksum is taken over its values, not over an encoding, so rows hashed on their way in
and the same rows decoded from Parquet agree: text as lengths and bytes, nulls as a byte a row.
The digest sits in the Parquet footer under the key `tickflight`.
"""

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from crc32c import crc32c
from numpy.typing import NDArray

from core.errors import PartitionCorrupt

FOOTER_KEY = "tickflight"
VERSION = 1
_NO_CRC = b"00000000"
_FILE_MARK = b'"file":"'


@dataclass
class Digest:
    """Checksums of a file's rows, collected group by group."""

    group_rows: int
    rows: int = 0
    columns: dict[str, list[int]] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in the next row group."""
        assert 0 < batch.num_rows <= self.group_rows
        assert self.rows % self.group_rows == 0, "a short group must be the last"
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self.columns.setdefault(name, []).append(column_crc(column))
        self.rows += batch.num_rows

    def prove(self, batch: pa.RecordBatch, number: int) -> None:
        """Raise PartitionCorrupt unless a batch is row group `number`, or some columns of it."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            told, found = self.columns.get(name, [])[number : number + 1], column_crc(column)
            if told != [found]:
                expected = f"{told[0]:08x}" if told else "no such group"
                raise PartitionCorrupt(
                    f"row group {number}, column {name}: "
                    f"expected checksum {expected}, found {found:08x}",
                    hint=_HINT,
                )


@dataclass(frozen=True, slots=True)
class Blank:
    """A footer value of its final length, checksums still zero, for up to `rows_max` rows."""

    names: tuple[str, ...]
    group_rows: int
    rows_max: int

    def text(self, digest: Digest | None = None) -> str:
        """The footer value, of a digest where there is one."""
        width = 8 * -(-self.rows_max // self.group_rows)
        crcs = {} if digest is None else digest.columns
        told = {
            name: "".join(f"{crc:08x}" for crc in crcs.get(name, ())).ljust(width, "0")
            for name in self.names
        }
        about = {"version": VERSION, "group_rows": self.group_rows, "columns": told}
        return json.dumps({**about, "file": _NO_CRC.decode()}, separators=(",", ":"))


def stamp(path: Path, blank: Blank, digest: Digest) -> None:
    """Put a digest where its blank stands, then the checksum of the whole file."""
    assert digest.group_rows == blank.group_rows
    final = blank.text(digest).encode()
    with path.open("r+b") as out, mmap.mmap(out.fileno(), 0) as view:
        at = view.rfind(blank.text().encode())
        assert at >= 0, "the blank must be in the footer"
        view[at : at + len(final)] = final
        crc = crc32c(view)
        end = at + len(final) - len(b'"}')
        view[end - 8 : end] = f"{crc:08x}".encode()


def file_crc(path: Path) -> str:
    """The checksum of the whole file that its footer tells, as hex; raise PartitionCorrupt."""
    try:
        with path.open("rb") as source, mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ) as view:
            at = view.rfind(_FILE_MARK) + len(_FILE_MARK)
            return view[at : at + len(_NO_CRC)].decode("ascii", "replace")
    except (OSError, ValueError) as error:
        raise PartitionCorrupt(f"{path} cannot be read: {error}", hint=_HINT) from error


def prove_file(path: Path) -> None:
    """Raise PartitionCorrupt unless every byte of a file is as it was written."""
    try:
        with path.open("rb") as source, mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ) as view:
            mark = view.rfind(_FILE_MARK)
            at = mark + len(_FILE_MARK)
            told = view[at : at + 8]
            with memoryview(view) as seen:
                found = crc32c(seen[at + 8 :], crc32c(_NO_CRC, crc32c(seen[:at])))
    except (OSError, ValueError) as error:
        raise PartitionCorrupt(f"{path} cannot be read: {error}", hint=_HINT) from error
    if mark < 0 or told != f"{found:08x}".encode():
        raise PartitionCorrupt(
            f"{path}: expected file checksum {told!r}, found {found:08x}", hint=_HINT
        )


_HINT = "restore the file from a copy, or import its source again"


def parse_digest(metadata: Mapping[bytes, bytes] | None, rows: int) -> Digest:
    """Read a digest from a Parquet footer's key-value metadata; raise PartitionCorrupt."""
    try:
        told = json.loads((metadata or {})[FOOTER_KEY.encode()])
        assert told["version"] == VERSION, told["version"]
        size = int(told["group_rows"])
        groups = -(-rows // size)
        columns = {
            name: [int(text[8 * i : 8 * i + 8], 16) for i in range(groups)]
            for name, text in told["columns"].items()
        }
    except (KeyError, ValueError, AssertionError) as error:
        raise PartitionCorrupt(f"no readable digest in the footer: {error!r}") from error
    return Digest(size, rows, columns)


def column_crc(column: pa.Array) -> int:
    """crc32c of the values of one column."""
    return _crc(column, 0)


def _crc(column: pa.Array, crc: int) -> int:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _crc(column.cast(kind.value_type), crc)
    if pa.types.is_fixed_size_list(kind):
        return _crc(column.cast(pa.list_(kind.value_type)), crc)
    if column.null_count:
        crc = crc32c(np.packbits(column.is_null().to_numpy(zero_copy_only=False)).data, crc)
    if pa.types.is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        return _crc(column.flatten(), crc32c(lengths.to_numpy(), crc))
    if pa.types.is_struct(kind):
        for child in column.flatten():
            crc = _crc(child, crc)
        return crc
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _text_crc(column, crc)
    return crc32c(_fixed(column).data, crc)


def _fixed(column: pa.Array) -> NDArray[np.int64] | NDArray[np.float64]:
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_timestamp(kind):
        column = column.view(pa.int64())
    if column.null_count:
        column = pc.fill_null(column, 0)
    if pa.types.is_floating(kind):
        # Encoders may write any NaN for a NaN, and 0.0 for -0.0: to a reader they are the same.
        prices: NDArray[np.float64] = column.to_numpy() + 0.0
        prices[np.isnan(prices)] = np.nan
        return prices
    values: NDArray[np.int64] = column.to_numpy()
    return values


def _text_crc(column: pa.Array, crc: int) -> int:
    if column.null_count:
        column = pc.fill_null(column, b"" if pa.types.is_binary(column.type) else "")
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    if not len(ends):
        return crc
    crc = crc32c(np.diff(ends).data, crc)
    return crc32c(memoryview(data)[ends[0] : ends[-1]], crc) if data is not None else crc
