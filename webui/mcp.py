"""`POST /mcp`: the tape as tools of the Model Context Protocol, for models that are given a key.

Nothing is decided here about keys: every request is carried to the Flight server with the key it
came with, and is judged, counted and recorded there as any other call of that key. Nothing is kept
between requests. A page of another site cannot ask: an Origin must be our own, and the body JSON.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.board import read_boards
from core.clock import Clock
from core.errors import (
    BadTicket,
    PipelineError,
    TooMuch,
    Unauthenticated,
    Unavailable,
)
from core.log import Log
from core.settings import Settings, reachable
from flight_server.auth import CALL_NAME, ON_BEHALF
from flight_server.relay import Credentials, Relay
from storage.paths import Paths
from webui.edge import error_answer, on_pipeline_error
from webui.mcp_answers import Desk, Told
from webui.mcp_arguments import Given, Json
from webui.mcp_protocol import (
    CACHED,
    VERSIONS,
    Fault,
    Message,
    agreed_version,
    bad_params,
    complete,
    parse_message,
    unknown_method,
)
from webui.mcp_tools import BY_NAME, TOOLS

PATH: Final = "/mcp"
BODY_BYTES_MAX: Final = 128 * 1024  # a ticket of 64 KiB with every character escaped
CALLS_MAX: Final = 16  # under way at once; each has a thread
SLACK_S: Final = 30  # to wait for a turn and to send, beside the time limit of SQL
CALL_OFF_S: Final = 0.2
STOPPING: Final = "the server is stopping"
KEY_HEADERS: Final = ("authorization", "x-api-key")
SERVER: Final[Json] = {"name": "tickflight", "title": "Tickflight market tape"}
CAPABILITIES: Final[Json] = {"tools": {}}
INSTRUCTIONS: Final = (
    "A recorded market tape: trades, quotes, depth, gamma exposure, live and history as one. Call "
    "describe first. Prefer bars and sql aggregates to single ticks. All times are UTC. Answers "
    "are short: is_cut says whether there is more and next_arguments how to get it. Say so when "
    "an answer names gaps: there rows may be missing. An error has a code, a message and a hint "
    "that says what to do."
)

log = Log("web")


def mcp_route(settings: Settings, clock: Clock) -> Route:
    """The endpoint; everything but POST is 405, as it offers no stream."""
    scheme = "grpc+tls" if settings.text("TLS_CERT") else "grpc"
    home = reachable(settings.text("HOST"))
    find_port = partial(flight_port, Paths(settings.data_dir).run, clock)
    relay = Relay(
        lambda: f"{scheme}://{home}:{find_port()}",
        settings.number("SQL_SECONDS") + SLACK_S,
    )
    return Route(PATH, Endpoint(relay, clock, scheme, find_port).serve, methods=["POST"])


def flight_port(run_folder: Path, clock: Clock) -> int:
    """Where the Flight server of this house listens; raise Unavailable where it does not."""
    for board in read_boards(run_folder, clock.now_ns()):
        port = int(board["gauges"].get("port", 0))
        if board["process"] == "flight" and board["is_alive"] and port:
            return port
    raise Unavailable("the Flight server is not up", hint="ask again in a moment")


class Endpoint:
    """Answers one message at a time, each in a thread."""

    def __init__(
        self, relay: Relay, clock: Clock, scheme: str, find_port: Callable[[], int]
    ) -> None:
        self._relay = relay
        self._clock = clock
        self._scheme = scheme
        self._find_port = find_port
        self._slots = threading.BoundedSemaphore(CALLS_MAX)

    async def serve(self, request: Request) -> Response:
        """One POST: a request is answered, a notification is accepted."""
        if (refusal := _refusal(request)) is not None:
            return refusal
        body = await _read(request)
        if body is None:
            return error_answer(413, "too_much", f"expected at most {BODY_BYTES_MAX} bytes")
        message = parse_message(body, request.headers.items())
        if isinstance(message, Fault):
            return _faulty(message)
        if not self._slots.acquire(blocking=False):
            return _refused(
                request, TooMuch(f"{CALLS_MAX} calls are under way, the most there may be")
            )
        return await self._worked(message, request)

    async def _worked(self, message: Message, request: Request) -> Response:
        """The answer to a message; what is asked for it ends with who asked."""
        call = _Call(_credentials(request), secrets.token_hex(16))
        future = self._begin(message, request, call)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._mind_hang_up, request, call, future)
                # Not raised here: the group would wrap it.
                (answered,) = (await asyncio.wait([asyncio.wrap_future(future)]))[0]
                answered.exception()
                tasks.cancel_scope.cancel()
        except asyncio.CancelledError:
            # Nothing cancels an answer under way but a server that stops.
            _go_on_though_cancelled()
            threading.Thread(target=self._call_off, args=(call, future), daemon=True).start()
            return _refused(request, Unavailable(STOPPING, hint="ask again in a moment"))
        try:
            return future.result()
        except PipelineError as error:
            return _refused(request, error)

    async def _mind_hang_up(
        self, request: Request, call: "_Call", future: "Future[Response]"
    ) -> None:
        """End the call once nobody waits for its answer."""
        while (await request.receive())["type"] != "http.disconnect":
            continue
        await anyio.to_thread.run_sync(self._call_off, call, future, abandon_on_cancel=True)

    def _call_off(self, call: "_Call", future: "Future[Response]") -> None:
        """Have the Flight server end what is asked for this call, until nothing is any more."""
        while not future.done():
            try:
                self._relay.act(call.credentials, "cancel", call.name.encode())
            except BadTicket:
                log.debug("call.not_running")  # it has not begun yet, or ended just now
            except PipelineError as error:
                log.warning("call.not_cancelled", why=error.message)
                return
            wait([future], CALL_OFF_S)

    def _begin(self, message: Message, request: Request, call: "_Call") -> "Future[Response]":
        """Work in a thread of its own, which does not keep a process from ending as a pool's do."""
        future: Future[Response] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                future.set_result(self._answer(message, request, call))
            except BaseException as error:  # noqa: BLE001  raised where it is awaited
                future.set_exception(error)
            finally:
                self._slots.release()

        threading.Thread(target=work, name="mcp", daemon=True).start()
        return future

    def _answer(self, message: Message, request: Request, call: "_Call") -> Response:
        credentials = call.named
        if message.id is not None and message.method == "tools/call":
            result = self._call(message, credentials, request)
        else:
            result = self._tell(message, credentials)
        if isinstance(result, Fault):
            return _faulty(result)
        if message.id is None:
            return Response(status_code=202)
        return _json(complete(message, result, _server()))

    def _tell(self, message: Message, credentials: Credentials) -> Json | Fault:
        """What is not of the tape; but only who has a good key gets it."""
        agent = self._relay.act(credentials, "whoami")
        assert isinstance(agent, dict)
        if message.id is None:
            return {}
        if message.method == "tools/list":
            return _tools(message, frozenset(agent["scopes"]))
        return _about(message) or unknown_method(message)

    def _call(self, message: Message, credentials: Credentials, request: Request) -> Json | Fault:
        name, arguments = message.params.get("name"), message.params.get("arguments") or {}
        tool = BY_NAME.get(name) if isinstance(name, str) else None
        if tool is None or not isinstance(arguments, dict):
            self._relay.act(credentials, "whoami")
            if tool is None:
                return bad_params(message, f"Unknown tool: {str(name)[:80]}")
            return bad_params(message, "arguments: expected an object")
        try:
            desk = self._desk(credentials, request)
            return _result(tool.answer(desk, Given(tool.arguments, arguments)))
        except Unauthenticated:
            raise
        except BadTicket as error:
            # It may come from here, before the server was asked; a stranger is not told.
            self._relay.act(credentials, "whoami")
            return _failed(error)
        except PipelineError as error:
            return _failed(error)

    def _desk(self, credentials: Credentials, request: Request) -> Desk:
        url = f"{self._scheme}://{reachable('', request.url.hostname)}:{self._find_port()}"
        return Desk(self._relay, credentials, self._clock, url)


@dataclass(frozen=True, slots=True)
class _Call:
    """One request: with which key it asks, and the name by which the Flight server can end it."""

    credentials: Credentials
    name: str

    @property
    def named(self) -> Credentials:
        """What goes along with everything that is asked for it."""
        return [*self.credentials, (CALL_NAME.encode(), self.name.encode())]


def _go_on_though_cancelled() -> None:
    """Let this task send one more answer."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


def _about(message: Message) -> Json | None:
    """Who we are and what we can, in the words of either era; `ping` of the older one."""
    about: Json = {"capabilities": CAPABILITIES, "instructions": INSTRUCTIONS}
    match message.method, message.is_modern:
        case "initialize", False:
            chosen = agreed_version(message.params)
            return {**about, "protocolVersion": chosen, "serverInfo": _server()}
        case "ping", False:
            return {"_meta": {}}
        case "server/discover", True:
            return {**about, **CACHED, "supportedVersions": list(VERSIONS)}
    return None


def _tools(message: Message, scopes: frozenset[str]) -> Json | Fault:
    """The tools a key may use."""
    if message.params.get("cursor") is not None:
        return bad_params(message, "cursor: there is one page only")
    listed = [tool.listed() for tool in TOOLS if not tool.scope or tool.scope in scopes]
    return {"tools": listed, **(CACHED if message.is_modern else {})}


def _server() -> Json:
    return {**SERVER, "version": version("tickflight")}


def _refusal(request: Request) -> Response | None:
    """The answer to what a page of another site could send, or to what we could not read."""
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if origin is not None and origin != own:
        return error_answer(403, "forbidden", f"expected this to come from {own}")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return error_answer(415, "bad_request", "expected content-type: application/json")
    accepted = request.headers.get("accept", "*/*").lower()
    if not any(kind in accepted for kind in ("application/json", "application/*", "*/*")):
        return error_answer(406, "bad_request", "only application/json is answered; accept it")
    return None


async def _read(request: Request) -> bytes | None:
    """The body, or None where it is longer than may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _credentials(request: Request) -> Credentials:
    """The headers a key may be in, as they came, and who asks; for the record of the call.

    What no header of gRPC can hold is no key.
    """
    found = [(name, request.headers.get(name)) for name in KEY_HEADERS]
    if request.client is not None:
        found.append((ON_BEHALF, f"mcp {request.client.host}"))
    return [
        (name.encode(), value.encode())
        for name, value in found
        if value is not None and value.isascii() and value.isprintable()
    ]


def _result(told: Told) -> Json:
    text: Json = {"type": "text", "text": told.text}
    return {"content": [text], "structuredContent": told.structured, "isError": False}


def _failed(error: PipelineError) -> Json:
    """An error a model can do something about."""
    body = {"code": error.code, "message": error.message, "hint": error.hint}
    text: Json = {"type": "text", "text": orjson.dumps(body).decode()}
    return {"content": [text], "isError": True}


def _refused(request: Request, error: PipelineError) -> Response:
    """The answer where no message was looked at: no good key, no turn, no server."""
    answer = on_pipeline_error(request, error)
    if answer.status_code == 401:
        answer.headers["www-authenticate"] = "Bearer"
    elif answer.status_code in (429, 503):
        answer.headers["retry-after"] = "1"
    return answer


def _faulty(fault: Fault) -> Response:
    return _json(fault.answer(), fault.status)


def _json(body: Json, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
