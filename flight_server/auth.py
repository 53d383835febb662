"""Who is calling: the handshake, the headers, scopes, symbols and the rate of calls.

The key itself is the token, whichever way it comes, and is looked up anew on every call; so a
handshake of an hour ago is worth nothing once its key is revoked. pyarrow asks the handshake
handler first and the middleware second; the handler passes everything on, the middleware decides.
"""

import base64
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import pyarrow as pa
from pyarrow import flight

from core.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from core.errors import TooMuch, Unauthenticated
from flight_server.audit import Audit, CallEntry
from flight_server.edge import code_of, door, to_flight
from flight_server.keys import Agent, KeyRing
from flight_server.thread_state import (
    hold_thread_state,
    let_thread_state_go,
    take_held_thread,
)

MIDDLEWARE: Final = "tickflight"
METHOD_NAMES: Final = {
    method: method.name.lower() for method in flight.FlightMethod.__members__.values()
}
KEY_BYTES_MAX: Final = 1_024
ON_BEHALF: Final = "x-forwarded-for"
CALL_NAME: Final = "x-call-name"
HEADER_CHARS_MAX: Final = 64

_NO_PAYLOAD = (pa.ArrowException, OSError, StopIteration)
_HANDSHAKE = flight.FlightMethod.HANDSHAKE
_handshakes: "dict[int, Call]" = {}


class RateLimiter:
    """A token bucket a key: `rate` calls a second, as many at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, list[float]] = {}

    def take(self, agent: Agent) -> None:
        """Pay for one call; raise TooMuch where nothing is left.

        No lock: where two threads meet, one call too many may pass, which a rate can bear.
        """
        now_ns = self._clock.monotonic_ns()
        bucket = self._buckets.get(agent.key_id)
        if bucket is None:
            bucket = self._buckets[agent.key_id] = [max(agent.rate, 1.0), now_ns]
        left = bucket[0] + (now_ns - bucket[1]) * agent.rate / NS_PER_S
        bucket[1] = now_ns
        if left >= 1.0:
            bucket[0] = min(left, max(agent.rate, 1.0)) - 1.0
            return
        bucket[0] = left
        wait_ms = max(1, round((1.0 - left) / agent.rate * 1000))
        raise TooMuch(
            f"the key of {agent.name!r} may make {agent.rate:g} calls a second",
            hint=f"ask again in {wait_ms} ms",
        )


class Call(flight.ServerMiddleware):  # type: ignore[misc]
    """One call from its start to its end, and what is to be written down of it."""

    ticket = b""
    rows = 0
    bytes = 0
    peer = ""
    on_behalf = ""
    name = ""
    outcome: str | None = None
    is_cancelled = False
    is_done = False
    _reply_key = ""
    _context: flight.ServerCallContext | None = None
    _enders: tuple[Callable[[], object], ...] = ()

    def __init__(self, book: "CallBook", method: str, agent: Agent | None, key: str) -> None:
        self._book = book
        self._thread = take_held_thread()  # its end lets it go
        self.start_ns = book.clock.now_ns()
        self.number = next(book.numbers)
        self.method = method
        self.agent = agent
        self.key = key

    def __repr__(self) -> str:
        return f"Call({self.number}, {self.method}, {self.agent and self.agent.name})"

    def give_back_key(self) -> None:
        """Answer a Basic handshake with the header the client sends from now on."""
        self._reply_key = self.key

    def watch(self, context: flight.ServerCallContext) -> None:
        """Let the call be cancelled by the client or by the cancel action from now on."""
        self._context = context
        self._book.active[self.number] = self

    def at_end(self, ender: Callable[[], object]) -> None:
        """Have something done once when the call is over, however it ends."""
        self._enders = (*self._enders, ender)

    def is_gone(self) -> bool:
        """Whether nobody wants the rest; any thread may ask, also after the end of the call."""
        # After the end the context points nowhere; the flag is set before that, under the GIL.
        return (
            self.is_cancelled
            or self.is_done
            or (self._context is not None and self._context.is_cancelled())
        )

    def sending_headers(self) -> Mapping[str, str] | None:
        return {"authorization": f"Bearer {self._reply_key}"} if self._reply_key else None

    def call_completed(self, exception: BaseException | None) -> None:
        if self._thread is not None:
            let_thread_state_go(self._thread)
        self.is_done = True
        self._context = None
        end_ns = self._book.clock.now_ns()
        outcome = self.outcome or code_of(exception)
        self._book.active.pop(self.number, None)
        for ender in self._enders:
            ender()
        self._book.audit.note(
            CallEntry(
                self.start_ns // NS_PER_US,
                end_ns // NS_PER_US,
                self.agent.name if self.agent else "",
                self.method,
                self.ticket,
                self.rows,
                self.bytes,
                (end_ns - self.start_ns) / NS_PER_MS,
                outcome,
                f"{self.peer} for {self.on_behalf}" if self.on_behalf else self.peer,
            )
        )


class CallBook:
    """What all calls share: the keys, the rates, the audit, and which calls are running."""

    def __init__(self, ring: KeyRing, audit: Audit, *, clock: Clock) -> None:
        self.ring = ring
        self.audit = audit
        self.clock = clock
        self.rates = RateLimiter(clock)
        self.numbers = itertools.count(1)
        self.active: dict[int, Call] = {}

    def running(self, told: str) -> Call | None:
        """The running call of a number, or of the name its caller gave it."""
        if told.isdecimal():
            return self.active.get(int(told))
        return next((c for c in list(self.active.values()) if told and c.name == told), None)

    def admit(self, key: str) -> Agent:
        """The agent of a key, once its rate allows one more call."""
        agent = self.ring.agent(key)
        self.rates.take(agent)
        return agent


class CallMiddleware(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Opens a `Call` for every call that may go on."""

    def __init__(self, book: CallBook) -> None:
        self._book = book

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, Sequence[str]]) -> Call:
        book = self._book
        kind = info.method
        method = METHOD_NAMES.get(kind, "unknown")
        try:
            key = key_in(headers)
            if kind == _HANDSHAKE:
                return self._start_handshake(key)
            call = Call(book, method, book.admit(key), key)
            call.on_behalf = first_in(headers, ON_BEHALF)
            call.name = first_in(headers, CALL_NAME)
            return call
        except BaseException as error:  # noqa: BLE001  pyarrow would send its traceback
            refused = to_flight(error)
            Call(book, method, None, "").call_completed(refused)
            raise refused from None

    def _start_handshake(self, key: str) -> Call:
        """With a header the key is judged here, without one by the handler's `authenticate`."""
        call = Call(self._book, "handshake", self._book.admit(key) if key else None, key)
        if key:
            call.give_back_key()
        # Same thread, but a new thread state for each callback, so thread locals are lost.
        thread = threading.get_ident()
        _handshakes[thread] = call
        call.at_end(lambda: _handshakes.pop(thread, None))
        return call


class _Outgoing(Protocol):
    def write(self, message: bytes) -> None: ...


class _Incoming(Protocol):
    def read(self) -> bytes: ...


class HandshakeHandler(flight.ServerAuthHandler):  # type: ignore[misc]
    """`client.authenticate(handler)`: the key as the handler's bytes, given back as the token."""

    def __init__(self, book: CallBook) -> None:
        self._book = book

    @door
    def authenticate(self, outgoing: _Outgoing, incoming: _Incoming) -> None:
        call = _handshakes.get(threading.get_ident())
        if call is not None and call.key:
            # A Basic handshake has no payload; its header was judged already.
            with suppress(*_NO_PAYLOAD):
                incoming.read()
            return
        try:
            raw = bytes(incoming.read())
        except _NO_PAYLOAD:
            raw = b""
        if len(raw) > KEY_BYTES_MAX:
            raise Unauthenticated(
                f"expected the key as the handshake's bytes, found {len(raw)} bytes",
                hint="send the key alone",
            )
        agent = self._book.admit(raw.decode("utf-8", "replace").strip())
        if call is not None:
            call.agent = agent
        outgoing.write(raw.strip())

    def is_valid(self, token: bytes) -> bytes:
        # Judged by the middleware, which every call passes and which also sees the other headers.
        hold_thread_state()  # the first callback of a call that is no handshake
        return b""


def first_in(headers: Mapping[str, Sequence[str]], name: str) -> str:
    """The beginning of a header, "" where there is none.

    ON_BEHALF is whom a caller says it asks for; put beside its own address, for anybody can say so.
    CALL_NAME is a name it gives the call, so that it can be cancelled before anything is answered.
    """
    told = headers.get(name)
    return told[0][:HEADER_CHARS_MAX] if told else ""


def key_in(headers: Mapping[str, Sequence[str]]) -> str:
    """The key a call carries, wherever it is; empty where there is none."""
    values = headers.get("authorization")
    if values:
        return _key_in_authorization(values[0])
    values = headers.get("x-api-key")
    if values:
        return values[0].strip()
    tokens: Sequence[str | bytes] | None = headers.get("auth-token-bin")
    if tokens:
        token = tokens[0]
        return token.decode("utf-8", "replace") if isinstance(token, bytes) else token
    return ""


def _key_in_authorization(value: str) -> str:
    if value.startswith("Bearer tf_"):
        return value[7:].rstrip()
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            padded = rest.strip() + "=" * (-len(rest.strip()) % 4)
            pair = base64.b64decode(padded, altchars=None, validate=True).decode()
        except ValueError:
            raise Unauthenticated(
                "the Basic header is not base64 of user:password",
                hint="give any user and the key as password",
            ) from None
        return pair.partition(":")[2]
    raise Unauthenticated(
        f"expected authorization Bearer or Basic, found {scheme[:20]!r}",
        hint="send the header `authorization: Bearer KEY`",
    )
