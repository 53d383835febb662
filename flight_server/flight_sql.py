"""Flight SQL's messages: commands read, results written. Pure; asks nobody.

A prepared statement's handle is the JSON ticket of the statement with its values, so nothing of it
is kept here and it lives through a restart; closing one does nothing. Messages and field numbers:
format/FlightSql.proto of Apache Arrow.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

import pyarrow as pa

from core.errors import BadSql, BadTicket, Forbidden
from flight_server.protobuf import Fields, bytes_in, format_field, parse_fields, text_in
from flight_server.ticket_kinds import Catalog, Sql, Ticket

PREFIX: Final = b"type.googleapis.com/arrow.flight.protocol.sql."
CREATE_PREPARED: Final = "CreatePreparedStatement"
CLOSE_PREPARED: Final = "ClosePreparedStatement"
CLOSE_SESSION: Final = "CloseSession"
ACTIONS: Final = {
    CREATE_PREPARED: "Flight SQL: make a prepared statement",
    CLOSE_PREPARED: "Flight SQL: let go of one",
    CLOSE_SESSION: "Flight SQL: the client is done",
}
CLOSED_RESULT: Final = b"\x08\x01"
_UPDATES: Final = frozenset(
    {"CommandStatementUpdate", "CommandPreparedStatementUpdate", "CommandStatementIngest"}
)
CATALOG_KINDS: Final = {
    "CommandGetCatalogs": "catalogs",
    "CommandGetDbSchemas": "schemas",
    "CommandGetTables": "tables",
    "CommandGetTableTypes": "table_types",
    "CommandGetSqlInfo": "sql_info",
    "CommandGetXdbcTypeInfo": "types",
    "CommandGetPrimaryKeys": "primary_keys",
    "CommandGetExportedKeys": "foreign_keys",
    "CommandGetImportedKeys": "foreign_keys",
    "CommandGetCrossReference": "foreign_keys",
}


def is_command(raw: bytes) -> bool:
    """Whether bytes are a Flight SQL message packed into an Any."""
    return raw.startswith(b"\n") and PREFIX in raw[: len(PREFIX) + 8]


def parse_command(raw: bytes, parse_json: Callable[[bytes], Ticket]) -> Ticket:
    """What a command asks for; `parse_json` reads the ticket a prepared statement's handle is."""
    name, fields = open_any(raw)
    match name:
        case "CommandStatementQuery":
            return Sql(_query(fields))
        case "CommandPreparedStatementQuery":
            return statement_in(fields, parse_json)
        case "CommandGetTables":
            types = fields.get(4)
            return Catalog(
                "tables",
                text_in(fields, 1),
                text_in(fields, 2),
                text_in(fields, 3),
                None if types is None else tuple(_text(value) for value in types),
                fields.get(5, [0])[-1] == 1,
            )
        case "CommandGetDbSchemas":
            return Catalog("schemas", text_in(fields, 1), text_in(fields, 2))
        case "CommandGetSqlInfo":
            return Catalog("sql_info", numbers=_numbers(fields))
        case _ if name in CATALOG_KINDS:
            return Catalog(CATALOG_KINDS[name])
        case _ if name in _UPDATES:
            raise Forbidden(
                "the tape is read-only over Flight SQL",
                hint="rows are put with do_put into trades, quotes or gex",
            )
        case _:
            raise BadTicket(
                f"{name[:60]!r} is not a Flight SQL command that is answered here",
                hint="ask with statements, prepared statements or catalog commands",
            )


def open_any(raw: bytes) -> tuple[str, Fields]:
    """The name of a packed Flight SQL message and its fields."""
    packed = parse_fields(raw)
    url = bytes_in(packed, 1) or b""
    if not url.startswith(PREFIX):
        raise BadTicket("expected a Flight SQL message", hint="use a Flight SQL driver")
    return url[len(PREFIX) :].decode("utf-8", "replace"), parse_fields(bytes_in(packed, 2) or b"")


def pack_any(name: str, body: bytes) -> bytes:
    """A message packed into an Any."""
    return format_field(1, PREFIX + name.encode()) + format_field(2, body)


def handle_of(ask: Sql) -> bytes:
    """The handle of a prepared statement: its JSON ticket."""
    return json.dumps({"sql": ask.text, "params": list(ask.params)}).encode()


def shown(ask: Sql | Catalog) -> bytes:
    """A command as it is written down."""
    return f"flight sql {ask.kind}".encode() if isinstance(ask, Catalog) else handle_of(ask)


def shown_action(name: str, body: bytes) -> bytes:
    """An action as it is written down: with the statement, where it has a readable one."""
    if name == CLOSE_SESSION:
        return name.encode()
    _, fields = open_any(body)
    return name.encode() + b" " + (bytes_in(fields, 1) or b"")


def prepared_result(ask: Sql, dataset: pa.Schema, parameters: int) -> bytes:
    """What CreatePreparedStatement answers; values may be given as text, whatever they are."""
    body = format_field(1, handle_of(ask)) + format_field(2, dataset.serialize().to_pybytes())
    if parameters:
        names = [pa.field(str(number + 1), pa.utf8()) for number in range(parameters)]
        body += format_field(3, pa.schema(names).serialize().to_pybytes())
    return pack_any("ActionCreatePreparedStatementResult", body)


def bound_result(ask: Sql) -> bytes:
    """What DoPut of values answers: the handle that has them."""
    return format_field(1, handle_of(ask))


def query_in(raw: bytes) -> Sql:
    """The statement of a CreatePreparedStatement request."""
    return Sql(_query(open_any(raw)[1]))


def statement_in(fields: Fields, parse_json: Callable[[bytes], Ticket]) -> Sql:
    """The statement a prepared statement's handle names."""
    ask = parse_json(bytes_in(fields, 1) or b"")
    if not isinstance(ask, Sql):
        raise BadTicket("expected a prepared statement's handle", hint="prepare it again")
    return ask


def bind(ask: Sql, rows: pa.Table) -> Sql:
    """The statement with the values of the one row a client bound."""
    if rows.num_rows != 1:
        raise BadSql(
            f"expected one row of parameters, found {rows.num_rows}",
            hint="run the statement once for each row",
        )
    return replace(ask, params=tuple(_value(column[0].as_py()) for column in rows.columns))


def _value(value: object) -> object:
    """As JSON carries it; DuckDB reads moments and exact numbers from their text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo else value
            return moment.replace(tzinfo=None).isoformat(sep=" ")
        case date() | time() | Decimal():
            return str(value)
        case _:
            raise BadSql(
                f"a parameter of type {type(value).__name__} cannot be sent",
                hint="use numbers, text, true, false, null, dates or times",
            )


def _query(fields: Fields) -> str:
    query = text_in(fields, 1)
    if not query or not query.strip():
        raise BadSql("the statement is empty", hint="for example SELECT * FROM ticks LIMIT 10")
    return query


def _text(value: int | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _numbers(fields: Fields) -> tuple[int, ...]:
    """Numbers of a repeated field, packed into bytes or one by one."""
    found: list[int] = []
    for value in fields.get(1, []):
        if isinstance(value, int):
            found.append(value)
        else:
            # Packed: each is a varint, which reads like the value of a field.
            found += packed_numbers(value)
    return tuple(found)


def packed_numbers(raw: bytes) -> list[int]:
    """The numbers packed one after the other."""
    found, value, shift = [], 0, 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(value & 0xFFFFFFFF)
            value = shift = 0
    return found
