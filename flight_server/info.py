"""`get_flight_info` and `list_flights`: what an answer would be, and how to fetch its parts."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import assert_never

import pyarrow as pa
from pyarrow import flight

from core.clock import HOUR_US, NS_PER_US
from core.errors import BadTicket
from core.schema import TABLES
from flight_server.answers import (
    Sources,
    answer_range,
    answer_state,
    answer_tail,
    require_known,
    sql_question,
)
from flight_server.asking import describe_with
from flight_server.bars import bars_question
from flight_server.book_at import book_question
from flight_server.bounds import time_bounds
from flight_server.catalog import catalog_schema
from flight_server.keys import Agent
from flight_server.latest import SCHEMA as LATEST_SCHEMA
from flight_server.ticket_kinds import (
    Bars,
    BookAt,
    Catalog,
    Latest,
    Live,
    Range,
    Span,
    Sql,
    State,
    Tail,
    Ticket,
)
from flight_server.tickets import format_range
from storage.view import View

ENDPOINTS_MAX = 64
UNKNOWN = -1


def ticket_in(descriptor: flight.FlightDescriptor) -> bytes:
    """The ticket a descriptor names: its command, or the one word of its path."""
    if descriptor.descriptor_type == flight.DescriptorType.CMD:
        return bytes(descriptor.command)
    path = [bytes(part) for part in descriptor.path or ()]
    if len(path) != 1:
        raise BadTicket(
            f"expected a descriptor with a ticket as command, found a path of {len(path)} words",
            hint="use FlightDescriptor.for_command(TICKET)",
        )
    if path[0].decode("utf-8", "replace") in TABLES:
        return b"SELECT * FROM " + path[0]
    return path[0]


def flight_info(
    sources: Sources, agent: Agent, ask: Ticket, descriptor: flight.FlightDescriptor
) -> flight.FlightInfo:
    """Schema, rows and bytes as far as they are known, and the endpoints."""
    if isinstance(ask, Range):
        return _range_info(sources, ask, descriptor)
    schema = schema_of(sources, agent, ask)
    endpoint = flight.FlightEndpoint(ticket_in(descriptor), [])
    return flight.FlightInfo(schema, descriptor, [endpoint], UNKNOWN, UNKNOWN)


def schema_of(sources: Sources, agent: Agent, ask: Ticket) -> pa.Schema:  # noqa: PLR0911
    """The schema of an answer, with the symbols checked as `do_get` does."""
    match ask:
        case Latest():
            _require_known(sources, ask.symbols or ())
            return LATEST_SCHEMA
        case Tail():
            return answer_tail(sources, replace(ask, rows=1)).schema
        case Range():
            return answer_range(sources, ask).schema
        case State():
            return answer_state(sources, ask).schema
        case Bars():
            _require_known(sources, [ask.symbol])
            question, _ = bars_question(ask, sources.clock.now_ns())
            return describe_with(sources.queries)(question)
        case BookAt():
            _require_known(sources, [ask.symbol])
            return describe_with(sources.queries)(book_question(ask))
        case Sql():
            return describe_with(sources.queries)(sql_question(agent, ask))
        case Catalog():
            return catalog_schema(ask)
        case Live():
            _require_known(sources, ask.symbols)
            return TABLES[ask.table].schema
        case _ as never:
            assert_never(never)


def _require_known(sources: Sources, symbols: Sequence[str]) -> None:
    view = sources.views.view()
    for symbol in symbols:
        require_known(sources, view, symbol)


def list_tables(sources: Sources, agent: Agent) -> Iterator[flight.FlightInfo]:
    """One flight a table, with what is stored for the symbols this key may see."""
    view = sources.views.view()
    for table in TABLES.values():
        rows, size = UNKNOWN, UNKNOWN
        if not table.name.startswith("bars_"):
            rows, size = _stored(view, table.name, agent)
        descriptor = flight.FlightDescriptor.for_path(table.name)
        endpoint = flight.FlightEndpoint(b"SELECT * FROM " + table.name.encode(), [])
        yield flight.FlightInfo(table.schema, descriptor, [endpoint], rows, size)


def _stored(view: View, table: str, agent: Agent) -> tuple[int, int]:
    names = view.symbols(table) if TABLES[table].by_symbol else [""]
    if agent.seen is not None:
        names = [name for name in names if name in agent.seen]
    found = [view.estimate(table, name) for name in names]
    return sum(rows for rows, _ in found), sum(size for _, size in found)


def _range_info(
    sources: Sources, ask: Range, descriptor: flight.FlightDescriptor
) -> flight.FlightInfo:
    schema = answer_range(sources, ask).schema
    table = "trades" if ask.kind == "ticks" else ask.kind
    view = sources.views.view()
    rows, size = view.estimate(
        table, ask.symbol, start_us=ask.span.start_us, end_us=ask.span.end_us
    )
    endpoints = [
        flight.FlightEndpoint(format_range(ask.kind, ask.symbol, span), [])
        for span in _hours(view, table, ask)
    ]
    about = json.dumps({"total_records": "upper bound", "total_bytes": "upper bound"})
    return flight.FlightInfo(schema, descriptor, endpoints, rows, size, True, about)


def _hours(view: View, table: str, ask: Range) -> list[Span]:
    """The range cut at whole hours where there are rows, in time order, side by side."""
    span = ask.span
    bounds = time_bounds(view, table, ask.symbol)
    if bounds is None:
        return [span]
    low_us = max(bounds[0], -(1 << 62) if span.start_us is None else span.start_us)
    high_us = min(bounds[1] + 1, 1 << 62 if span.end_us is None else span.end_us)
    hours = max(1, -(-high_us // HOUR_US) - low_us // HOUR_US)
    step_us = HOUR_US * -(-hours // ENDPOINTS_MAX)
    found: list[Span] = []
    for start_us in range(low_us // HOUR_US * HOUR_US, high_us, step_us):
        rows, _ = view.estimate(table, ask.symbol, start_us=start_us, end_us=start_us + step_us)
        if rows:
            found.append(
                replace(
                    span,
                    start_ns=max(start_us, low_us) * NS_PER_US,
                    end_ns=min(start_us + step_us, high_us) * NS_PER_US,
                )
            )
    return found or [span]
