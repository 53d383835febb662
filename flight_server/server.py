"""The Flight server: every door of the protocol, each behind the edge.

Handlers parse, check and choose; the rows come from `storage` or the query worker. Nothing here
runs SQL or touches a tick. A server runs from its construction; it is never `serve()`d, because
that takes over the process's signals.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, assert_never

import pyarrow as pa
from pyarrow import flight

from core.errors import BadTicket, Forbidden, TooMuch, Unavailable
from core.schema import TABLES
from flight_server import describe, flight_sql, prepared
from flight_server.access import check_access, check_scope
from flight_server.answers import (
    Answer,
    Sources,
    answer_bars,
    answer_book_at,
    answer_range,
    answer_sql,
    answer_state,
    answer_tail,
    require_known,
)
from flight_server.auth import (
    MIDDLEWARE,
    Call,
    CallBook,
    CallMiddleware,
    HandshakeHandler,
)
from flight_server.edge import door, guarded_stream
from flight_server.info import flight_info, list_tables, schema_of, ticket_in
from flight_server.keys import Agent
from flight_server.latest import SCHEMA as LATEST_SCHEMA
from flight_server.latest import LatestAnswers, stream_of
from flight_server.live import Follow, live_batches
from flight_server.put import table_of
from flight_server.streams import Drain, Limits, counted, is_over
from flight_server.ticket_kinds import (
    Bars,
    BookAt,
    Catalog,
    Latest,
    Live,
    Range,
    Sql,
    State,
    Tail,
    Ticket,
)
from flight_server.tickets import parse_ticket

_NO_LATEST: Final = pa.RecordBatch.from_pylist([], schema=LATEST_SCHEMA)
LIVE_STREAMS_MAX: Final = 64
EXCHANGES_MAX: Final = 256
SHUTDOWN_S: Final = 3.0
_CACHED_TICKET_BYTES_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen; a certificate and its key make it TLS."""

    host: str
    port: int
    tls: tuple[bytes, bytes] | None = None


class FlightServer(flight.FlightServerBase):  # type: ignore[misc]
    """Answers tickets; `port` is where."""

    def __init__(
        self, place: Place, book: CallBook, sources: Sources, limits: Limits, run_folder: Path
    ) -> None:
        self._book = book
        self._sources = sources
        self._latest_answers = LatestAnswers(sources.views, sources.clock)
        self._limits = limits
        self._run_folder = run_folder
        self._drain = Drain()
        self._live_slots = threading.BoundedSemaphore(LIVE_STREAMS_MAX)
        self._exchange_slots = threading.BoundedSemaphore(EXCHANGES_MAX)
        scheme = "grpc+tls" if place.tls else "grpc"
        super().__init__(
            f"{scheme}://{place.host}:{place.port}",
            auth_handler=HandshakeHandler(book),
            tls_certificates=[place.tls] if place.tls else None,
            middleware={MIDDLEWARE: CallMiddleware(book)},
        )

    @property
    def active(self) -> Mapping[int, Call]:
        """The calls that are running and can be ended, by number."""
        return self._book.active

    def stop(self) -> bool:
        """End streams, wait a moment for running calls; False where some had to be left."""
        self._drain.start()
        ending = threading.Thread(target=self.shutdown, name="flight-shutdown", daemon=True)
        ending.start()
        ending.join(SHUTDOWN_S)
        return not ending.is_alive()

    @door
    def do_get(
        self, context: flight.ServerCallContext, ticket: flight.Ticket
    ) -> flight.FlightDataStream:
        call, _ = self._enter(context)
        raw = call.ticket = ticket.ticket
        if raw.startswith(b"latest:") and len(raw) <= _CACHED_TICKET_BYTES_MAX:
            return stream_of(self._latest(call, _latest_ask(raw)))
        ask = self._parse(call, raw)
        if isinstance(ask, Latest):
            return stream_of(self._latest(call, ask))
        call.watch(context)
        if isinstance(ask, Live):
            return self._live(call, ask)
        answer = self._answer(call, ask)
        about = {**(answer.schema.metadata or {}), b"call": b"%d" % call.number}
        batches = counted(call, answer.batches, limits=self._limits, drain=self._drain)
        return guarded_stream(answer.schema.with_metadata(about), batches)

    @door
    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        call, agent = self._enter(context)
        call.ticket = ticket_in(descriptor)
        ask = self._parse(call, call.ticket)
        return flight_info(self._sources, agent, ask, descriptor)

    @door
    def get_schema(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.SchemaResult:
        call, agent = self._enter(context)
        call.ticket = ticket_in(descriptor)
        ask = self._parse(call, call.ticket)
        return flight.SchemaResult(schema_of(self._sources, agent, ask))

    @door
    def list_flights(
        self, context: flight.ServerCallContext, criteria: bytes
    ) -> Iterator[flight.FlightInfo]:
        call, agent = self._enter(context)
        call.ticket = criteria or b""
        check_scope(agent, "read")
        return iter(list(list_tables(self._sources, agent)))

    @door
    def list_actions(self, context: flight.ServerCallContext) -> list[tuple[str, str]]:
        self._enter(context)
        return list({**describe.ACTIONS, **flight_sql.ACTIONS}.items())

    @door
    def do_action(
        self, context: flight.ServerCallContext, action: flight.Action
    ) -> Iterator[bytes]:
        call, agent = self._enter(context)
        body = action.body.to_pybytes() if action.body is not None else b""
        call.ticket = action.type.encode() + (b" " + body if body else b"")
        if action.type in flight_sql.ACTIONS:
            call.ticket = flight_sql.shown_action(action.type, body)
            return iter(prepared.act(self._sources, agent, action.type, body))
        act = self._actions().get(action.type)
        if act is None:
            raise BadTicket(
                f"no action is called {action.type[:40]!r}",
                hint=f"actions are {', '.join(describe.ACTIONS)}",
            )
        return iter([json.dumps(act(agent, body)).encode()])

    @door
    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        call, agent = self._enter(context)
        command = bytes(descriptor.command or b"")
        if flight_sql.is_command(command):
            bound = prepared.bind(agent, command, reader, writer, self._sources.clock.now_ns())
            call.ticket = flight_sql.handle_of(bound)
            return
        check_scope(agent, "write")
        table = table_of(descriptor)
        call.ticket = table.encode()
        if self._sources.puts is None:
            raise Unavailable("this server takes no rows", hint="put them where the writer runs")
        self._sources.puts.take(call, table, reader, writer)

    @door
    def do_exchange(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """Answer one `latest:` ticket again and again: each message from the client asks once."""
        call, _ = self._enter(context)
        call.ticket = ticket_in(descriptor)
        ask = self._parse(call, call.ticket)
        if not isinstance(ask, Latest):
            raise BadTicket("do_exchange answers latest: only", hint="use do_get")
        if not self._exchange_slots.acquire(blocking=False):
            raise TooMuch(
                f"{EXCHANGES_MAX} exchanges are open, the most there may be", hint="use do_get"
            )
        try:
            call.watch(context)
            self._exchange(call, ask, reader, writer)
        finally:
            self._exchange_slots.release()

    def _enter(self, context: flight.ServerCallContext) -> tuple[Call, Agent]:
        call: Call = context.get_middleware(MIDDLEWARE)
        call.peer = context.peer()
        assert call.agent is not None, "the middleware let nobody in"
        self._drain.check()
        return call, call.agent

    def _parse(self, call: Call, raw: bytes) -> Ticket:
        """Read a ticket its asker may ask; a packed one is written down as what it says."""
        ask = parse_ticket(raw, now_ns=self._sources.clock.now_ns())
        if isinstance(ask, Sql | Catalog) and flight_sql.is_command(raw):
            call.ticket = flight_sql.shown(ask)
        assert call.agent is not None, "the middleware let nobody in"
        check_access(call.agent, ask)
        return ask

    def _latest(self, call: Call, ask: Latest) -> pa.Table:
        agent, sources = call.agent, self._sources
        assert agent is not None, "the middleware let nobody in"
        check_access(agent, ask)
        if ask.symbols is None:
            symbols = _allowed(agent, sources.views.view().symbols("trades"))
        else:
            symbols = ask.symbols
        table, sent_bytes = self._latest_answers.table(symbols)
        if table.num_rows < len(symbols) and ask.symbols is not None:
            for symbol in symbols:
                require_known(sources, sources.views.view(), symbol)
        call.rows += table.num_rows
        call.bytes += sent_bytes
        return table

    def _answer(  # noqa: PLR0911  one for each kind of ticket
        self, call: Call, ask: Range | Tail | State | Bars | BookAt | Sql | Catalog
    ) -> Answer:
        sources, agent = self._sources, call.agent
        assert agent is not None, "the middleware let nobody in"
        match ask:
            case Range():
                return answer_range(sources, ask)
            case Tail():
                return answer_tail(sources, ask)
            case State():
                return answer_state(sources, ask)
            case Bars():
                return answer_bars(sources, ask, call.is_gone)
            case BookAt():
                return answer_book_at(sources, ask, call.is_gone)
            case Sql():
                return answer_sql(sources, agent, ask, call.is_gone)
            case Catalog():
                return prepared.answer_catalog(sources, agent, ask)
            case _ as never:
                assert_never(never)

    def _live(self, call: Call, ask: Live) -> flight.FlightDataStream:
        agent, sources = call.agent, self._sources
        assert agent is not None, "the middleware let nobody in"
        view = sources.views.view()
        visible_seq = view.watermarks(ask.table).visible_seq
        for symbol in ask.symbols:
            require_known(sources, view, symbol)
        if ask.from_seq is not None and ask.from_seq > visible_seq + 1:
            raise BadTicket(
                f"from_seq is {ask.from_seq}, but {ask.table} ends at seq {visible_seq}",
                hint=f"go on with from_seq={visible_seq + 1}; later rows are not on the tape",
            )
        if not self._live_slots.acquire(blocking=False):
            raise TooMuch(
                f"{LIVE_STREAMS_MAX} live streams are open, the most there may be",
                hint="follow several symbols in one stream",
            )
        call.at_end(self._live_slots.release)
        position = visible_seq if ask.from_seq is None else ask.from_seq - 1
        batches = live_batches(
            sources.views,
            Follow(ask.table, ask.symbols, position),
            is_gone=is_over(call, self._drain),
            clock=sources.clock,
        )
        about = {b"visible_seq": b"%d" % visible_seq, b"call": b"%d" % call.number}
        schema = TABLES[ask.table].schema
        schema = schema.with_metadata({**(schema.metadata or {}), **about})
        return guarded_stream(schema, counted(call, batches, limits=None, drain=self._drain))

    def _exchange(
        self,
        call: Call,
        ask: Latest,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        is_begun = False
        while not is_over(call, self._drain)():
            try:
                reader.read_chunk()
            except StopIteration:
                return
            # The key is looked up for every answer, as it is for every call.
            call.agent = self._book.admit(call.key)
            table = self._latest(call, ask)
            if not is_begun:
                writer.begin(LATEST_SCHEMA)
                is_begun = True
            for batch in table.to_batches() or [_NO_LATEST]:
                writer.write_batch(batch)

    def _actions(self) -> Mapping[str, Callable[[Agent, bytes], object]]:
        sources = self._sources
        return {
            "describe": lambda agent, _: describe.describe(sources, agent),
            "status": lambda agent, _: describe.status(sources, agent, self._run_folder),
            "gaps": lambda agent, _: describe.gaps(sources, agent),
            "whoami": lambda agent, _: describe.whoami(agent),
            "cancel": self._cancel,
            "healthcheck": lambda _agent, _: {"status": "ok"},
        }

    def _cancel(self, agent: Agent, body: bytes) -> dict[str, object]:
        told = body.decode("utf-8", "replace").strip()
        call = self._book.running(told)
        if call is None or call.agent is None:
            raise BadTicket(
                f"no running call has the number or name {told[:20]!r}",
                hint="send the number from the answer's schema metadata `call` as the body",
            )
        if call.agent.key_id != agent.key_id and "admin" not in agent.scopes:
            raise Forbidden("that call belongs to another key", hint="cancel your own calls")
        call.is_cancelled = True
        return {"cancelled": call.number}


def _allowed(agent: Agent, symbols: Sequence[str]) -> Sequence[str]:
    if agent.symbols is None:
        return symbols
    return [symbol for symbol in symbols if symbol in agent.symbols]


@lru_cache(maxsize=1024)
def _latest_ask(raw: bytes) -> Latest:
    """Polled again and again with the same few bytes; no time in it, so it never goes stale."""
    ask = parse_ticket(raw, now_ns=0)
    assert isinstance(ask, Latest)
    return ask
