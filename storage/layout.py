"""How a fast table's rows lie in a segment file.

A segment is log, memory and wire at once: Arrow column buffers of fixed capacity in one mapped
file. It is made of

    page 0        identity: magic, version, schema id, number, first_seq, shape, crc32c
    pages 1, 2    two commit slots, written in turn (see `Commit`)
    page 3        visible words: blocks used, boot id
    then          block table, one 64-byte line a block: symbol code and rows visible
    then          the blocks

A block holds up to BLOCK_ROWS rows of ONE symbol, so a symbol's rows are zero-copy slices. Per
column it has a value buffer and, where Arrow wants one, a bitmap derived from the values (NaN means
null; a flag byte other than the default flips its bit). Bitmaps are rebuilt in recovery, so
checksums cover the values alone. Little-endian throughout.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from core.schema import TABLES, Table

MAGIC = b"TKFLSEG1"
VERSION = 1
PAGE = 4096
BLOCK_ROWS = 16_384
BLOCKS_MAX = 128
SLOT_PAGES = (1, 2)
VISIBLE_PAGE = 3
TABLE_OFFSET = 4 * PAGE
TABLE_LINE = 64
BLOCKS_OFFSET = TABLE_OFFSET + 2 * PAGE
ALL_ONES = 0xFF
assert BLOCKS_MAX * TABLE_LINE <= BLOCKS_OFFSET - TABLE_OFFSET

# Flags that are true unless a batch says otherwise.
TRUE_BY_DEFAULT = frozenset({"valid"})


@dataclass(frozen=True, slots=True)
class Physical:
    """One stored column of a block: where its buffers lie, relative to the block's start."""

    name: str
    dtype: np.dtype[np.generic]
    arrow: pa.DataType
    offset: int
    bitmap_offset: int | None
    is_flag: bool
    default: float | int

    @property
    def fill(self) -> int:
        """What a fresh bitmap is filled with: all valid, or the flag's default."""
        return 0 if self.is_flag and not self.default else ALL_ONES


@dataclass(frozen=True, slots=True)
class Layout:
    """The stored columns of one table, and how many rows and blocks a segment has."""

    table: Table
    columns: tuple[Physical, ...]
    block_bytes: int
    schema_id: int
    block_rows: int
    blocks_max: int

    @property
    def segment_bytes(self) -> int:
        """Size of a segment with every block in place."""
        return self.block_start(self.blocks_max)

    def place_of(self, name: str) -> int:
        """A column's position among the stored ones."""
        return next(i for i, column in enumerate(self.columns) if column.name == name)

    def block_start(self, block: int) -> int:
        """Offset of a block in the file."""
        return BLOCKS_OFFSET + block * self.block_bytes


@lru_cache
def layout_of(
    table_name: str, block_rows: int = BLOCK_ROWS, blocks_max: int = BLOCKS_MAX
) -> Layout:
    """The layout of a fast table; every reader and writer computes the same one."""
    assert block_rows % 64 == 0, block_rows
    assert blocks_max <= BLOCKS_MAX, blocks_max
    table = TABLES[table_name]
    assert table.is_fast, table_name
    columns = []
    offset = 0
    for column in table.columns:
        if column.name == "symbol":
            continue
        is_flag = pa.types.is_boolean(column.type)
        dtype = _stored_dtype(column.type)
        values_bytes = _aligned(block_rows * dtype.itemsize)
        has_bitmap = is_flag or column.nullable
        default: float | int = 0
        if column.name in TRUE_BY_DEFAULT:
            default = 1
        elif column.nullable:
            assert dtype.kind == "f", column.name
            default = float("nan")
        columns.append(
            Physical(
                column.name,
                dtype,
                column.type,
                offset,
                offset + values_bytes if has_bitmap else None,
                is_flag,
                default,
            )
        )
        offset += values_bytes + (_aligned(block_rows // 8) if has_bitmap else 0)
    block_bytes = -(-offset // PAGE) * PAGE
    shape = f"{VERSION}:{block_rows}:{blocks_max}:" + ",".join(
        f"{c.name}={c.arrow}@{c.offset}" for c in columns
    )
    return Layout(
        table, tuple(columns), block_bytes, zlib.crc32(shape.encode()), block_rows, blocks_max
    )


def _stored_dtype(arrow: pa.DataType) -> np.dtype[np.generic]:
    if pa.types.is_dictionary(arrow):
        return np.dtype(np.int16)
    if pa.types.is_timestamp(arrow):
        return np.dtype(np.int64)
    if pa.types.is_boolean(arrow):
        return np.dtype(np.uint8)
    dtype: np.dtype[np.generic] = np.dtype(arrow.to_pandas_dtype())
    return dtype


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // 64) * 64
