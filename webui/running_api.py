"""Ending a running call from the queries page. Only for visitors with scope `admin`."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.errors import BadTicket, Unavailable
from flight_server.running import ask_to_end, read_running
from storage.paths import Paths
from webui.access import Visitor, parse_body
from webui.journal import Journal


@dataclass(frozen=True)
class RunningApi:
    """The handler behind the button."""

    paths: Paths
    journal: Journal

    def end(self, request: Request) -> Response:
        """Have the Flight server end a call that is running; it does within a second."""
        call_id = parse_body(request.state.body).get("call")
        visitor: Visitor = request.state.visitor
        # Only what the server itself told of is asked for: this becomes the name of a file.
        call = next((c for c in read_running(self.paths.calls) if c.id == call_id), None)
        if call is None:
            raise BadTicket("no such call is running", hint="it may have ended by itself")
        try:
            ask_to_end(self.paths.calls, call.id)
        except OSError as error:
            raise Unavailable(f"the request cannot be written: {error.strerror}") from error
        self.journal.note("flight", "ok", f"{visitor.name} cancelled a call of {call.key}")
        return JSONResponse({"call": call.id}, 202)
