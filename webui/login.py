"""Logging in and out: a link from the command line, or an API key with scope `ui`."""

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.clock import Clock
from core.errors import BadTicket, PipelineError, Unauthenticated
from webui.access import SCOPES_IN, Gate, Visitor, check_origin, parse_body, read_body
from webui.journal import Journal
from webui.sessions import ADMIN_SCOPES, LIFE_NS, Throttle, use_link


@dataclass(frozen=True)
class Login:
    """The handlers behind the login page."""

    gate: Gate
    links: Path
    throttle: Throttle
    journal: Journal
    clock: Clock

    async def log_in(self, request: Request) -> Response:
        """Spend a link, or take a key; answer with the cookie."""
        check_origin(request)
        self.throttle.check()
        peer = request.client.host if request.client else ""
        try:
            name, scopes, key_id = self._prove(parse_body(await read_body(request)))
        except Unauthenticated as error:
            self.throttle.failed()
            self.journal.note("login", "degraded", f"login refused from {peer}: {error.message}")
            raise
        self.throttle.passed()
        secret = self.gate.sessions.open(name, scopes, peer, key_id)
        self.journal.note("login", "ok", f"{name} logged in from {peer}")
        answer = JSONResponse({"name": name})
        answer.set_cookie(
            self.gate.cookie_name(request.url.port or 0),
            secret,
            max_age=LIFE_NS // 1_000_000_000,
            httponly=True,
            samesite="strict",
            secure=self.gate.is_secure,
        )
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the session of this browser."""
        check_origin(request)
        await read_body(request)
        session = self.gate.session(request)
        if session is not None:
            self.gate.sessions.close(session.id)
            self.journal.note("login", "ok", f"{session.name} logged out")
        answer = JSONResponse({})
        answer.delete_cookie(self.gate.cookie_name(request.url.port or 0))
        return answer

    def _prove(self, body: dict[str, object]) -> tuple[str, tuple[str, ...], str]:
        link, key = body.get("link"), body.get("key")
        if isinstance(link, str):
            use_link(self.links, link, self.clock)
            return "operator", ADMIN_SCOPES, ""
        if isinstance(key, str):
            agent = self.gate.ring.agent(key.strip())
            visitor = Visitor(agent.name, agent.scopes, symbols=agent.symbols)
            try:
                visitor.require(*SCOPES_IN)
                visitor.require_all_symbols()
            except PipelineError as error:
                raise Unauthenticated(error.message, hint=error.hint) from error
            return agent.name, tuple(sorted(agent.scopes)), agent.key_id
        raise BadTicket('expected {"link": ".."} or {"key": ".."}')
