"""Status for people at `/`, for programs at `/api/status`, for monitors at `/healthz`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import jinja2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from core.board import read_boards
from core.clock import Clock
from core.errors import PipelineError
from webui.edge import Edge, on_http_error, on_pipeline_error
from webui.status import Tape, gather, is_serving
from webui.words import format_age, format_number

HERE = Path(__file__).parent
NEEDED = ("ingest", "flight")  # without these nothing is recorded or answered

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class Pages:
    """Handlers; plain functions, so that Starlette runs them in threads beside the loop."""

    def __init__(
        self, run_dir: Path, tape: Tape, clock: Clock, *, needed: Sequence[str] = NEEDED
    ) -> None:
        self._run_dir = run_dir
        self._tape = tape
        self._clock = clock
        self._needed = needed
        env = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "views"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        env.filters.update(number=format_number, age=format_age)
        self._status_page = env.get_template("status.html")

    def index(self, request: Request) -> Response:
        """The status page."""
        now_ns = self._clock.now_ns()
        status = gather(read_boards(self._run_dir, now_ns), self._tape, now_ns)
        return HTMLResponse(self._status_page.render(status=status))

    def api_status(self, request: Request) -> Response:
        """The same as JSON."""
        now_ns = self._clock.now_ns()
        return JSONResponse(gather(read_boards(self._run_dir, now_ns), self._tape, now_ns))

    def healthz(self, request: Request) -> Response:
        """200 where everything needed is alive, else 503; nothing else is told."""
        if is_serving(read_boards(self._run_dir, self._clock.now_ns()), self._needed):
            return PlainTextResponse("ok\n")
        return PlainTextResponse("down\n", 503)


def make_app(pages: Pages, names: frozenset[str], *, lifespan: Lifespan | None = None) -> Starlette:
    """Put routes, edge and error answers together."""
    return Starlette(
        routes=[
            Route("/", pages.index),
            Route("/healthz", pages.healthz),
            Route("/api/status", pages.api_status),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[Middleware(Edge, names=names)],
        exception_handlers={HTTPException: on_http_error, PipelineError: on_pipeline_error},
        lifespan=lifespan,
    )
