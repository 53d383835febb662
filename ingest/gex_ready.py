"""Parsed gamma rows made ready for the writer: their bytes, and the values it looks at. Pure."""

from collections.abc import Sequence

from ingest.gex_columns import TOLD, rows_batch
from ingest.gex_snapshot import gex_batch
from ingest.gex_uw import Row
from storage.prepared import Prepared, prepare


def ready_rows(table: str, rows: Sequence[Row]) -> tuple[list[list[object]], Prepared]:
    """What `GexTape.append_prepared` takes."""
    batch = gex_batch(rows) if table == "gex" else rows_batch(table, rows)
    told = [[row.get(name) for name in TOLD[table]] for row in rows]
    return told, prepare(table, batch)
