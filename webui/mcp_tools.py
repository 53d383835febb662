"""The tools a model may use: names, arguments, and the ticket each one becomes. All only read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

import orjson
import pyarrow as pa

from core.clock import DAY_NS, NS_PER_S, NS_PER_US
from core.errors import BadTicket
from core.schema import BARS_1M, GEX, TRADES
from flight_server.relay import Rows
from flight_server.ticket_kinds import Bars
from flight_server.ticket_words import EPOCH_NS_MIN, parse_time_ns
from flight_server.tickets import parse_ticket
from webui.mcp_answers import (
    ROWS_MAX,
    TABLE_SCHEMA,
    About,
    Desk,
    Told,
    tell_newest,
    tell_page,
    tell_rows,
)
from webui.mcp_arguments import Argument, Given, Json, input_schema
from webui.mcp_facts import describe, gaps
from webui.mcp_table import iso

LIMIT: Final = 50
LATEST_MAX: Final = 500
STRIKES_MAX: Final = 100

TICK_COLUMNS: Final = (
    "ts_event", "ts_ns", "price", "size", "side", "bid", "ask", "contract", "seq",
)  # fmt: skip
BAR_COLUMNS: Final = (
    "ts_event", "open", "high", "low", "close", "volume", "vwap", "count", "buy_volume",
    "sell_volume",
)  # fmt: skip
GEX_COLUMNS: Final = (
    "ts_event", "ticker", "package", "category", "spot", "zero_gamma", "net_gex",
    "major_pos_vol", "major_pos_oi", "major_neg_vol", "major_neg_oi", "sum_gex_oi", "min_dte",
)  # fmt: skip
CROWD: Final = "More rows have one and the same time than an answer may hold."
AGE_MEANING: Final = {"age_ms": "our clock now minus ts_event, ms"}
GEX_WITH_STRIKES: Final = (*GEX_COLUMNS, "strikes")
SQL_HINT: Final = "Ask for an aggregate, or add ORDER BY with LIMIT and OFFSET."
STRIKES_MEANING: Final = {
    "strikes": "strikes nearest to spot, each [strike, gamma by volume, gamma by open interest]"
}

SYMBOL = Argument(
    "symbol", "text", "root or ticker, as describe lists them", ("MNQ", "SPY"), is_required=True
)
START = Argument(
    "start",
    "time",
    "from when on, included; ISO-8601 (without a zone: UTC) or epoch nanoseconds as text",
    ("2026-11-20T14:30:00Z",),
)
END = Argument("end", "time", "until when, not included; default: now", ("2026-11-20T15:00:00Z",))
KNOWN_AT = Argument(
    "known_at",
    "time",
    "hide every row received after this moment: what a backtest could have known then",
    ("2026-11-20T15:00:00Z",),
)


def limit(default: int = LIMIT) -> Argument:
    """How many rows at most."""
    return Argument("limit", "whole", "most rows to answer", (100,), default, 1, ROWS_MAX)


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool; without a scope every key may use it."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    answer: Callable[[Desk, Given], Told]
    scope: str = ""
    is_table: bool = True

    def listed(self) -> Json:
        """The tool as `tools/list` shows it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": input_schema(self.arguments),
            "outputSchema": TABLE_SCHEMA if self.is_table else {"type": "object"},
            "annotations": {
                "title": self.title,
                "readOnlyHint": True,
                "destructiveHint": False,
                "idempotentHint": True,
                "openWorldHint": False,
            },
        }


def latest(desk: Desk, given: Given) -> Told:
    """`latest:`."""
    symbols = [quote(str(symbol), safe="") for symbol in given.many("symbols")]
    ticket = f"latest:{','.join(symbols) or '*'}"
    what = "last trade of each symbol that has traded"
    about = About(what, ticket, given.given(), TRADES, AGE_MEANING, has_gaps=False)
    return tell_rows(desk, desk.first(ticket, LATEST_MAX), about)


def ticks(desk: Desk, given: Given) -> Told:
    """`ticks:` where a start is given, else `tail:`."""
    symbol, rows_max = given.text("symbol"), given.whole("limit")
    if not given.text("start"):
        _refuse_without_start(given, "end", "known_at")
        ticket = _ticket("tail", given, n=str(rows_max))
        what = f"newest trades of {symbol}, oldest first"
        about = About(what, ticket, {}, TRADES, hint="For older ones give start and end.")
        return tell_newest(desk, _only(desk.first(ticket, rows_max), TICK_COLUMNS), about)
    ticket = _ticket("ticks", given, "start", "end", "known_at")
    about = About(f"trades of {symbol}, oldest first", ticket, given.given(), TRADES, hint=CROWD)
    return tell_page(desk, _only(desk.first(ticket, rows_max + 1), TICK_COLUMNS), rows_max, about)


def bars(desk: Desk, given: Given) -> Told:
    """`bars:`; the newest where no start is given."""
    rows_max = given.whole("limit")
    what = f"bars of {given.text('every')} of {given.text('symbol')}, oldest first"
    if given.text("start"):
        ticket = _ticket("bars", given, "every", "start", "end", "known_at")
        about = About(what, ticket, given.given(), BARS_1M, hint=CROWD)
        found = _only(desk.first(ticket, rows_max + 1), BAR_COLUMNS)
        return tell_page(desk, found, rows_max, about)
    start = _start_of_newest(desk, given)
    ticket = _ticket("bars", given, "every", "end", "known_at", start=start)
    about = About(f"newest {what}, looked for from {start} on", ticket, given.given(), BARS_1M)
    return tell_newest(desk, _only(desk.last(ticket, rows_max), BAR_COLUMNS), about)


def gex(desk: Desk, given: Given) -> Told:
    """`gex:`, a range where a start is given, else the newest of each kind."""
    rows_max, strikes = given.whole("limit"), given.whole("strikes")
    is_range = bool(given.text("start"))
    if not is_range:
        _refuse_without_start(given, "end")
    ticket = _ticket("gex", given, "start", "end", "known_at")
    found = desk.first(ticket, rows_max + 1 if is_range else rows_max)
    columns: Sequence[str] = GEX_COLUMNS
    if strikes:
        found, columns = replace(found, table=_near_spot(found.table, strikes)), GEX_WITH_STRIKES
    found, symbol = _only(found, columns), given.text("symbol")
    if is_range:
        what = f"gamma exposure snapshots of {symbol}, oldest first"
        about = About(what, ticket, given.given(), GEX, STRIKES_MEANING, hint=CROWD)
        return tell_page(desk, found, rows_max, about)
    what = f"newest gamma exposure snapshot of {symbol}, one a package and category"
    about = About(what, ticket, {}, GEX, STRIKES_MEANING, hint="Raise limit.")
    return tell_rows(desk, found, about)


def sql(desk: Desk, given: Given) -> Told:
    """One read-only statement."""
    asked: Json = {"sql": given.text("sql"), "params": given.many("params")}
    if known_at := given.text("known_at"):
        asked["known_at"] = known_at
    ticket = orjson.dumps(asked).decode()
    about = About("rows of the statement", ticket, {}, hint=SQL_HINT, has_gaps=False)
    return tell_rows(desk, desk.first(ticket, given.whole("limit")), about)


def _ticket(kind: str, given: Given, *names: str, **more: str) -> str:
    """A ticket of one symbol with those of the named arguments that are given."""
    words = {name: given.text(name) for name in names} | more
    query = "&".join(f"{name}={quote(word, safe=':')}" for name, word in words.items() if word)
    return f"{kind}:{quote(given.text('symbol'), safe='')}{'?' if query else ''}{query}"


def _refuse_without_start(given: Given, *names: str) -> None:
    for name in names:
        if given.text(name):
            raise BadTicket(
                f"{name} goes with a start", hint="give start too, or neither for the newest"
            )


def _start_of_newest(desk: Desk, given: Given) -> str:
    """A day before the end, or as long as that many bars take."""
    asked = parse_ticket(_ticket("bars", given, "every").encode(), now_ns=desk.clock.now_ns())
    assert isinstance(asked, Bars)
    end = given.text("end")
    end_ns = parse_time_ns("end", end) if end else desk.clock.now_ns()
    span_ns = max(DAY_NS, asked.every_s * given.whole("limit") * NS_PER_S)
    return iso(max(end_ns - span_ns, EPOCH_NS_MIN) // NS_PER_US)


def _only(rows: Rows, columns: Sequence[str]) -> Rows:
    return replace(rows, table=rows.table.select(columns))


def _near_spot(table: pa.Table, count: int) -> pa.Table:
    """The table with only the strikes nearest to spot, in order of strike."""
    shown = []
    spots = table.column("spot").to_pylist()
    for spot, strikes in zip(spots, table.column("strikes").to_pylist(), strict=True):
        near = sorted(strikes or (), key=lambda one: abs(one["strike"] - (spot or 0)))[:count]
        near.sort(key=lambda one: one["strike"])
        shown.append([[one["strike"], one["gex_vol"], one["gex_oi"]] for one in near])
    kind = pa.list_(pa.list_(pa.float64()))
    place = table.column_names.index("strikes")
    return table.set_column(place, pa.field("strikes", kind), pa.array(shown, kind))


TOOLS: Final = (
    Tool(
        "describe",
        "What is on the tape",
        "Tables with their meanings, symbols, from when to when there are rows, rules and limits. "
        "Call it first. With a table's name: every column with type, unit and meaning.",
        (Argument("table", "text", "one table, in full", ("trades", "gex")),),
        describe,
        is_table=False,
    ),
    Tool(
        "latest",
        "Last trades",
        "The last trade of each symbol (of a future: of its front contract) with bid, ask and "
        'age. Example: {"symbols": ["MNQ", "SPY"]}; without symbols: all of them.',
        (Argument("symbols", "words", "roots or tickers; default: all", (["MNQ", "SPY"],)),),
        latest,
        "read",
    ),
    Tool(
        "bars",
        "Bars",
        "Open, high, low, close, volume, vwap and count of trades. Best for anything longer than "
        "some minutes. Without start: the newest. Bars are aligned to UTC and whole. "
        'Example: {"symbol": "MNQ", "every": "5m", "limit": 100}.',
        (
            SYMBOL,
            Argument("every", "text", "a number and s, m, h or d", ("1m", "5m", "1h"), "1m"),
            START,
            END,
            KNOWN_AT,
            limit(),
        ),
        bars,
        "read",
    ),
    Tool(
        "ticks",
        "Single trades",
        "Single trades that stand (valid, not revised later), in time order. Without start: the "
        "newest. Busy symbols trade many times a second: keep ranges short, or use bars or sql. "
        'Example: {"symbol": "MNQ", "start": "2026-11-20T14:30:00Z", "limit": 100}.',
        (SYMBOL, START, END, KNOWN_AT, limit()),
        ticks,
        "read",
    ),
    Tool(
        "gex",
        "Gamma exposure",
        "Gamma exposure snapshots: zero gamma, major strikes, sums; a future's root finds its "
        "ticker. Without start: the newest of each package and category. "
        'Example: {"symbol": "MNQ", "strikes": 20}.',
        (
            SYMBOL,
            START,
            END,
            KNOWN_AT,
            Argument(
                "strikes",
                "whole",
                "how many strikes near spot to add",
                (20,),
                0,
                0,
                STRIKES_MAX,
            ),
            limit(20),
        ),
        gex,
        "read",
    ),
    Tool(
        "sql",
        "SQL",
        "One read-only SELECT in DuckDB's dialect over the tables that describe lists; view ticks "
        "(symbol, timestamp, price, volume, ...) holds the trades that stand. Always limit symbol "
        "and ts_event. Times are naive UTC. Gaps are not looked at: ask gaps. Example: "
        '{"sql": "SELECT symbol, count(*) AS trades, max(price) AS high FROM ticks '
        'WHERE timestamp > ?::TIMESTAMP GROUP BY symbol", "params": ["2026-11-20 14:30"]}.',
        (
            Argument(
                "sql",
                "text",
                "the statement; ? for each value of params",
                ("SELECT count(*) FROM trades WHERE symbol = ?",),
                is_required=True,
            ),
            Argument("params", "values", "one value for each question mark", (["MNQ"],)),
            KNOWN_AT,
            limit(),
        ),
        sql,
        "sql",
    ),
    Tool(
        "gaps",
        "Holes of the tape",
        "Times in which rows may be missing and that were not repaired, newest first. Look here "
        "before you conclude anything from an absence of trades.",
        (
            Argument("symbol", "text", "root or ticker; default: all", ("MNQ",)),
            Argument("table", "text", "the table with the hole; default: all", ("trades",)),
            START,
            END,
            limit(),
        ),
        gaps,
    ),
)
BY_NAME: Final = {tool.name: tool for tool in TOOLS}
