"""The tables a statement sees: built for each request, hot and cold as one, exact at one moment.

Per symbol, a manifest snapshot says up to which seq rows are sealed. Sealed rows come from an
explicit list of files, rows after that from the loaded hot table, and rows not loaded yet from the
segments themselves: three ranges of seq that touch and never overlap. What the caller may not see
(other symbols, rows not yet known at `known_at`) is left out here, below anything SQL can name.
"""
# ruff: noqa: S608 - SQL is put together from names of ours and numbers; a client's text never is.

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import duckdb
import pyarrow as pa

from core.errors import Unavailable
from core.schema import TABLES, TIME, TRADES
from storage.head import Watermarks
from storage.hot import HotReader
from storage.manifest import Partition, Snapshot
from storage.mapped import HotSlice
from storage.query_hot import HotTable, HotTables, plain_rows
from storage.query_prune import EVERYTHING, Bounds
from storage.query_scan import has_revisions
from storage.query_services import Services
from storage.query_text import TICKS_NAMES, quoted

PARTITIONS = pa.schema(
    [
        ("table_name", pa.utf8()),
        ("symbol", pa.utf8()),
        ("date", pa.utf8()),
        ("rows", pa.int64()),
        ("bytes", pa.int64()),
        ("first_seq", pa.int64()),
        ("last_seq", pa.int64()),
        ("min_ts_event", TIME),
        ("max_ts_event", TIME),
        ("max_ts_recv", TIME),
    ]
)
TICKS_HEAD = ", ".join(f"{name} AS {shown}" for shown, name in TICKS_NAMES.items())
TICKS_REST = ", ".join(c.name for c in TRADES.columns if c.name not in TICKS_NAMES.values())
USER_TABLES = (*TABLES, "partitions", "services", "ticks")
TRIES_MAX = 5


class Snapshots(Protocol):
    """Where manifest snapshots come from."""

    def snapshot(self, table: str, version: int) -> Snapshot:
        """The sealed side as of `version` or newer."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What one request may see."""

    symbols: frozenset[str] | None = None
    known_at_us: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Where one symbol's rows come from."""

    symbol: str
    sealed_seq: int
    files: list[Partition]
    hot: HotTable | None
    slices: list[HotSlice]

    @property
    def has_revisions(self) -> bool:
        """Whether a correction or cancel may be among the rows."""
        return (
            any(file.has_revisions for file in self.files)
            or (self.hot is not None and self.hot.has_revisions)
            or any(has_revisions(part.batch) for part in self.slices)
        )

    def times(self) -> list[tuple[int, int]]:
        """First and last event time of each piece."""
        pieces: list[Partition | HotTable | HotSlice] = [*self.files, *self.slices]
        pieces += [self.hot] if self.hot is not None else []
        return [(piece.min_ts_us, piece.max_ts_us) for piece in pieces]


@dataclass
class Moment:
    """Everything one request reads of one table, fixed."""

    table: str
    parts: list[Part]
    watermarks: Watermarks


class Tape:
    """Hot and cold of every table, ready to be cut for a request."""

    def __init__(
        self,
        hot: HotReader | None,
        snapshots: Snapshots,
        loaded: HotTables,
        services: Services,
    ) -> None:
        self.hot = hot
        self.services = services
        self.snapshots = snapshots
        self.loaded = loaded

    def snapshot(self, table: str) -> Snapshot:
        """The sealed side of a table, as new as the writer says it is."""
        return self.snapshots.snapshot(table, self._lake_version(table))

    def moment(
        self,
        table: str,
        scope: Scope,
        bounds: Bounds = EVERYTHING,
        after: Mapping[str, int] | None = None,
    ) -> Moment:
        """Fix what is read of a table; with `after`, only rows with a later seq per symbol."""
        snapshot = self.snapshot(table)
        self.loaded.want(table)
        watermarks = self._watermarks(table)
        if TABLES[table].by_symbol:
            names = {name for name in snapshot.sealed_seq if name} | set(snapshot.symbols)
            names |= set(self._hot_symbols(table))
            for allowed in (scope.symbols, bounds.symbols):
                names = names if allowed is None else names & allowed
            parts = [
                self._part(snapshot, name, bounds, watermarks, (after or {}).get(name, 0))
                for name in sorted(names)
            ]
        else:
            parts = [self._part(snapshot, "", bounds, watermarks, 0)]
        return Moment(table, parts, watermarks)

    def _part(
        self,
        snapshot: Snapshot,
        symbol: str,
        bounds: Bounds,
        watermarks: Watermarks,
        after: int,
    ) -> Part:
        table = snapshot.table
        sealed_seq = snapshot.sealed_seq.get(symbol, 0)
        files = snapshot.pruned(
            symbols=[symbol] if TABLES[table].by_symbol else None,
            start_us=bounds.start_us,
            end_us=bounds.end_us,
        )
        files = [file for file in files if file.last_seq > after]
        if "seq" not in TABLES[table].schema.names:  # bars live in the lake alone
            return Part(symbol, sealed_seq, files, None, [])
        hot = self.loaded.loaded(table, symbol)
        if hot is not None and (hot.trimmed_seq > sealed_seq or hot.loaded_seq <= sealed_seq):
            hot = None  # this snapshot is older than what is loaded, or newer than all of it
        from_seq = max(sealed_seq, after, hot.loaded_seq if hot else 0)
        slices = self._slices(table, symbol, from_seq, watermarks.visible_seq)
        slices = [part for part in slices if _overlaps(part.min_ts_us, part.max_ts_us, bounds)]
        if hot is not None and not _overlaps(hot.min_ts_us, hot.max_ts_us, bounds):
            hot = None
        return Part(symbol, sealed_seq, files, hot, slices)

    def is_current(self, moment: Moment) -> bool:
        """Whether nothing the moment counts on has been let go since."""
        for part in moment.parts:
            if part.hot is not None:
                now = self.loaded.loaded(moment.table, part.symbol)
                if now is None or now.trimmed_seq > part.sealed_seq:
                    return False
        return True

    def partitions(self, scope: Scope) -> pa.Table:
        """The living partitions of every table, without their paths."""
        rows = []
        for table in TABLES:
            for p in self.snapshot(table).pruned():
                if scope.symbols is not None and p.symbol not in scope.symbols:
                    continue
                if scope.known_at_us is not None and p.max_recv_us > scope.known_at_us:
                    continue
                sizes = (p.rows, p.bytes, p.first_seq, p.last_seq)
                times = (p.min_ts_us, p.max_ts_us, p.max_recv_us)
                rows.append((table, p.symbol, p.date, *sizes, *times))
        columns = list(zip(*rows, strict=True)) or [()] * len(PARTITIONS)
        arrays = [
            pa.array(values, pa.int64()).cast(TIME)
            if kind.type == TIME
            else pa.array(values, kind.type)
            for values, kind in zip(columns, PARTITIONS, strict=True)
        ]
        return pa.table(arrays, schema=PARTITIONS)

    def _lake_version(self, table: str) -> int:
        if "seq" not in TABLES[table].schema.names:
            table = "trades"  # bars are sealed with the trades they are made of
        try:
            return self.hot.lake_version(table) if self.hot else 0
        except Unavailable:
            return 0

    def _watermarks(self, table: str) -> Watermarks:
        try:
            return self.hot.watermarks(table) if self.hot else Watermarks(0, 0)
        except Unavailable:
            return Watermarks(0, 0)

    def _hot_symbols(self, table: str) -> list[str]:
        try:
            return self.hot.symbols(table) if self.hot else []
        except Unavailable:
            return []

    def _slices(self, table: str, symbol: str, after: int, up_to: int) -> list[HotSlice]:
        try:
            if self.hot is None:
                return []
            return self.hot.slices(table, symbol, after_seq=after, up_to_seq=up_to)
        except Unavailable:
            return []


def _overlaps(min_ts_us: int, max_ts_us: int, bounds: Bounds) -> bool:
    return (bounds.start_us is None or max_ts_us >= bounds.start_us) and (
        bounds.end_us is None or min_ts_us < bounds.end_us
    )


def no_need(files: Sequence[Partition]) -> None:
    """Every file is there."""


@dataclass
class Builder:
    """Writes a request's views into its own connection. All names start with `tape_`."""

    cursor: duckdb.DuckDBPyConnection
    schema: str  # of the inner relations
    types: Mapping[str, Mapping[str, str]]  # DuckDB type by table and column
    need: Callable[[Sequence[Partition]], None] = no_need
    _count: int = 0
    _kept: list[object] = field(default_factory=list)
    _views: list[str] = field(default_factory=list)

    def rows(self, moment: Moment, scope: Scope, after: Mapping[str, int] | None = None) -> str:
        """A SELECT of a moment's rows, in the table's own columns."""
        self.need([file for part in moment.parts for file in part.files])
        sources = [self._files(moment.table, part, after) for part in moment.parts if part.files]
        sources += [
            self._loaded(moment.table, part, after) for part in moment.parts if part.hot is not None
        ]
        slices = [piece for part in moment.parts for piece in part.slices]
        if slices:
            tail = self.register(plain_rows(slices, moment.table))
            sources.append(f"SELECT {self._columns(moment.table)} FROM {tail}")
        if not sources:
            sources.append(
                f"SELECT {self._columns(moment.table)} FROM {self.schema}.{moment.table}"
            )
        text = " UNION ALL ".join(sources)
        rules = []
        if scope.known_at_us is not None and "ts_recv" in TABLES[moment.table].schema.names:
            rules.append(f"ts_recv <= make_timestamp({scope.known_at_us:d})")
        if scope.symbols is not None:
            allowed = ", ".join(quoted(name) for name in sorted(scope.symbols)) or "NULL"
            rules.append(f"symbol IN ({allowed})")
        if rules:
            text = f"SELECT * FROM ({text}) WHERE {' AND '.join(rules)}"
        return text

    def view(self, name: str, body: str) -> None:
        """Make a view only this request sees."""
        self.cursor.execute(f"CREATE TEMP VIEW {name} AS {body}")
        self._views.append(name)

    def drop(self) -> None:
        """Take the views back, to build them anew."""
        for name in self._views:
            self.cursor.execute(f"DROP VIEW {name}")

    def register(self, rows: pa.Table) -> str:
        """Let SQL read an Arrow table; give its name."""
        self._count += 1
        name = f"tape_rows_{self._count}"
        self.cursor.register(name, rows)
        self._kept.append(rows)
        return name

    def _files(self, table: str, part: Part, after: Mapping[str, int] | None) -> str:
        self._count += 1
        variable = f"tape_files_{self._count}"
        paths = ", ".join(quoted(file.path) for file in part.files)
        self.cursor.execute(f"SET VARIABLE {variable} = [{paths}]")
        if TABLES[table].by_symbol:
            columns = self._columns(table, quoted(part.symbol))
        else:
            columns = self._columns(table)
        source = f"read_parquet(getvariable('{variable}'), hive_partitioning = false)"
        return f"SELECT {columns} FROM {source}" + _later(part.symbol, after)

    def _loaded(self, table: str, part: Part, after: Mapping[str, int] | None) -> str:
        assert part.hot is not None
        low = max(part.sealed_seq, (after or {}).get(part.symbol, 0))
        columns = self._columns(table, quoted(part.symbol))
        return (
            f"SELECT {columns} FROM {part.hot.relation} "
            f"WHERE seq > {low:d} AND seq <= {part.hot.loaded_seq:d}"
        )

    def _columns(self, table: str, symbol: str = "symbol") -> str:
        texts = []
        for name, kind in self.types[table].items():
            source = symbol if name == "symbol" else f'"{name}"'
            is_plain = kind in PLAIN_TYPES and (name != "symbol" or symbol != "symbol")
            texts.append(f"{source} AS {name}" if is_plain else f"{source}::{kind} AS {name}")
        return ", ".join(texts)


PLAIN_TYPES = frozenset(
    {"BIGINT", "DOUBLE", "TIMESTAMP", "SMALLINT", "TINYINT", "INTEGER", "BOOLEAN"}
)


def _later(symbol: str, after: Mapping[str, int] | None) -> str:
    seq = (after or {}).get(symbol, 0)
    return f" WHERE seq > {seq:d}" if seq else ""
