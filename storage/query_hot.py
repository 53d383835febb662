"""Hot rows inside DuckDB: one table per (tape table, symbol), loaded from the segments in blocks.

Rows come in the order of seq and are never changed, so `loaded_seq` says exactly which of a
symbol's rows are here; a query takes the rest straight from the segments. Sealed rows are deleted
only long after the snapshot that holds them is in use, so no running query misses them. When the
room is used up nothing more is loaded and queries read the segments: slower, never wrong.
"""
# ruff: noqa: S608 - SQL is put together from names of ours and numbers; a client's text never is.

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from core.clock import NS_PER_S, Clock
from core.errors import Unavailable
from core.log import Log
from core.schema import TABLES
from storage.hot import HotReader
from storage.mapped import HotSlice
from storage.query_scan import has_revisions

log = Log("query")
LOAD_ROWS = 16_384  # below this the segments are quicker than one more insert
SLOW_LOAD_ROWS = 2_048
KEEP_SEALED_S = 30
ROW_BYTES = 150  # of a loaded row, measured on trades: 110 to 140


@dataclass(slots=True)
class HotTable:
    """What is loaded of one symbol."""

    relation: str
    trimmed_seq: int = 0
    loaded_seq: int = 0
    rows: int = 0
    min_ts_us: int = 1 << 62
    max_ts_us: int = -(1 << 62)
    has_revisions: bool = False
    sealed: deque[tuple[int, int]] = field(default_factory=deque)  # (monotonic ns, sealed seq)


class HotTables:
    """Loads and trims; one thread calls `load`, any thread reads `loaded`."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, schema: str, *, bytes_max: int, clock: Clock
    ) -> None:
        self._connection = connection.cursor()
        self._schema = schema
        self._rows_max = bytes_max // ROW_BYTES
        self._clock = clock
        self._tables: dict[tuple[str, str], HotTable] = {}
        self.wanted: set[str] = set()
        self._lock = threading.Lock()
        self.rows = 0

    def want(self, table: str) -> None:
        """Somebody asks for this table: load it from now on."""
        self.wanted.add(table)

    def loaded(self, table: str, symbol: str) -> HotTable | None:
        """What is loaded of a symbol, as of now; take it before the transaction begins."""
        with self._lock:
            found = self._tables.get((table, symbol))
            if found is None or not found.rows:
                return None
            return HotTable(
                found.relation,
                found.trimmed_seq,
                found.loaded_seq,
                found.rows,
                found.min_ts_us,
                found.max_ts_us,
                found.has_revisions,
            )

    def load(self, hot: HotReader, sealed_seq: Mapping[str, Mapping[str, int]]) -> None:
        """Take in what became hot since, of every wanted table; let go of what was sealed."""
        for table in sorted(self.wanted):
            least = LOAD_ROWS if TABLES[table].is_fast else SLOW_LOAD_ROWS
            sealed = sealed_seq.get(table, {})
            try:
                symbols = hot.symbols(table) if TABLES[table].by_symbol else [""]
                for symbol in symbols:
                    self._load_symbol(hot, table, symbol, least, sealed.get(symbol, 0))
            except Unavailable as error:
                log.debug("hot.not_loaded", table=table, reason=error.message)
        for (table, symbol), state in list(self._tables.items()):
            self._trim(state, sealed_seq.get(table, {}).get(symbol, 0))

    def _load_symbol(
        self, hot: HotReader, table: str, symbol: str, least: int, sealed_seq: int
    ) -> None:
        state = self._tables.get((table, symbol))
        after = max(state.loaded_seq if state else 0, sealed_seq)
        slices = hot.slices(table, symbol, after_seq=after)
        rows = sum(part.batch.num_rows for part in slices)
        if rows < least or self.rows + rows > self._rows_max:
            return
        if state is None:
            state = self._create(table, symbol)
        incoming = plain_rows(slices, table).drop_columns(["symbol"])
        self._connection.register("tape_incoming", incoming)
        self._connection.execute(f"INSERT INTO {state.relation} FROM tape_incoming")
        self._connection.unregister("tape_incoming")
        with self._lock:
            # Rows up to here that are not in the table were sealed before they were loaded.
            if state.loaded_seq < sealed_seq:
                state.trimmed_seq = max(state.trimmed_seq, sealed_seq)
            state.loaded_seq = slices[-1].last_seq
            state.rows += rows
            state.min_ts_us = min(state.min_ts_us, *(part.min_ts_us for part in slices))
            state.max_ts_us = max(state.max_ts_us, *(part.max_ts_us for part in slices))
            state.has_revisions = state.has_revisions or any(
                has_revisions(part.batch) for part in slices
            )
        self.rows += rows

    def _create(self, table: str, symbol: str) -> HotTable:
        relation = f"{self._schema}.hot_{table}_{len(self._tables)}"
        self._connection.register("tape_incoming", TABLES[table].plain_schema.empty_table())
        self._connection.execute(
            f"CREATE TABLE {relation} AS SELECT * EXCLUDE (symbol) FROM tape_incoming"
        )
        self._connection.unregister("tape_incoming")
        state = HotTable(relation)
        with self._lock:
            self._tables[table, symbol] = state
        return state

    def _trim(self, state: HotTable, sealed_seq: int) -> None:
        now_ns = self._clock.monotonic_ns()
        if not state.sealed or state.sealed[-1][1] < sealed_seq:
            state.sealed.append((now_ns, sealed_seq))
        due_seq = 0
        while state.sealed and state.sealed[0][0] <= now_ns - KEEP_SEALED_S * NS_PER_S:
            due_seq = state.sealed.popleft()[1]
        if due_seq <= state.trimmed_seq or not state.rows:
            return
        with self._lock:
            state.trimmed_seq = due_seq
        gone = self._connection.execute(
            f"DELETE FROM {state.relation} WHERE seq <= {due_seq:d}"
        ).fetchall()[0][0]
        with self._lock:
            state.rows -= gone
        self.rows -= gone
        log.debug("hot.trimmed", relation=state.relation, rows=gone)


def plain_rows(slices: list[HotSlice], table: str) -> pa.Table:
    """Slices as one Arrow table whose dictionaries agree."""
    rows = pa.Table.from_batches([part.batch for part in slices], TABLES[table].schema)
    texts = TABLES[table].text_columns
    sizes = {tuple(len(part.batch.column(name).dictionary) for name in texts) for part in slices}
    if len(sizes) > 1 or not TABLES[table].is_fast:
        return rows.unify_dictionaries()
    return rows
