"""Keys and sessions: made, shown once, ended. Only for visitors with scope `admin`."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.clock import Clock
from core.errors import BadTicket
from flight_server.commands import parse_expiry, parse_rate
from flight_server.keys import KeyRequest, KeyRing
from webui.access import Visitor, parse_body
from webui.hub import Hub
from webui.journal import Journal
from webui.sessions import Sessions


@dataclass(frozen=True)
class KeysApi:
    """The handlers behind the keys page."""

    ring: KeyRing
    sessions: Sessions
    hub: Hub
    journal: Journal
    clock: Clock

    def create(self, request: Request) -> Response:
        """Make a key; the answer is the only place where it is ever told."""
        body = parse_body(request.state.body)
        visitor: Visitor = request.state.visitor
        asked = KeyRequest(
            text(body, "name"),
            tuple(words(body, "scopes")),
            tuple(symbol.upper() for symbol in words(body, "symbols")),
            parse_rate(text(body, "rate")),
            parse_expiry(text(body, "expires"), self.clock.now_ns()),
        )
        key = self.ring.create(asked)
        self.journal.note(
            "keys", "ok", f"{visitor.name} made key {asked.name}: {' '.join(asked.scopes)}"
        )
        return JSONResponse({"name": asked.name, "key": key}, 201)

    def revoke(self, request: Request) -> Response:
        """End a key whose name was typed once more."""
        body = parse_body(request.state.body)
        visitor: Visitor = request.state.visitor
        name = text(body, "name")
        if text(body, "confirm") != name:
            raise BadTicket(f"expected {name!r} typed once more, found something else")
        self.ring.revoke(name)
        self.journal.note("keys", "ok", f"{visitor.name} revoked key {name}")
        return JSONResponse({"name": name})

    def end_session(self, request: Request) -> Response:
        """Log a browser out, its open pages too."""
        session_id = text(parse_body(request.state.body), "id")
        if not self.sessions.close(session_id):
            raise BadTicket(f"no session {session_id!r}")
        self.hub.revoke(session_id)
        self.journal.note("login", "ok", f"Session {session_id} ended")
        return JSONResponse({"id": session_id})


def text(body: dict[str, object], name: str) -> str:
    """A text of the body, "" where it is not there."""
    value = body.get(name, "")
    if not isinstance(value, str):
        raise BadTicket(f"{name}: expected text")
    return value.strip()


def words(body: dict[str, object], name: str) -> list[str]:
    """A list of texts of the body."""
    value = body.get(name, [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise BadTicket(f"{name}: expected a list of words")
    return value
