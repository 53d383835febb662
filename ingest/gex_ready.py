"""Parsed gamma rows made ready for the writer: their bytes, and the values it looks at."""

from collections.abc import Sequence

from ingest.gex_columns import TOLD, flat_columns
from ingest.gex_mould import Moulds
from ingest.gex_snapshot import gex_columns
from ingest.gex_uw import Row
from storage.prepared import Prepared, prepare


def ready_rows(
    table: str, rows: Sequence[Row], moulds: Moulds
) -> tuple[list[list[object]], Prepared]:
    """What `GexTape.append_prepared` takes; `moulds` are used by one thread at a time."""
    told = [[row.get(name) for name in TOLD[table]] for row in rows]
    if table == "gex" and len(rows) == 1:
        return told, moulds.ready(rows[0])
    columns = gex_columns(rows) if table == "gex" else flat_columns(table, rows)
    return told, prepare(table, columns)
