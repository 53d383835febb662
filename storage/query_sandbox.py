"""Decides whether a client's SQL may run: one SELECT, over our tables, with harmless functions.

DuckDB's own parser gives the syntax tree; everything in it must be known and allowed here, so a
construct this module has never heard of is refused. This is the first of four fences: the second is
a read-only transaction, the third the process limits, the fourth the watchdog (`query_worker`).

Nothing here reads or writes a row.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from core.errors import BadSql, Forbidden
from storage.query_text import CATALOG, SCHEMA, first_line, shown

SQL_BYTES_MAX = 256 * 1024
DEPTH_MAX = 250
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
MAIN_PREFIX = re.compile(rb'(?:"?tickflight"?\s*\.\s*)?"?main"?\s*\.\s*', re.IGNORECASE)

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "bars"})
NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
SOURCES = frozenset(
    {
        "BASE_TABLE",
        "SUBQUERY",
        "JOIN",
        "TABLE_FUNCTION",
        "EXPRESSION_LIST",
        "EMPTY",
        "PIVOT",
        "SHOW_REF",
    }
)
EXPRESSIONS = frozenset(
    {
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "LAMBDA",
        "LAMBDA_REF",
        "OPERATOR",
        "POSITIONAL_REFERENCE",
        "STAR",
        "SUBQUERY",
        "TYPE",
        "WINDOW",
    }
)
MODIFIERS = frozenset(
    {"ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER"}
)
SHOWS = frozenset({"DESCRIBE", "SUMMARY"})

# Functions with effects, with a view of the process, that wait, or whose only use here would be to
# take memory. A test holds every volatile function of the installed DuckDB against this list.
REFUSED_FUNCTIONS = frozenset(
    {
        "add_parquet_key",
        "array_resize",
        "checkpoint",
        "combine",
        "constant_or_null",
        "create_sort_key",
        "current_catalog",
        "current_connection_id",
        "current_database",
        "current_query",
        "current_query_id",
        "current_role",
        "current_schema",
        "current_schemas",
        "current_setting",
        "current_transaction_id",
        "current_user",
        "currval",
        "finalize",
        "force_checkpoint",
        "get_block_size",
        "getenv",
        "getvariable",
        "hive_partition_component",
        "icu_sort_key",
        "in_search_path",
        "index_key",
        "invoke",
        "list_resize",
        "nextval",
        "parse_duckdb_log_message",
        "query",
        "query_table",
        "repeat",
        "session_user",
        "setseed",
        "setval",
        "sleep_ms",
        "stats",
        "to_aggregate_state",
        "txid_current",
        "user",
        "vector_type",
        "which_secret",
        "write_log",
    }
)
ALLOWED_PG = frozenset({"pg_typeof", "pg_size_pretty"})
REFUSED_PATTERN = re.compile(
    r"__internal|pg_|duckdb_|pragma_|inet_|has_\w+_privilege\Z|(col|obj|shobj)_description\Z"
    r"|json_(de)?serialize|json_execute|read_|parquet_|sniff_|truncate_|(en|dis)able_"
)
VOLATILE_ALLOWED = frozenset(
    {
        "current_date",
        "error",
        "gen_random_uuid",
        "get_current_time",
        "get_current_timestamp",
        "now",
        "random",
        "today",
        "transaction_timestamp",
        "uuid",
        "uuidv4",
        "uuidv7",
    }
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that passed: the text to run, and which of our tables it reads."""

    sql: str
    tables: frozenset[str]
    bars_macro: bool = False


class Sandbox:
    """Checks statements; `tables` are the names a client may read."""

    def __init__(self, tables: Sequence[str]) -> None:
        self._tables = frozenset(tables)
        self._parser = duckdb.connect(config={"threads": 1, "python_enable_replacements": "false"})
        rows = self._parser.execute(
            "SELECT view_name FROM duckdb_views() WHERE schema_name <> 'information_schema'"
        ).fetchall()
        self._inner_names = frozenset(str(row[0]).lower() for row in rows)

    def check(self, sql: str, literals: Sequence[str] = ()) -> Statement:
        """Put `literals` in place of $1, $2 (or ?), then judge; raise BadSql or Forbidden."""
        if len(sql.encode()) > SQL_BYTES_MAX:
            raise BadSql(
                f"the statement is longer than {SQL_BYTES_MAX} bytes",
                hint="pass long lists as parameters of a join, or ask in parts",
            )
        if "\0" in sql:
            raise BadSql("the statement contains a zero byte", hint="send plain UTF-8 text")
        sql, tree = self._without_parameters(sql, literals)
        walk = _Walk(self._tables, self._inner_names)
        walk.judge(tree)
        return Statement(_without_main(sql, walk.main_offsets), walk.read(), walk.bars_macro)

    def _without_parameters(
        self, sql: str, literals: Sequence[str]
    ) -> tuple[str, dict[str, object]]:
        tree = self._parse(sql)
        raw = sql.encode()
        spots = sorted(
            (n for n in nodes(tree) if n.get("class") == "PARAMETER"), key=_offset, reverse=True
        )
        wanted = {str(spot.get("identifier")) for spot in spots}
        given = {str(number + 1) for number in range(len(literals))}
        if wanted != given:
            raise BadSql(
                f"the statement has {len(wanted)} parameters, {len(given)} values were given",
                hint="use $1, $2 ... or ? and give one value for each, in order",
            )
        if not spots:
            return sql, tree
        for spot in spots:
            start, size = _offset(spot), spot.get("query_location_length")
            assert isinstance(size, int)
            assert raw[start : start + 1] in (b"$", b"?"), raw[start : start + 8]
            literal = literals[int(str(spot["identifier"])) - 1]
            raw = raw[:start] + b" " + literal.encode() + b" " + raw[start + size :]
        sql = raw.decode()
        return sql, self._parse(sql)

    def _parse(self, sql: str) -> dict[str, object]:
        with self._parser.cursor() as parser:
            try:
                statements = parser.extract_statements(sql)
                kinds = [statement.type.name for statement in statements]
            except duckdb.Error as error:
                raise BadSql(first_line(error), hint="check the SQL; DuckDB's dialect") from None
            _judge_kinds(kinds)
            rows = parser.execute("SELECT json_serialize_sql($1)", [sql]).fetchall()
        tree = json.loads(rows[0][0])
        if tree.get("error"):
            raise BadSql(
                "the statement cannot be checked: " + str(tree.get("error_message")),
                hint="write it as one plain SELECT",
            )
        assert isinstance(tree, dict)
        assert len(tree["statements"]) == 1
        return tree


def _judge_kinds(kinds: list[str]) -> None:
    if not kinds:
        raise BadSql("there is no statement", hint="send one SELECT")
    if len(kinds) > 1:
        raise BadSql(f"found {len(kinds)} statements", hint="send exactly one SELECT")
    if kinds[0] == "MULTI":
        raise BadSql(
            "a PIVOT that must first look for its columns is not one SELECT",
            hint="name them: FROM t PIVOT (sum(size) FOR symbol IN ('MNQ', 'NQ'))",
        )
    if kinds[0] != "SELECT":
        raise BadSql(
            f"only SELECT is served, found {kinds[0]}",
            hint="the tape is read-only; WITH, FROM and VALUES count as SELECT",
        )


class _Walk:
    """One pass over a syntax tree."""

    def __init__(self, tables: frozenset[str], inner_names: frozenset[str]) -> None:
        self._ours = tables
        self._inner_names = inner_names
        self._names: set[str] = set()
        self._named: set[str] = set()
        self.main_offsets: list[int] = []
        self.bars_macro = False

    def judge(self, tree: dict[str, object]) -> None:
        """Raise at the first thing that is not allowed."""
        for node in nodes(tree):
            self._judge_shape(node)
            if "cte_map" in node:
                self._note_ctes(node["cte_map"])
            if isinstance(node.get("cte_name"), str):
                self._named.add(self._plain_name(str(node["cte_name"])))
            if isinstance(node.get("function_name"), str):
                self._judge_function(node)
            if node.get("type") == "BASE_TABLE":
                self._judge_table(node)
            if node.get("type") == "TABLE_FUNCTION":
                self._judge_table_function(node)
            if node.get("type") == "SHOW_REF" and (
                node.get("show_type") not in SHOWS or node.get("query") is None
            ):
                raise BadSql("SHOW is not served", hint="tables: " + ", ".join(sorted(self._ours)))
        for name in sorted(self._names - self._ours - self._named):
            raise BadSql(
                f"there is no table {shown(name)}",
                hint="tables: " + ", ".join(sorted(self._ours)),
            )

    def read(self) -> frozenset[str]:
        """Which of our tables are read; a CTE of the same name may make this too many."""
        return frozenset(self._names & self._ours)

    def _judge_shape(self, node: Mapping[str, object]) -> None:
        kind, family = node.get("type"), node.get("class")
        if family is not None:
            if family not in EXPRESSIONS:
                raise BadSql(f"{family} expressions are not served", hint="write it another way")
        elif isinstance(kind, str) and kind.endswith("_NODE") and kind not in NODES:
            raise Forbidden(
                f"{kind.removesuffix('_QUERY_NODE')} inside WITH is not allowed",
                hint="the tape is read-only",
            )
        elif isinstance(kind, str) and kind.endswith("_MODIFIER") and kind not in MODIFIERS:
            raise BadSql(f"{kind} is not served", hint="write it another way")
        for place in ("from_table", "left", "right", "source", "table"):
            child = node.get(place)
            if isinstance(child, dict) and "class" not in child and "type" in child:
                self._judge_source(child)

    def _judge_source(self, source: Mapping[str, object]) -> None:
        kind = source["type"]
        if isinstance(kind, str) and kind not in SOURCES and kind not in NODES:
            raise BadSql(f"{kind} cannot be read from", hint="read from our tables")

    def _judge_function(self, node: Mapping[str, object]) -> None:
        name = str(node["function_name"]).lower()
        if node.get("schema") or node.get("catalog"):
            raise Forbidden(
                f"function {shown(name)} is named with a schema", hint="use its plain name"
            )
        if name in REFUSED_FUNCTIONS or (name not in ALLOWED_PG and REFUSED_PATTERN.match(name)):
            raise Forbidden(
                f"function {shown(name)} is not allowed",
                hint="only functions that compute on rows; files and settings are out of reach",
            )

    def _judge_table_function(self, node: Mapping[str, object]) -> None:
        function = node.get("function")
        name = str(function.get("function_name")).lower() if isinstance(function, dict) else "?"
        if name not in TABLE_FUNCTIONS:
            raise Forbidden(
                f"table function {shown(name)} is not allowed",
                hint="allowed: " + ", ".join(sorted(TABLE_FUNCTIONS)),
            )
        self.bars_macro = self.bars_macro or name == "bars"

    def _judge_table(self, node: Mapping[str, object]) -> None:
        name = str(node.get("table_name"))
        schema = str(node.get("schema_name") or "")
        if node.get("at_clause") is not None:
            raise BadSql("AT is not served", hint='use the "known_at" of a JSON ticket')
        catalog = str(node.get("catalog_name") or "").lower()
        if catalog not in ("", CATALOG) or schema.lower() not in ("", SCHEMA):
            raise Forbidden(
                f"table {shown(name)} is named with a schema", hint="use its plain name"
            )
        if schema:
            if name.lower() not in self._ours:
                raise BadSql(
                    f"there is no table {shown(name)}",
                    hint="tables: " + ", ".join(sorted(self._ours)),
                )
            self.main_offsets.append(_offset(node))
        self._names.add(name.lower())

    def _note_ctes(self, cte_map: object) -> None:
        assert isinstance(cte_map, dict)
        for entry in cte_map.get("map", []):
            self._named.add(self._plain_name(str(entry["key"])))

    def _plain_name(self, name: str) -> str:
        # Outside its WITH a CTE's name would be looked up as a table, a system view or a file.
        lower = name.lower()
        if not NAME.match(name) or lower.startswith("tape_") or lower in self._inner_names:
            raise BadSql(f"WITH name {shown(name)} cannot be used", hint="take another plain name")
        return lower


def nodes(tree: object) -> Iterator[dict[str, object]]:
    """Every JSON object of a tree, in order of appearance."""
    waiting: list[tuple[object, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > DEPTH_MAX:
            raise BadSql("the statement is nested too deeply", hint="write it flatter")
        if isinstance(node, dict):
            yield node
            waiting += [(child, depth + 1) for child in reversed(node.values())]
        elif isinstance(node, list):
            waiting += [(child, depth + 1) for child in reversed(node)]


def _offset(node: Mapping[str, object]) -> int:
    offset = node.get("query_location")
    assert isinstance(offset, int)
    return offset


def _without_main(sql: str, offsets: list[int]) -> str:
    """Drop `main.` where tools put it before a table: the tables are the caller's own views."""
    raw = sql.encode()
    for offset in sorted(set(offsets), reverse=True):
        found = MAIN_PREFIX.match(raw, offset)
        if found is None:
            raise BadSql("main. was not understood", hint="use the plain table name")
        raw = raw[:offset] + raw[found.end() :]
    return raw.decode()
