"""The actions that tell about the tape in JSON: for models, so every column says what it means."""

from collections.abc import Callable, Mapping
from pathlib import Path

from core.board import read_boards
from core.clock import NS_PER_US
from core.schema import TABLES, Table
from flight_server.answers import TICKED_TABLES, Sources
from flight_server.bounds import time_bounds
from flight_server.gapbook import EVERY_SYMBOL, iso
from flight_server.keys import Agent
from storage.bus_keys import KEYS
from storage.view import View

TICKETS: Mapping[str, str] = {
    "latest:MNQ": "last trade, of a future's front contract; also latest:MNQ,NQ and latest:*",
    "tail:MNQ?n=1000": "last n trades, oldest first",
    "ticks:MNQ?start=..&end=..&known_at=..&strict=1": "trades of a time range in time order",
    "bars:MNQ?every=1m&start=..&end=..": "whole bars; every is a number and s, m, h or d; "
    "without start the last 24 hours",
    "gex:MNQ?start=..&end=..": "newest gamma exposure snapshots of the root's ticker, or a range",
    "book:MNQ?start=..&end=..": "newest ladder, or a range of samples",
    "book:MNQ?at=..&levels=50": "the whole book just before a moment, from depth rows",
    "depth:MNQ?start=..&end=..": "changes of price levels",
    "live:MNQ?table=trades&from_seq=..": "replays from a point, then follows without end",
    "SELECT ..": "read-only SQL over the tables; view ticks holds the trades that stand",
    '{"sql": "..", "params": []}': "the same with values for the question marks",
    '{"ticket": "..", "known_at": "..", "strict": true}': "a ticket as a point-in-time question",
}
RULES: Mapping[str, str] = {
    "times": "UTC; ISO-8601 or epoch nanoseconds; start is included, end is not",
    "order": "exact order of trades is (ts_event, ts_ns, seq)",
    "known_at": "hides rows received later, so a backtest never sees a repair before its time",
    "gaps": "schema metadata `gaps` lists unrepaired holes in the range; strict=1 refuses them",
    "watermarks": "schema metadata visible_seq and durable_seq say up to where was looked",
    "parallel": "get_flight_info of a range gives one endpoint per hours that hold rows",
}
ACTIONS: Mapping[str, str] = {
    "describe": "tables, columns, meanings, units, symbols, coverage, tickets, as JSON",
    "status": "processes, watermarks and this server's counters, as JSON",
    "gaps": "unrepaired gaps of the symbols this key may see, as JSON",
    "whoami": "what this key is called and allowed",
    "cancel": "end a running call of this key; the body is its number from metadata `call`, "
    "or what its header x-call-name said",
    "healthcheck": "answers ok while the server takes calls",
}


def describe(sources: Sources, agent: Agent) -> dict[str, object]:
    """All a model needs to ask good questions."""
    view = sources.views.view()
    tables = [_table(view, table, agent) for table in TABLES.values()]
    return {
        "tables": tables,
        "views": {"ticks": "trades that stand: symbol, timestamp, price, volume, then the rest"},
        "tickets": TICKETS,
        "rules": RULES,
        "actions": ACTIONS,
        "redis": KEYS,
        "symbols": sorted(sources.symbols if agent.symbols is None else agent.symbols),
        "retention_days": sources.retention_days,
        "now": iso(sources.clock.now_ns() // NS_PER_US),
    }


def status(sources: Sources, agent: Agent, run_folder: Path) -> dict[str, object]:
    """How the processes are; details only for administrators, as they may name machines."""
    boards: list[dict[str, object]] = []
    for board in read_boards(run_folder, sources.clock.now_ns()):
        parts = {
            name: dict(part) if "admin" in agent.scopes else {"state": part["state"]}
            for name, part in board["parts"].items()
        }
        boards.append(
            {
                "process": board["process"],
                "state": board["state"],
                "age_s": board["age_s"],
                "counters": board["counters"],
                "gauges": board["gauges"],
                "parts": parts,
            }
        )
    view = sources.views.view()
    return {"processes": boards, "watermarks": {t: _marks(view, t) for t in TICKED_TABLES}}


def gaps(sources: Sources, agent: Agent) -> list[dict[str, object]]:
    """The unrepaired gaps this key may know of."""
    return [
        gap.shown()
        for gap in sources.gaps.unrepaired(sources.views.view())
        if agent.symbols is None or gap.symbol in agent.symbols or gap.symbol == EVERY_SYMBOL
    ]


def whoami(agent: Agent) -> dict[str, object]:
    """What the key may do."""
    return {
        "name": agent.name,
        "scopes": sorted(agent.scopes),
        "symbols": None if agent.symbols is None else sorted(agent.symbols),
        "calls_per_second": agent.rate,
    }


def _marks(view: View, table: str) -> dict[str, int]:
    marks = view.watermarks(table)
    return {"visible_seq": marks.visible_seq, "durable_seq": marks.durable_seq}


def _table(view: View, table: Table, agent: Agent) -> dict[str, object]:
    columns = [
        {
            "name": column.name,
            "type": str(table.plain_schema.field(column.name).type),
            "meaning": column.meaning,
            "unit": column.unit,
            "nullable": column.nullable,
        }
        for column in table.columns
    ]
    found: dict[str, object] = {"name": table.name, "meaning": table.meaning, "columns": columns}
    if table.name in TICKED_TABLES:
        found["coverage"] = _coverage(view, table.name, _visible_to(agent))
    return found


def _visible_to(agent: Agent) -> Callable[[str], bool]:
    return lambda symbol: agent.seen is None or symbol in agent.seen


def _coverage(
    view: View, table: str, is_visible: Callable[[str], bool]
) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for symbol in view.symbols(table):
        bounds = time_bounds(view, table, symbol) if is_visible(symbol) else None
        if bounds is not None:
            found[symbol] = {"from": iso(bounds[0]), "to": iso(bounds[1])}
    return found
