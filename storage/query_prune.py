"""Learns from a statement which symbols and times it can touch, so that few files are opened.

The statement is planned against empty tables of the same shape, and the filters the planner pushed
down to each scan are read. Only rewrites that hold for any data are switched on, so a filter that
is seen is a filter that is implied; what cannot be read is ignored, which only opens more files.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

# Everything else looks at data or statistics, or only changes the order of work.
REWRITES = frozenset(
    {
        "expression_rewriter",
        "filter_pullup",
        "filter_pushdown",
        "cte_filter_pusher",
        "cte_inlining",
        "in_clause",
        "deliminator",
        "unnest_rewriter",
        "unused_columns",
        "outer_join_simplification",
    }
)
# The plan is made a moment before the query runs, so now() may differ by a little.
SLACK_US = 60_000_000
WORD = r"'([A-Za-z0-9_./^$ :-]{1,64})'"
ONE_SYMBOL = re.compile(rf"\(*symbol = {WORD}\)*\Z")
SYMBOLS_IN = re.compile(rf"\(*symbol IN \(({WORD}(?:, {WORD})*)\)\)*\Z")
SYMBOLS_OR = re.compile(rf"\(+symbol = {WORD}\)(?: OR \(symbol = {WORD}\))+\)+\Z")
TIME = r"'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?)'::TIMESTAMP"
TIME_BOUND = re.compile(rf"ts_event (>=|<=|=|>|<) {TIME}")
# A filter counts only as a whole: any other word in it (OR, NOT, a function) makes it unknown.
TIME_BOUNDS = re.compile(
    rf"\(*ts_event (?:>=|<=|=|>|<) {TIME}\)*(?: AND \(*ts_event (?:>=|<=|=|>|<) {TIME}\)*)*\Z"
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a scan can touch: symbols (None: all) and half-open event time (None: no end)."""

    symbols: frozenset[str] | None = None
    start_us: int | None = None
    end_us: int | None = None

    def hull(self, other: "Bounds") -> "Bounds":
        """Bounds that hold both."""
        symbols = (
            None if self.symbols is None or other.symbols is None else self.symbols | other.symbols
        )
        return Bounds(
            symbols,
            _widest(self.start_us, other.start_us, is_start=True),
            _widest(self.end_us, other.end_us, is_start=False),
        )


EVERYTHING = Bounds()


def _widest(one: int | None, other: int | None, *, is_start: bool) -> int | None:
    if one is None or other is None:
        return None
    return min(one, other) if is_start else max(one, other)


class Probe:
    """Plans statements against empty tables."""

    def __init__(self, schemas: dict[str, pa.Schema], views: Collection[str]) -> None:
        self._connection = duckdb.connect(
            config={"threads": 1, "python_enable_replacements": "false"}
        )
        run = self._connection.execute
        run("SET GLOBAL timezone = 'UTC'")
        for name, schema in schemas.items():
            self._connection.register("shape", schema.empty_table())
            run(f"CREATE TABLE {name} AS FROM shape")
            self._connection.unregister("shape")
        for view in views:
            run(view)
        names = run("SELECT name FROM duckdb_optimizers()").fetchall()
        off = sorted(str(row[0]) for row in names if row[0] not in REWRITES)
        run("SET GLOBAL disabled_optimizers = '" + ",".join(off) + "'")

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one plan, so that planning can be interrupted."""
        return self._connection.cursor()

    def bounds(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Bounds]:
        """Bounds by table; a table the plan does not scan is missing. Raises duckdb.Error."""
        rows = cursor.execute("EXPLAIN (FORMAT json) " + sql).fetchall()
        found: dict[str, Bounds] = {}
        for node in _plan_nodes(json.loads(rows[0][1])):
            about = node.get("extra_info")
            if "SCAN" not in str(node.get("name")):
                continue
            if not isinstance(about, dict) or "Table" not in about:
                continue
            table = str(about["Table"]).rsplit(".", 1)[-1]
            filters = about.get("Filters", [])
            bounds = _bounds_of([filters] if isinstance(filters, str) else list(filters))
            found[table] = found[table].hull(bounds) if table in found else bounds
        return found


def _plan_nodes(plan: object) -> Iterator[dict[str, object]]:
    waiting = [plan]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            yield node
            waiting.append(node.get("children", []))


def _bounds_of(filters: list[str]) -> Bounds:
    symbols: frozenset[str] | None = None
    start_us: int | None = None
    end_us: int | None = None
    for shown in filters:
        text = shown.removeprefix("optional: ")
        named = _symbols(text)
        if named is not None:
            symbols = named if symbols is None else symbols & named
        elif TIME_BOUNDS.match(text):
            for operator, moment in TIME_BOUND.findall(text):
                at = _micros(moment)
                if operator in (">", ">=", "="):
                    start_us = at if start_us is None else max(start_us, at)
                if operator in ("<", "<=", "="):
                    end_us = at + 1 if end_us is None else min(end_us, at + 1)
    return Bounds(
        symbols,
        None if start_us is None else start_us - SLACK_US,
        None if end_us is None else end_us + SLACK_US,
    )


def _symbols(text: str) -> frozenset[str] | None:
    if ONE_SYMBOL.match(text) or SYMBOLS_IN.match(text) or SYMBOLS_OR.match(text):
        return frozenset(re.findall(WORD, text))
    return None


def _micros(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
