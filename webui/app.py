"""Routes: the dashboard for people, status for programs, `/healthz` for monitors."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from core.board import read_boards
from core.clock import Clock
from core.errors import PipelineError
from webui.access import Gate, Handler
from webui.api import Api
from webui.assets import Assets
from webui.backfill import BackfillApi
from webui.drill import Drill
from webui.edge import Apology, Edge, for_people, on_http_error, on_pipeline_error
from webui.explore import Explore
from webui.keys_api import KeysApi
from webui.login import Login
from webui.pages import Pages
from webui.partitions import Partitions
from webui.running_api import RunningApi
from webui.status import Tape, gather, is_serving
from webui.stream import Stream

NEEDED = ("ingest", "flight")  # without these nothing is recorded or answered
YEAR_S = 31_536_000

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class Health:
    """What programs ask: is it up, and how is every part."""

    def __init__(
        self, run_dir: Path, tape: Tape, clock: Clock, *, needed: Sequence[str] = NEEDED
    ) -> None:
        self._run_dir = run_dir
        self._tape = tape
        self._clock = clock
        self._needed = needed

    def status(self, request: Request) -> Response:
        """Parts, symbols and watermarks as JSON."""
        now_ns, visitor = self._clock.now_ns(), request.state.visitor
        status = gather(read_boards(self._run_dir, now_ns), self._tape, now_ns)
        if visitor.symbols is not None:
            status["symbols"] = [s for s in status["symbols"] if s["symbol"] in visitor.symbols]
            status["symbol_count"] = len(status["symbols"])
        return JSONResponse(status)

    def healthz(self, request: Request) -> Response:
        """200 where everything needed is alive, else 503; nothing else is told."""
        if is_serving(read_boards(self._run_dir, self._clock.now_ns()), self._needed):
            return PlainTextResponse("ok\n")
        return PlainTextResponse("down\n", 503)


class Static:
    """The files of one build; another build's names do not exist."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    def serve(self, request: Request) -> Response:
        """A file, compressed where the browser can take that."""
        asset = self._assets.files.get(request.path_params["name"])
        if asset is None or request.path_params["build"] != self._assets.build:
            raise HTTPException(404)
        headers = {
            "cache-control": f"public, max-age={YEAR_S}, immutable",
            "vary": "accept-encoding",
        }
        body = asset.body
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            body = asset.gzipped
        return Response(body, headers=headers, media_type=asset.media_type)


def page_routes(gate: Gate, pages: Pages, drill: Drill) -> list[BaseRoute]:
    """What people look at."""
    return [
        Route("/", gate.page(pages.overview)),
        Route("/market", gate.page(pages.market)),
        Route("/market/{symbol}", gate.page(pages.market)),
        Route("/data", gate.page(drill.data)),
        Route("/queries", gate.page(drill.queries)),
        Route("/keys", gate.page(drill.keys)),
        Route("/events", gate.page(drill.events)),
        Route("/login", pages.login),
    ]


@dataclass(frozen=True)
class Acts:
    """What can be done from the pages beside keys."""

    running: RunningApi
    backfill: BackfillApi
    partitions: Partitions


def answer_routes(gate: Gate, api: Api, keys: KeysApi, acts: Acts, login: Login) -> list[BaseRoute]:
    """What the scripts of the pages ask."""
    asked: dict[str, Handler] = {
        "/ui/status": api.status,
        "/ui/bars": api.bars,
        "/ui/sample": api.sample,
        "/ui/cols": api.cols,
        "/ui/sample.parquet": api.parquet,
        "/ui/heat": api.heat,
        "/ui/gex": api.gex,
        "/ui/gex/moments": api.moments,
        "/ui/service": api.service,
        "/ui/partition": acts.partitions.about,
    }
    changed: dict[str, Handler] = {
        "/ui/queries/cancel": acts.running.end,
        "/ui/gaps/backfill": acts.backfill.ask,
        "/ui/partition/verify": acts.partitions.verify,
        "/ui/keys": keys.create,
        "/ui/keys/revoke": keys.revoke,
        "/ui/sessions/end": keys.end_session,
    }
    return [
        *(Route(path, gate.api(handler)) for path, handler in asked.items()),
        *(
            Route(path, gate.api(handler, "admin"), methods=["POST"])
            for path, handler in changed.items()
        ),
        Route("/api/samples", gate.api(api.samples, "ui", "admin", "read")),
        Route("/ui/login", login.log_in, methods=["POST"]),
        Route("/ui/logout", login.log_out, methods=["POST"]),
    ]


def explore_routes(gate: Gate, explore: Explore) -> list[BaseRoute]:
    """The explorer of the optional extra."""
    return [
        Route("/explore", gate.page(explore.page)),
        Route("/explore/files/{name}", gate.api(explore.file)),
        Route("/explore/rows", gate.api(explore.rows)),
    ]


def plain_routes(gate: Gate, health: Health, metrics: Handler, assets: Assets) -> list[BaseRoute]:
    """Files, health and figures."""
    return [
        Route("/metrics", gate.api(metrics, "ui", "admin", "read")),
        Route("/healthz", health.healthz),
        Route("/api/status", gate.api(health.status, "ui", "admin", "read")),
        Route("/static/{build}/{name}", Static(assets).serve),
    ]


def make_app(
    found: Sequence[BaseRoute],
    stream: Stream,
    names: frozenset[str],
    aliases: Mapping[str, str] | None = None,
    *,
    apology: Apology,
    lifespan: Lifespan | None = None,
) -> Starlette:
    """Put routes, edge and error answers together; who looks at a page gets a page of ours."""
    return Starlette(
        routes=[*found, WebSocketRoute("/ui/stream", stream.serve)],
        middleware=[Middleware(Edge, names=names, aliases=aliases)],
        exception_handlers={
            HTTPException: for_people(on_http_error, apology),
            PipelineError: for_people(on_pipeline_error, apology),
        },
        lifespan=lifespan,
    )
