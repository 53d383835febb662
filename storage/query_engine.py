"""DuckDB set up so that a statement can only read the tape, and one request run inside it.

Each request has a connection of its own: its views, its file lists, its read-only transaction. It
ends with the request. Configuration is locked before the first of them.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from core.clock import Clock
from core.errors import BadSql, Forbidden, PipelineError, TooMuch, Unavailable
from core.log import Log
from core.schema import TABLES
from storage.hot import HotReader
from storage.manifest import Partition
from storage.paths import Paths
from storage.query_hot import HotTables
from storage.query_prune import Probe
from storage.query_sandbox import Sandbox, Statement
from storage.query_services import SERVICES, services_of
from storage.query_tables import (
    PARTITIONS,
    TRIES_MAX,
    USER_TABLES,
    Builder,
    Scope,
    Tape,
    no_need,
)
from storage.query_text import candidates, first_line
from storage.query_views import BARS_MACRO, TICKS_VIEW, Views
from storage.view import Manifests

log = Log("query")
BATCH_BYTES = 2 << 20
BATCH_ROWS = (2_048, 65_536)
DUCKDB_SHARE = 0.6  # of a worker's memory; the rest is Arrow, Python and stacks
HOT_SHARE = 0.25
# Bytes a value takes in Arrow, roughly; what is not listed is nested and may be a ladder.
WIDTHS = {"BOOLEAN": 1, "TINYINT": 1, "SMALLINT": 2, "INTEGER": 4, "FLOAT": 4, "VARCHAR": 12}
WIDTHS |= dict.fromkeys(("BIGINT", "DOUBLE", "TIMESTAMP", "DATE", "HUGEINT"), 8)
WIDTH_UNKNOWN = 512


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How much of the machine a worker may use."""

    memory_bytes: int
    threads: int


class Engine:
    """One in-memory DuckDB over the tape."""

    def __init__(self, paths: Paths, lake: str, options: EngineOptions, clock: Clock) -> None:
        self._paths = paths
        self._schema = f"tape_{secrets.token_hex(4)}"
        self._connection = _connect(lake, options)
        self._types = self._make_shapes()
        bytes_max = int(options.memory_bytes * HOT_SHARE)
        self.loaded = HotTables(self._connection, self._schema, bytes_max=bytes_max, clock=clock)
        services = services_of(paths, clock)
        self.tape = Tape(None, Manifests(lake), self.loaded, services)
        self._sandbox = Sandbox(USER_TABLES)
        shapes = {name: table.plain_schema for name, table in TABLES.items()}
        macro = BARS_MACRO.replace("TEMP MACRO", "MACRO")
        shapes |= {"partitions": PARTITIONS, "services": SERVICES}
        self._probe = Probe(shapes, [TICKS_VIEW, macro])
        self._connection.execute("SET GLOBAL lock_configuration = true")

    def load_hot(self) -> None:
        """Take in rows that became hot; called every now and then by one thread."""
        self._find_hot()
        if self.tape.hot is not None:
            sealed = {
                name: self.tape.snapshot(name).sealed_seq for name in list(self.loaded.wanted)
            }
            self.loaded.load(self.tape.hot, sealed)

    def check(self, sql: str, literals: list[str]) -> Statement:
        """Judge a statement; raise BadSql or Forbidden."""
        return self._sandbox.check(sql, literals)

    def session(self) -> "Session":
        """Connections for one request."""
        return Session(self._connection.cursor(), self._probe.cursor())

    def open(
        self,
        session: "Session",
        statement: Statement,
        scope: Scope,
        need: Callable[[Sequence[Partition]], None] = no_need,
    ) -> "Answer":
        """Build what the statement may see and bind it; nothing is computed yet.

        `need` is told which sealed files will be read, and returns when they are on this machine.
        """
        self._find_hot()
        cursor = session.cursor
        try:
            bounds = self._probe.bounds(session.planner, statement.sql)
        except duckdb.Error:
            bounds = {}  # if the statement is wrong, binding it says why
        for _ in range(TRIES_MAX):
            builder = Builder(cursor, self._schema, self._types, need)
            views = Views(self.tape, builder, scope)
            names = set(statement.tables) | ({"bars_1s"} if statement.bars_macro else set())
            for name in sorted(names):
                views.build(name, bounds)
            if statement.bars_macro:
                cursor.execute(BARS_MACRO)
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            if all(self.tape.is_current(moment) for moment in views.moments):
                break
            cursor.execute("ROLLBACK")
            builder.drop()
        else:
            raise Unavailable("hot rows move faster than they can be read", hint="ask again")
        relation = cursor.sql(statement.sql)
        return Answer(relation, _metadata(views))

    def _find_hot(self) -> None:
        if self.tape.hot is None and self._paths.head("trades").exists():
            self.tape.hot = HotReader(self._paths)

    def _make_shapes(self) -> dict[str, dict[str, str]]:
        run = self._connection.execute
        run(f"CREATE SCHEMA {self._schema}")
        types = {}
        for name, table in TABLES.items():
            self._connection.register("tape_shape", table.plain_schema.empty_table())
            run(f"CREATE TABLE {self._schema}.{name} AS FROM tape_shape")
            self._connection.unregister("tape_shape")
            rows = run(f"DESCRIBE {self._schema}.{name}").fetchall()
            types[name] = {str(row[0]): str(row[1]) for row in rows}
        return types


@dataclass(frozen=True, slots=True)
class Session:
    """What one request runs on; both may be interrupted from another thread."""

    cursor: duckdb.DuckDBPyConnection
    planner: duckdb.DuckDBPyConnection

    def interrupt(self) -> None:
        """Stop what is being computed."""
        self.cursor.interrupt()
        self.planner.interrupt()

    def close(self) -> None:
        """Let go of views, variables and the transaction."""
        self.planner.close()
        self.cursor.close()


class Answer:
    """A bound statement."""

    def __init__(self, relation: duckdb.DuckDBPyRelation, metadata: dict[str, str]) -> None:
        self._relation = relation
        self._metadata = metadata

    def schema(self) -> pa.Schema:
        """The columns it will give, without computing them."""
        with closing(self._relation.limit(0).to_arrow_reader(1)) as reader:
            schema = reader.schema
        names = self._relation.columns
        assert len(names) == len(schema)
        fields = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
        return pa.schema(fields, metadata=self._metadata)

    def batches(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Start computing; rows come in batches of about BATCH_BYTES."""
        width = sum(WIDTHS.get(str(kind), WIDTH_UNKNOWN) for kind in self._relation.types)
        rows = BATCH_BYTES // max(width, 1) // 2_048 * 2_048
        rows = min(max(rows, BATCH_ROWS[0]), BATCH_ROWS[1])
        reader = self._relation.to_arrow_reader(rows)
        assert reader is not None
        return reader.schema.with_metadata(self._metadata), iter(reader)


def _connect(lake: str, options: EngineOptions) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "threads": options.threads,
            "memory_limit": f"{int(options.memory_bytes * DUCKDB_SHARE)}B",
            "temp_directory": "",
            "python_enable_replacements": "false",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_unsigned_extensions": "false",
        }
    )
    for rule in (
        "SET GLOBAL timezone = 'UTC'",
        # An ASOF join against a small or Parquet side is otherwise planned as a nested loop.
        "SET GLOBAL asof_loop_join_threshold = 0",
        "SET GLOBAL parquet_metadata_cache = true",
        "SET GLOBAL enable_external_access = false",
    ):
        if "external_access" in rule:
            folder = str(Path(lake).absolute()).replace("'", "''")
            connection.execute(f"SET GLOBAL allowed_directories = ['{folder}/']")
        connection.execute(rule)
    return connection


def _metadata(views: Views) -> dict[str, str]:
    marks = {
        moment.table: {
            "visible_seq": moment.watermarks.visible_seq,
            "durable_seq": moment.watermarks.durable_seq,
        }
        for moment in views.moments
        if "seq" in TABLES[moment.table].schema.names
    }
    metadata = {"watermarks": json.dumps(marks)}
    if len(marks) == 1:
        metadata |= {name: str(seq) for name, seq in next(iter(marks.values())).items()}
    return metadata


def translated(error: BaseException) -> PipelineError:
    """DuckDB's error as one of ours, without paths; interrupts are the caller's to judge."""
    text = first_line(error)
    kind = text.split(" Error:", 1)[0].split(":", 1)[0].strip().lower()
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return TooMuch(
            "the statement needs more memory than a query may use",
            hint="narrow the time range, group more coarsely, or leave out ORDER BY",
        )
    if "io" in kind.split() or "No files found" in text:
        log.error("partition.unreadable", error=str(error))
        return Unavailable("a sealed partition could not be read just now", hint="ask again")
    if "permission" in kind or "Cannot write" in text:
        return Forbidden(text, hint="the tape is read-only")
    if "internal" in kind or "fatal" in kind:
        log.error("query.failed", error=str(error))
        return Unavailable("the query engine failed on this statement", hint="write it differently")
    return BadSql(text, hint=candidates(error) or "see describe for tables and columns")
