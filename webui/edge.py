"""The outermost layer of every HTTP answer: who may ask, which headers go out, how errors look.

Errors have one shape, `{"code", "message", "id"}`, and the id is in the log beside the cause; no
traceback and no path leaves. Pages are answered only under the server's own names, so that a page
of another site cannot reach them through a name of its own (DNS rebinding). Webhooks are answered
under any name, since relays know this machine by names of theirs; they have rules of their own.
"""

import secrets
from collections.abc import Callable, Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import PipelineError
from core.log import Log
from core.settings import WILDCARD_HOSTS

OPEN_PATHS = frozenset({"/healthz"})
WEBHOOK_PATHS = frozenset({"/uw", "/gex_history_url"})
WEBHOOK_METHODS = frozenset({"POST", "OPTIONS"})
# Answered under every name of ours, never redirected: programs do not follow, or drop their key.
PROGRAM_PATHS = ("/api", "/mcp", "/metrics", "/healthz")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_much",
    415: "not_json",
}
STATUSES = {
    "bad_ticket": 400,
    "bad_sql": 400,
    "bad_settings": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "unknown_symbol": 404,
    "outside_retention": 404,
    "too_much": 429,
    "too_slow": 504,
}

SCRIPT_PATHS = (*PROGRAM_PATHS, "/ui/", "/static/")
Apology = Callable[[Request, int, str], Response]  # request, status, what is wrong
OnError = Callable[[Request, Exception], Response]
log = Log("web")


def own_names(host: str, port: int) -> frozenset[str]:
    """The values of the Host header under which pages are served."""
    names = {"127.0.0.1", "localhost", "::1"} | ({host} - WILDCARD_HOSTS)
    return frozenset(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names)


def own_aliases(host: str, port: int) -> dict[str, str]:
    """Names that lead to another one, so that there is one origin."""
    if host in ("127.0.0.1", "localhost"):
        return {f"localhost:{port}": f"127.0.0.1:{port}"}
    return {}


class Edge:
    """ASGI layer around the application."""

    def __init__(
        self, app: ASGIApp, names: frozenset[str], aliases: Mapping[str, str] | None = None
    ) -> None:
        self._app = app
        self._names = names
        self._aliases = aliases or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                given = list(message["headers"])
                names = {name for name, _ in given}
                message["headers"] = given + [pair for pair in _HEADERS if pair[0] not in names]
            await send(message)

        request = HTTPConnection(scope)
        path, host = scope["path"], request.headers.get("host", "").lower()
        if host not in self._names and not _is_open(scope.get("method", ""), path):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})  # the browser sees HTTP 403
            else:
                await _not_found()(scope, receive, send_with_headers)
            return
        is_page = scope.get("method") == "GET" and not path.startswith(PROGRAM_PATHS)
        is_page = is_page and "authorization" not in request.headers
        if host in self._aliases and is_page:
            # One origin, one cookie.
            there = str(request.url.replace(netloc=self._aliases[host]))
            await RedirectResponse(there)(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.debug("request.broken_off", path=path)
        except Exception:
            error_id = _new_id()
            log.exception("request.failed", id=error_id, path=path)
            if not is_started and scope["type"] == "http":
                answer = error_answer(500, "internal", "internal error; see the log", error_id)
                await answer(scope, receive, send_with_headers)


def _is_open(method: str, path: str) -> bool:
    """Whether a request is answered under any name."""
    return path in OPEN_PATHS or (path in WEBHOOK_PATHS and method in WEBHOOK_METHODS)


def on_http_error(request: Request, error: Exception) -> Response:
    """Answer for what the router refuses."""
    assert isinstance(error, HTTPException)
    code = HTTP_CODES.get(error.status_code, "bad_request")
    answer = error_answer(error.status_code, code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def on_pipeline_error(request: Request, error: Exception) -> Response:
    """Answer for an error of ours; its message was written for whoever asked."""
    assert isinstance(error, PipelineError)
    error_id = _new_id()
    log.warning("request.refused", id=error_id, code=error.code, why=error.message)
    status = STATUSES.get(error.code, 503 if error.retry else 500)
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    return error_answer(status, error.code, message, error_id)


def for_people(answer: OnError, apology: Apology) -> OnError:
    """The same answer, as a page for whoever asked for one in a browser."""

    def told(request: Request, error: Exception) -> Response:
        plain = answer(request, error)
        is_page = request.method == "GET" and not request.url.path.startswith(SCRIPT_PATHS)
        if not is_page or "text/html" not in request.headers.get("accept", ""):
            return plain
        return apology(request, plain.status_code, orjson.loads(plain.body)["message"])

    return told


def error_answer(
    status: int, code: str, message: str, error_id: str = "", *, detail: object = None
) -> JSONResponse:
    """Every error body has this one shape; `detail` names each place that is wrong."""
    body: dict[str, object] = {"code": code, "message": message, "id": error_id or _new_id()}
    if detail is not None:
        body["detail"] = detail
    return JSONResponse(body, status)


def _not_found() -> JSONResponse:
    return error_answer(404, "not_found", "Not Found")


def _new_id() -> str:
    return secrets.token_hex(6)
