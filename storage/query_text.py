"""Text at the border of SQL: values on their way in, DuckDB's messages on their way out.

Messages leave without file paths and without the names of our inner relations.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import takewhile

from core.errors import BadSql

PATH = re.compile(r"(?<![\w/])(?:file:|s3:)?/{1,3}(?:[^\s'\",:;()/]+/)+[^\s'\",:;()]*")
INTERNAL = re.compile(r"(?:memory\.)?\btape_\w+(?:\.\w+)?")
MESSAGE_CHARS_MAX = 500
SAFE_SYMBOL = re.compile(r"[A-Za-z0-9_./^$:-]{1,64}\Z")
# The names tools show and put before a table's.
CATALOG, SCHEMA = "tickflight", "main"
# What `ticks` calls the first columns of trades.
TICKS_NAMES = {"symbol": "symbol", "timestamp": "ts_event", "price": "price", "volume": "size"}


def redacted(text: str) -> str:
    """The text without file paths and names of our inner relations."""
    return INTERNAL.sub("(tape)", PATH.sub("(path)", text))


def shown(name: str) -> str:
    """A name from a client's text, fit for a message."""
    return redacted(repr(name[:64]))


def first_line(error: BaseException) -> str:
    """What DuckDB says, in one line, with nothing of ours in it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return redacted(lines[0])[:MESSAGE_CHARS_MAX]


def candidates(error: BaseException) -> str:
    """DuckDB's own suggestion, where it makes one."""
    lines = [line.strip() for line in str(error).splitlines()]
    for place, line in enumerate(lines[1:], 1):
        if line.startswith(("Candidate", "Did you mean")):
            # Of functions and macros each is named on a line of its own.
            more = takewhile(bool, lines[place + 1 :]) if line.endswith(":") else ()
            return redacted(" ".join([line, *more]))[:MESSAGE_CHARS_MAX]
    return ""


def quoted(text: str) -> str:
    """A SQL string literal."""
    if "\0" in text:
        raise BadSql("a parameter contains a zero byte", hint="send plain UTF-8 text")
    return "'" + text.replace("'", "''") + "'"


def literal(value: object) -> str:
    """A parameter's value as SQL text; streaming answers cannot be bound any other way."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float | Decimal):
        return _number(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return quoted("".join(f"\\x{byte:02X}" for byte in value)) + "::BLOB"
    return _composite(value)


def _number(value: bool | int | float | Decimal) -> str:
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return f"({value})" if value < 0 else str(value)
        case float():
            return f"CAST({quoted(repr(value))} AS DOUBLE)"
        case Decimal():
            return f"CAST({quoted(str(value))} AS DECIMAL(38, 12))"


def _composite(value: object) -> str:
    match value:
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo else value
            return "TIMESTAMP " + quoted(moment.replace(tzinfo=None).isoformat(sep=" "))
        case date():
            return "DATE " + quoted(value.isoformat())
        case time():
            return "TIME " + quoted(value.isoformat())
        case timedelta():
            return f"to_microseconds({value // timedelta(microseconds=1)})"
        case list() | tuple():
            return "[" + ", ".join(literal(item) for item in value) + "]"
        case Mapping():
            fields = (f"{quoted(str(k))}: {literal(v)}" for k, v in value.items())
            return "{" + ", ".join(fields) + "}"
        case _:
            raise BadSql(
                f"a parameter of type {type(value).__name__} cannot be sent",
                hint="use numbers, text, bool, null, dates, times or lists of these",
            )
