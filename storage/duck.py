"""The door to DuckDB for writing: rows into one Parquet file. It knows nothing of the lake."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from core.errors import SealFailed

# One thread keeps row groups exact and in order, so a digest per row group can be known.
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "preserve_insertion_order": True,
    "enable_external_access": True,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
}
COPY = (
    "COPY (FROM source) TO '{path}' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, "
    "ROW_GROUP_SIZE {group_rows}, KV_METADATA {{{key}: '{value}'}})"
)


def write_parquet(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    path: Path,
    *,
    group_rows: int,
    footer: tuple[str, str],
) -> None:
    """Write batches, each one row group (the last may be shorter), with one footer entry.

    DuckDB chooses the encodings: DELTA_BINARY_PACKED for times and numbers that grow, dictionary
    for prices and words. Raises SealFailed; an error of the source itself goes through unchanged.
    """
    failure: list[Exception] = []

    def watched() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            failure.append(error)
            raise

    key, value = footer
    statement = COPY.format(
        path=_quoted(str(path)), group_rows=group_rows, key=key, value=_quoted(value)
    )
    try:
        with duckdb.connect(config=CONFIG) as connection:
            connection.register("source", pa.RecordBatchReader.from_batches(schema, watched()))
            connection.execute(statement)
    except duckdb.Error as error:
        if failure:
            raise failure[0] from error
        raise SealFailed(f"cannot write {path}: {error}") from error


def _quoted(text: str) -> str:
    return text.replace("'", "''")
