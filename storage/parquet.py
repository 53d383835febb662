"""Writes rows into one Parquet file, encoded for what market data are. Knows nothing of the lake.

Times and running numbers are DELTA_BINARY_PACKED, all else is dictionary first; zstd. Text comes as
dictionary codes and is never spelled out row by row. Statistics are kept per column and row group.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

COMPRESSION, LEVEL = "zstd", 1
DELTA_TYPES = (pa.timestamp("us"), pa.int64())
PAGE_BYTES = 2**20
LADDER_PAGE_BYTES = 2**17  # each of a ladder's many columns holds a page and a dictionary at a time
_FEW = frozenset({"size", "bid_size", "ask_size", "volume", "count"})  # whole numbers that repeat


def write_parquet(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    path: Path,
    *,
    group_rows: int,
    footer: tuple[str, str],
) -> None:
    """Write batches, each one row group (the last may be shorter), with one footer entry.

    Raises OSError and ArrowException; an error of the source itself goes through unchanged.
    """
    fields = [field.with_nullable(True) for field in schema]
    deltas = [f.name for f in fields if f.type in DELTA_TYPES and f.name not in _FEW]
    has_ladder = any(_is_ladder(field.type) for field in fields)
    page_bytes = LADDER_PAGE_BYTES if has_ladder else PAGE_BYTES
    writer = pq.ParquetWriter(
        path,
        pa.schema(fields),
        compression=COMPRESSION,
        compression_level=LEVEL,
        use_dictionary=[leaf for f in fields if f.name not in deltas for leaf in _leaves(f)],
        column_encoding=dict.fromkeys(deltas, "DELTA_BINARY_PACKED"),
        data_page_size=page_bytes,
        dictionary_pagesize_limit=page_bytes,
        store_schema=False,
    )
    try:
        for batch in batches:
            plain = pa.RecordBatch.from_arrays(batch.columns, schema=writer.schema)
            writer.write_batch(plain, row_group_size=group_rows)
        writer.add_key_value_metadata(dict([footer]))
    finally:
        writer.close()


def _is_ladder(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_struct(kind.value_type))


def _leaves(field: pa.Field) -> list[str]:
    """Paths of a field's columns as Parquet names them."""
    kind = field.type
    if pa.types.is_struct(kind):
        return [f"{field.name}.{leaf}" for child in kind for leaf in _leaves(child)]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        element = kind.value_field.with_name("element")
        return [f"{field.name}.list.{leaf}" for leaf in _leaves(element)]
    return [field.name]
