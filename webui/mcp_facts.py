"""Tools that tell about the tape itself: what is on it, and where it has holes."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from core.clock import NS_PER_US
from core.errors import BadTicket
from core.schema import TABLES
from flight_server.gapbook import EVERY_SYMBOL, iso
from flight_server.relay import Rows
from flight_server.ticket_words import parse_time_ns
from webui.mcp_answers import ROWS_MAX, About, Desk, Told, tell_json, tell_rows
from webui.mcp_arguments import Given, Json
from webui.mcp_table import TEXT_BYTES_MAX

RULES: Final = {
    "times": "UTC; ISO-8601 or epoch nanoseconds as text; start is included, end is not",
    "order": "rows come in time order; ts_event is shown to the nanosecond where it is known",
    "known_at": "hides rows received later, so a backtest never sees a repair before its time",
    "gaps": "answers name the unrepaired holes of their range; no rows there means nothing",
    "cuts": "is_cut says whether there is more, next_arguments how to get it",
    "exactness": "whole numbers beyond 2^53 come as text, a number that is none as null",
    "everything": "flight_ticket, sent to flight_url over Arrow Flight, gives all rows at once",
}
GAP_MEANINGS: Final = {
    "table": "the table with the hole",
    "symbol": "root or ticker; * is all of them",
    "from": "start of the hole",
    "to": "end of the hole; empty while it lasts",
    "reason": "what made it",
    "state": "open, or unrepairable",
}


def describe(desk: Desk, given: Given) -> Told:
    """What the action of that name tells, as much as is asked for."""
    found = desk.act("describe")
    assert isinstance(found, dict)
    tables = {table["name"]: table for table in found["tables"]}
    name = given.text("table").lower()
    if name:
        if name not in tables:
            raise BadTicket(
                f"no table is called {name[:40]!r}", hint=f"tables are {', '.join(tables)}"
            )
        return tell_json(desk, {"table": tables[name]}, _table_text(tables[name]))
    told: Json = {
        "tables": [
            {**table, "columns": [column["name"] for column in table["columns"]]}
            for table in tables.values()
        ],
        "views": found["views"],
        "symbols": found["symbols"],
        "retention_days": found["retention_days"],
        "rules": RULES,
        "limits": {"rows": ROWS_MAX, "text_bytes": TEXT_BYTES_MAX},
        "flight_url": desk.flight_url,
    }
    return tell_json(desk, told, _overview_text(desk, told, tables))


def gaps(desk: Desk, given: Given) -> Told:
    """What the action of that name tells, newest first."""
    found = desk.act("gaps")
    assert isinstance(found, list)
    symbol, table = given.text("symbol").upper(), given.text("table").lower()
    if table and table not in TABLES:
        raise BadTicket(
            f"no table is called {table[:40]!r}", hint=f"tables are {', '.join(TABLES)}"
        )
    start, end = _moment(given, "start"), _moment(given, "end")
    chosen = [
        gap
        for gap in found
        if (not symbol or gap["symbol"] in (symbol, EVERY_SYMBOL))
        and (not table or gap["table"] == table)
        and (not end or gap["from"] < end)
        and (not start or gap["to"] is None or gap["to"] >= start)
    ]
    # Times of one form sort as text.
    chosen.sort(key=lambda gap: str(gap["from"]), reverse=True)
    rows_max = given.whole("limit")
    schema = pa.schema([(name, pa.utf8()) for name in GAP_MEANINGS])
    rows = Rows(pa.Table.from_pylist(chosen[:rows_max], schema), len(chosen) > rows_max)
    hint = "Narrow symbol, table, start and end."
    what = "unrepaired gaps, newest first"
    about = About(what, "action gaps", {}, meanings=GAP_MEANINGS, hint=hint, has_gaps=False)
    return tell_rows(desk, rows, about)


def _moment(given: Given, name: str) -> str:
    text = given.text(name)
    return iso(parse_time_ns(name, text) // NS_PER_US) if text else ""


def _table_text(table: Mapping[str, object]) -> str:
    columns = table["columns"]
    assert isinstance(columns, list)
    lines = [f"table {table['name']}: {table['meaning']}", *_coverage_lines(table), "columns:"]
    for column in columns:
        unit = f" [{column['unit']}]" if column["unit"] else ""
        null = ", may be null" if column["nullable"] else ""
        lines.append(f"- {column['name']} {column['type']}{unit}{null}: {column['meaning']}")
    return "\n".join(lines)


def _overview_text(desk: Desk, told: Json, tables: Mapping[str, Mapping[str, object]]) -> str:
    symbols = told["symbols"]
    assert isinstance(symbols, list)
    lines = [
        f"now {desk.now()}; symbols {', '.join(symbols)}; kept for {told['retention_days']} days",
        *(f"{name}: {rule}" for name, rule in RULES.items()),
        f"flight_url {desk.flight_url}",
        "view ticks (for sql): trades that stand: symbol, timestamp, price, volume, then the rest",
        "",
    ]
    for name, table in tables.items():
        columns = table["columns"]
        assert isinstance(columns, list)
        lines.append(f"table {name}: {table['meaning']}")
        lines.append(f"  columns {', '.join(column['name'] for column in columns)}")
        lines += _coverage_lines(table)
    return "\n".join(lines)


def _coverage_lines(table: Mapping[str, object]) -> list[str]:
    coverage = table.get("coverage")
    if not isinstance(coverage, dict):
        return []
    spans = [f"{symbol} {span['from']} to {span['to']}" for symbol, span in coverage.items()]
    return [f"  rows of {span}" for span in spans] or ["  no rows yet"]
