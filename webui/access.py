"""Who is asking, and whether a page of another site made them ask.

A cookie is sent by any page of any port of this machine, so SameSite alone protects nothing: every
change and every socket must come with exactly our own Origin. Programs send an API key instead.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from core.errors import BadTicket, Forbidden, Unauthenticated
from core.settings import LOOPBACK_HOSTS
from flight_server.keys import SEES_ALL, KeyRing
from webui.sessions import ADMIN_SCOPES, Session, Sessions

SCOPES_IN = SEES_ALL  # one of these opens the pages
BODY_BYTES_MAX = 8_192
JSON_TYPE = "application/json"
Handler = Callable[[Request], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: a session's browser, or a program with a key."""

    name: str
    scopes: frozenset[str]
    session_id: str = ""
    symbols: frozenset[str] | None = None

    def require_all_symbols(self) -> None:
        """Raise Forbidden for a key that may see some symbols only."""
        if self.symbols is not None:
            raise Forbidden(
                f"the key of {self.name!r} is limited to {', '.join(sorted(self.symbols))}, "
                "and every symbol is shown here",
                hint="use a key without a list of symbols",
            )

    def require(self, *scopes: str) -> None:
        """Raise Forbidden where none of the scopes is held."""
        if not self.scopes & set(scopes):
            raise Forbidden(
                f"{self.name} lacks the scope {' or '.join(scopes)}",
                hint=f"ask the operator for a key made with --scope {scopes[0]}",
            )


@dataclass(frozen=True)
class Gate:
    """The check in front of every handler."""

    ring: KeyRing
    sessions: Sessions
    is_demo: bool = False
    is_secure: bool = False

    def cookie_name(self, port: int) -> str:
        """Cookies know no ports, so two houses on one machine need two names."""
        return f"tickflight_{port}"

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Who this is, None where nobody we know. Raise Unauthenticated for a wrong key."""
        bearer = request.headers.get("authorization", "")
        if bearer.lower().startswith("bearer "):
            agent = self.ring.agent(bearer[7:].strip())
            return Visitor(agent.name, agent.scopes, symbols=agent.symbols)
        session = self.session(request)
        if session is not None:
            return Visitor(session.name, frozenset(session.scopes), session.id)
        if self.is_demo and request.client and request.client.host in LOOPBACK_HOSTS:
            return Visitor("demo visitor", frozenset(ADMIN_SCOPES))
        return None

    def session(self, request: HTTPConnection) -> Session | None:
        """The session of a request's cookie; one opened with a key ends with that key."""
        secret = request.cookies.get(self.cookie_name(request.url.port or 0), "")
        session = self.sessions.find(secret) if secret else None
        if session is not None and session.key_id:
            holder = self.ring.holder(session.key_id)
            if holder is None or holder.symbols is not None:
                self.sessions.close(session.id)
                return None
        return session

    def page(self, handler: Handler) -> Endpoint:
        """A page: whoever is not known goes to the login."""

        async def guarded(request: Request) -> Response:
            visitor = self.visitor(request)
            if visitor is None:
                back = quote(request.url.path, safe="/")
                return RedirectResponse(f"/login?next={back}", 303)
            visitor.require(*SCOPES_IN)
            visitor.require_all_symbols()
            request.state.visitor = visitor
            return await anyio.to_thread.run_sync(handler, request)

        return guarded

    def api(self, handler: Handler, *scopes: str) -> Endpoint:
        """An answer for programs; one of `scopes` is needed (default: those of the pages).

        A handler that keys of other scopes may ask minds their symbols itself.
        """

        async def guarded(request: Request) -> Response:
            visitor = self.visitor(request)
            if visitor is None:
                raise Unauthenticated(
                    "log in, or send a key", hint="authorization: Bearer KEY, or: tickflight ui"
                )
            visitor.require(*(scopes or SCOPES_IN))
            if SCOPES_IN.issuperset(scopes):
                visitor.require_all_symbols()
            if request.method not in ("GET", "HEAD"):
                check_origin(request)
                request.state.body = await read_body(request)
            request.state.visitor = visitor
            return await anyio.to_thread.run_sync(handler, request)

        return guarded


async def read_body(request: Request) -> bytes:
    """A small body of JSON; raise HTTPException, before more of it is read than may be.

    A form of another page can send text and fields, but not this type.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != JSON_TYPE:
        raise HTTPException(415, f"expected content-type {JSON_TYPE}, found {given or 'none'}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise HTTPException(413, f"expected at most {BODY_BYTES_MAX} bytes")
    return body


def parse_body(raw: bytes) -> dict[str, object]:
    """A JSON object; raise BadTicket."""
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise BadTicket("expected a JSON object")
    return body


def check_origin(request: HTTPConnection) -> None:
    """Raise Forbidden where another site's page sends this.

    Programs send no Origin, and are let through only with a key of theirs: no page can send one.
    """
    origin = request.headers.get("origin")
    if origin is None and request.headers.get("authorization"):
        return
    secure = request.url.scheme in ("https", "wss")
    own = f"{'https' if secure else 'http'}://{request.headers.get('host', '')}"
    site = request.headers.get("sec-fetch-site", "same-origin")
    if origin != own or site != "same-origin":
        raise Forbidden(f"expected this to come from {own}, found {origin or 'no Origin'}")
