"""The web process: bind, serve until told to stop, keep its own board fresh."""

import gc
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette

from core.board import Board
from core.clock import Clock, SystemClock
from core.errors import SettingsError
from core.log import Log
from core.settings import Settings
from storage.paths import Paths
from webui.app import make_app
from webui.edge import own_aliases, own_names
from webui.house import open_house
from webui.mcp import mcp_route
from webui.requests import Requests
from webui.webhooks import open_webhooks
from webui.wire import Wire

PUBLISH_S = 1
STOP_S_MAX = 2  # for answers under way; then they are cut
CONNECTIONS_MAX = 200
WS_BYTES_MAX = 4_096  # what a page says is short
SWITCH_S = 0.0005  # the loop, with posts to answer, does not wait for a thread that gathers

log = Log("web")


def run(
    settings: Settings,
    *,
    on_ready: Callable[[int], None] = lambda port: None,
    clock: Clock | None = None,
    is_demo: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, then return within three seconds.

    `on_ready` is called once with the port when connections are taken. With `is_demo` whoever
    comes from this machine is let in without a login. Raise SettingsError where the address cannot
    be bound or the certificate cannot be read. Call it on the main thread.
    """
    sys.setswitchinterval(SWITCH_S)
    clock = clock or SystemClock()
    paths = Paths(settings.data_dir)
    listener = bind(settings.text("HOST"), settings.number("WEB_PORT"))
    with listener:
        port: int = listener.getsockname()[1]
        board = Board("web", clock)
        board.gauge("port", port)
        house = open_house(settings, clock, is_demo=is_demo)
        host = settings.text("HOST")
        names = own_names(host, port)
        hooks = open_webhooks(settings, names, board, clock)

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            await anyio.to_thread.run_sync(house.hub.gatherer.look)
            gc.collect()
            gc.freeze()  # what lives as long as the process is not looked through again and again
            async with anyio.create_task_group() as tasks:
                # Whoever was told that we are ready finds our board, and on it our port.
                await anyio.to_thread.run_sync(_publish, board, paths)
                tasks.start_soon(_keep_fresh, board, paths)
                tasks.start_soon(house.hub.run)
                tasks.start_soon(hooks.run)
                on_ready(port)
                log.info("web.opened", host=settings.text("HOST"), port=port)
                yield
                tasks.cancel_scope.cancel()

        app = make_app(
            [*hooks.routes(), *house.routes, mcp_route(settings, clock)],
            house.stream,
            names,
            own_aliases(host, port),
            apology=house.apology,
            lifespan=lifespan,
        )
        _serve(app, listener, settings)
    board.withdraw(paths.status("web"))
    log.info("web.closed")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raise SettingsError where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # Listening already: whoever comes before the loop runs waits instead of being refused.
        listener = socket.create_server((host, port), family=family, backlog=CONNECTIONS_MAX)
    except OSError as error:
        raise SettingsError(
            f"HOST={host!r} WEB_PORT={port}: cannot listen there: {error.strerror}",
            hint="stop the other program, or set WEB_PORT; 0 picks a free one",
        ) from error
    # Connections inherit it. asyncio sets it only on sockets whose protocol was said when they were
    # made; without it the body of an answer waits 40 ms for the client to acknowledge the headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _serve(app: Starlette, listener: socket.socket, settings: Settings) -> None:
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=Requests,
        log_config=None,
        access_log=False,
        server_header=False,
        ws=Wire,
        ws_max_size=WS_BYTES_MAX,
        ws_per_message_deflate=False,
        lifespan="on",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=STOP_S_MAX,
        ssl_certfile=settings.text("TLS_CERT") or None,
        ssl_keyfile=settings.text("TLS_KEY") or None,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"TLS_CERT and TLS_KEY: expected a PEM certificate and its key: {error}",
            hint="check both files and who may read them",
        ) from error
    server = uvicorn.Server(config)

    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    # uvicorn raises the signal it caught once more after stopping; it then finds these handlers
    # and the process ends by returning, not by the signal.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server.run(sockets=[listener])


async def _keep_fresh(board: Board, paths: Paths) -> None:
    while True:
        await anyio.sleep(PUBLISH_S)
        await anyio.to_thread.run_sync(_publish, board, paths)


def _publish(board: Board, paths: Paths) -> None:
    board.state("http", "ok", limit_s=3 * PUBLISH_S)
    path = paths.status("web")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        board.publish(path)
    except OSError as error:
        log.warning("board.write_failed", why=error.strerror)
