"""Tickets: the bytes a client sends, parsed once into a sum type. Pure; asks nobody.

Every fault says what was expected, what was found and what to do. Symbols are only checked for
their form here; whether they are known or allowed is for others to say.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from core.errors import BadSql, BadTicket
from core.schema import BOOK_LEVELS
from flight_server.flight_sql import is_command, parse_command
from flight_server.ticket_kinds import (
    Bars,
    BookAt,
    Latest,
    Live,
    Range,
    Span,
    Sql,
    State,
    Tail,
    Ticket,
)
from flight_server.ticket_words import (
    Words,
    check_span,
    parse_symbol,
    parse_symbols,
    parse_time_ns,
)

TICKET_BYTES_MAX: Final = 64 * 1024
PARAMS_MAX: Final = 1_000
TAIL_ROWS: Final = 1_000
TAIL_ROWS_MAX: Final = 1_000_000
BOOK_LEVELS_MAX: Final = 1_000
BAR_SECONDS_MAX: Final = 366 * 86_400
LIVE_TABLES: Final = ("trades", "quotes", "depth")
FORMS: Final = (
    "latest:MNQ, tail:MNQ?n=1000, ticks:MNQ?start=..&end=.., bars:MNQ?every=1m, gex:MNQ, "
    "book:MNQ, depth:MNQ?start=..&end=.., live:MNQ, a SELECT statement, or a JSON object with "
    "sql or ticket"
)


_EVERY = re.compile(r"(\d{1,9})(s|m|h|d)")
_EVERY_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_COMMENT = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)
_SQL_START = re.compile(r"\(*\s*(SELECT|WITH|FROM)\b", re.IGNORECASE)
_SQL_OTHER = re.compile(
    r"(INSERT|UPDATE|DELETE|DROP|CREATE|ALTER|COPY|ATTACH|DETACH|PRAGMA|SET|RESET|INSTALL|LOAD|"
    r"EXPORT|IMPORT|CALL|EXPLAIN|DESCRIBE|SHOW|VALUES|PIVOT|BEGIN|COMMIT|VACUUM|CHECKPOINT|USE|"
    r"TRUNCATE|EXECUTE|PREPARE|MERGE|SUMMARIZE)\b",
    re.IGNORECASE,
)
_KIND = re.compile(r"([A-Za-z_]{1,16}):(.*)", re.DOTALL)


def parse_ticket(raw: bytes, *, now_ns: int) -> Ticket:
    """Read a ticket; raise BadTicket or BadSql."""
    if len(raw) > TICKET_BYTES_MAX:
        raise BadTicket(
            f"the ticket has {len(raw)} bytes, at most {TICKET_BYTES_MAX} are read",
            hint="shorten the statement; pass long lists as a join on a range, or in several calls",
        )
    if is_command(raw):
        return parse_command(raw, lambda handle: parse_handle(handle, now_ns=now_ns))
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise BadTicket(
            f"expected UTF-8 text, found the byte 0x{raw[error.start]:02x} at {error.start}",
            hint=f"tickets are {FORMS}",
        ) from None
    if text.startswith("{"):
        return _parse_json(text, now_ns)
    return _parse_text(text, now_ns)


def parse_handle(handle: bytes, *, now_ns: int) -> Ticket:
    """Read the JSON ticket that a prepared statement's handle is."""
    return _parse_json(handle.decode("utf-8", "replace"), now_ns)


def format_range(kind: str, symbol: str, span: Span) -> bytes:
    """The ticket that asks for this range."""
    words = [
        f"{name}={value}"
        for name, value in (
            ("start", span.start_ns),
            ("end", span.end_ns),
            ("known_at", span.known_at_ns),
            ("strict", 1 if span.is_strict else None),
        )
        if value is not None
    ]
    return f"{kind}:{symbol}{'?' if words else ''}{'&'.join(words)}".encode()


def _parse_text(text: str, now_ns: int) -> Ticket:
    if not text:
        raise BadTicket("the ticket is empty", hint=f"tickets are {FORMS}")
    bare = _COMMENT.sub("", text, count=1) if text.startswith(("--", "/*")) else text
    if _SQL_START.match(bare):
        return Sql(text)
    if (verb := _SQL_OTHER.match(bare)) and not bare[verb.end() :].startswith(":"):
        raise BadSql(
            f"expected SELECT, WITH or FROM, found {verb[1].upper()}",
            hint="only questions are answered here; the tape is read-only",
        )
    parts = _KIND.fullmatch(text)
    parse = _PARSERS.get(parts[1].lower()) if parts else None
    if parts is None or parse is None:
        raise BadTicket(f"no ticket begins like {text[:40]!r}", hint=f"tickets are {FORMS}")
    target, _, query = parts[2].partition("?")
    return parse(target, Words(parts[1].lower(), query, now_ns))


def _latest(target: str, words: Words) -> Latest:
    words.finish()
    return Latest(None if target.strip() == "*" else parse_symbols("latest", target))


def _tail(target: str, words: Words) -> Tail:
    rows = words.whole("n", 1, TAIL_ROWS_MAX)
    known_at_ns = words.time_ns("known_at")
    words.finish("n", "known_at")
    return Tail(parse_symbol("tail", target), TAIL_ROWS if rows is None else rows, known_at_ns)


def _ticks(target: str, words: Words) -> Range:
    span = words.span()
    words.finish("start", "end", "known_at", "strict")
    return Range("ticks", parse_symbol("ticks", target), span)


def _depth(target: str, words: Words) -> Range:
    span = words.span()
    words.finish("start", "end", "known_at", "strict")
    return Range("depth", parse_symbol("depth", target), span)


def _bars(target: str, words: Words) -> Bars:
    every = words.take("every") or "1m"
    parts = _EVERY.fullmatch(every.strip().lower())
    seconds = int(parts[1]) * _EVERY_SECONDS[parts[2]] if parts else 0
    if not 1 <= seconds <= BAR_SECONDS_MAX:
        raise BadTicket(
            f"every: expected a number and s, m, h or d up to 366d, found {every[:40]!r}",
            hint="for example every=1s, 1m, 5m, 1h or 1d",
        )
    span = words.span()
    words.finish("every", "start", "end", "known_at", "strict")
    return Bars(parse_symbol("bars", target), seconds, span)


def _gex(target: str, words: Words) -> State:
    span = words.span()
    words.finish("start", "end", "known_at", "strict")
    return State("gex", parse_symbol("gex", target), span)


def _book(target: str, words: Words) -> State | BookAt:
    at_ns, levels = words.time_ns("at"), words.whole("levels", 1, BOOK_LEVELS_MAX)
    span = words.span()
    words.finish("at", "levels", "start", "end", "known_at", "strict")
    symbol = parse_symbol("book", target)
    if at_ns is None and levels is None:
        return State("book", symbol, span)
    if span.start_ns is not None or span.end_ns is not None:
        raise BadTicket(
            "book: at and levels are of one moment, start and end of a range",
            hint="book:MNQ?at=2026-11-20T14:30:00Z&levels=50, or a range without them",
        )
    at_ns = words.now_ns if at_ns is None else at_ns
    check_span(replace(span, start_ns=at_ns), words.now_ns)
    return BookAt(symbol, at_ns, levels or BOOK_LEVELS, span)


def _live(target: str, words: Words) -> Live:
    table = words.take("table") or "trades"
    if table not in LIVE_TABLES:
        raise BadTicket(
            f"table: expected one of {', '.join(LIVE_TABLES)}, found {table[:40]!r}",
            hint="for example live:MNQ?table=trades",
        )
    from_seq = words.whole("from_seq", 1, 2**63 - 1)
    words.finish("table", "from_seq")
    return Live(parse_symbols("live", target), table, from_seq)


_PARSERS: Mapping[str, Callable[[str, Words], Ticket]] = {
    "latest": _latest,
    "tail": _tail,
    "ticks": _ticks,
    "bars": _bars,
    "gex": _gex,
    "book": _book,
    "depth": _depth,
    "live": _live,
}


def _parse_json(text: str, now_ns: int) -> Ticket:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadTicket(
            f"expected a JSON object, found something that does not parse: {str(error)[:80]}",
            hint='for example {"sql": "select 1", "params": []}',
        ) from None
    if not isinstance(found, dict):
        raise BadTicket(
            f"expected a JSON object, found {_kind(found)}", hint='for example {"sql": "select 1"}'
        )
    keys = [key for key in ("sql", "sql_query", "ticket") if key in found]
    if len(keys) != 1:
        raise BadTicket(
            f"expected one of sql, sql_query or ticket, found {sorted(found)[:8]}"[:200],
            hint='for example {"ticket": "ticks:MNQ", "known_at": "2026-11-20T14:30:00Z"}',
        )
    unknown = sorted(set(found) - _JSON_WORDS[keys[0]])
    if unknown:
        raise BadTicket(
            f"the object does not know {', '.join(unknown)[:80]!r}",
            hint=f"beside {keys[0]} it knows {', '.join(sorted(_JSON_WORDS[keys[0]] - {keys[0]}))}",
        )
    body = found[keys[0]]
    if not isinstance(body, str):
        raise BadTicket(f"{keys[0]}: expected text, found {_kind(body)}", hint="quote it")
    if keys[0] == "ticket":
        return _with_options(_parse_text(body.strip(), now_ns), found, now_ns)
    asked = _parse_text(body.strip(), now_ns)
    if not isinstance(asked, Sql):
        raise BadSql(f"{keys[0]}: expected a SELECT statement", hint="put tickets under ticket")
    if str(found.get("query_type", "sql")).lower() != "sql":
        raise BadTicket("query_type: only sql is answered", hint="leave query_type away")
    return replace(asked, params=_params(found), known_at_ns=_json_time(found, "known_at"))


_JSON_WORDS: Mapping[str, frozenset[str]] = {
    "sql": frozenset({"sql", "params", "known_at"}),
    "sql_query": frozenset(
        {"sql_query", "params", "known_at", "database", "bucket", "namespace_name", "query_type"}
    ),
    "ticket": frozenset({"ticket", "known_at", "strict"}),
}


def _with_options(ticket: Ticket, found: Mapping[str, object], now_ns: int) -> Ticket:
    """Lay known_at and strict of the object over the ticket it holds."""
    known_at_ns = _json_time(found, "known_at")
    strict = found.get("strict", False)
    if not isinstance(strict, bool | int) or strict not in (0, 1):
        raise BadTicket(f"strict: expected true or false, found {_kind(strict)}", hint="true")
    match ticket:
        case Range() | Bars() | State() | BookAt():
            span = Span(
                ticket.span.start_ns,
                ticket.span.end_ns,
                _once(known_at_ns, ticket.span.known_at_ns),
                bool(strict) or ticket.span.is_strict,
            )
            return replace(ticket, span=check_span(span, now_ns))
        case Sql():
            return replace(ticket, known_at_ns=known_at_ns)
        case Tail() if not strict:
            return replace(ticket, known_at_ns=_once(known_at_ns, ticket.known_at_ns))
        case _ if known_at_ns is not None or strict:
            raise BadTicket(
                "known_at and strict go with ticks:, bars:, depth:, gex: and book:, "
                "known_at with tail: and SQL too",
                hint="ask ticks: with a range instead",
            )
        case _:
            return ticket


def _once(of_object_ns: int | None, of_ticket_ns: int | None) -> int | None:
    """The known_at of an object and the ticket it holds; raise BadTicket where they differ."""
    if None not in (of_object_ns, of_ticket_ns) and of_object_ns != of_ticket_ns:
        raise BadTicket("known_at is given twice", hint="give it once")
    return of_ticket_ns if of_object_ns is None else of_object_ns


def _json_time(found: Mapping[str, object], name: str) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadTicket(
            f"{name}: expected a time, found {_kind(value)}",
            hint=f'for example "{name}": "2026-11-20T14:30:00Z"',
        )
    return parse_time_ns(name, str(value))


def _params(found: Mapping[str, object]) -> tuple[object, ...]:
    params = found.get("params")
    if params is None:
        return ()
    if not isinstance(params, list):
        raise BadTicket(
            f"params: expected a list, found {_kind(params)}",
            hint='write ? in the statement and "params": [..] in the same order',
        )
    if len(params) > PARAMS_MAX:
        raise BadTicket(f"params: {len(params)} values, at most {PARAMS_MAX}", hint="use a range")
    for place, value in enumerate(params):
        if not isinstance(value, str | int | float | bool | None):
            raise BadTicket(
                f"params[{place}]: expected text, a number, true, false or null, "
                f"found {_kind(value)}",
                hint="give one value per question mark",
            )
    return tuple(params)


def _kind(value: object) -> str:
    """A JSON value's type in JSON's own words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
