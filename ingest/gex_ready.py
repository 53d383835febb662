"""Parsed gamma rows made ready for the writer: their bytes, and the values it looks at. Pure."""

from collections.abc import Sequence

from ingest.gex_columns import TOLD, flat_columns
from ingest.gex_snapshot import gex_columns
from ingest.gex_uw import Row
from storage.prepared import Prepared, prepare


def ready_rows(table: str, rows: Sequence[Row]) -> tuple[list[list[object]], Prepared]:
    """What `GexTape.append_prepared` takes."""
    columns = gex_columns(rows) if table == "gex" else flat_columns(table, rows)
    told = [[row.get(name) for name in TOLD[table]] for row in rows]
    return told, prepare(table, columns)
