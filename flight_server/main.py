"""The Flight process: builds the server from settings, says where it listens, serves until told.

gRPC reads its experiments once, at first use, so they are set here before anything of ours touches
pyarrow.flight: without the event engine a small answer takes a fifth less time.
"""

import gc
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.board import Board
from core.clock import Clock
from core.errors import SettingsError
from core.log import Log
from core.settings import Settings
from flight_server.grpc_flags import set_grpc_flags
from storage.lake import lake_of

if TYPE_CHECKING:
    from flight_server.asking import Queries
    from flight_server.audit import Audit
    from flight_server.running import RunningCalls
    from flight_server.server import FlightServer
    from storage.query import QueryService
    from storage.store import Store

BOARD_S: Final = 0.5
CALLS_LOCK: Final = "calls.lock"
_log = Log("flight")


def run(
    settings: Settings,
    *,
    clock: Clock,
    ready: Callable[[Mapping[str, object]], None],
    stopping: threading.Event,
) -> None:
    """Serve until `stopping` is set; `ready` is told the port and the url.

    The writer of the tape must be up, for it makes the tables. This process is the one writer of
    table `queries`. Where a client keeps a call open beyond all patience the process ends itself.
    """
    set_grpc_flags()
    from flight_server.audit import Audit
    from flight_server.edge import hide_tracebacks
    from flight_server.running import RunningCalls
    from storage.paths import Paths

    hide_tracebacks()
    store = open_calls(settings, clock)
    audit = Audit(store)
    queries = _query_service(settings)
    queries.start()
    server = build(settings, audit, queries=queries, clock=clock)
    audit.start()
    # What lives as long as the process need not be looked through again by the collector.
    gc.collect()
    gc.freeze()
    url = f"{'grpc+tls' if settings.text('TLS_CERT') else 'grpc'}://{settings.text('HOST')}"
    ready({"port": server.port, "url": f"{url}:{server.port}"})
    _log.info("server.started", url=url, port=server.port)
    board = Board("flight", clock)
    board.gauge("port", server.port)
    running = RunningCalls(server.active, Paths(settings.data_dir).calls)
    running.obey()  # whatever is asked there was meant for a server that is gone
    _publish_until(stopping, settings, audit, running, board)
    running.withdraw()
    is_clean = server.stop()
    queries.stop()
    audit.stop()
    store.close()
    _log.info("server.stopped", clean=is_clean, calls=audit.noted_count)
    if not is_clean:
        # gRPC cannot cut off a call from this side, and would wait for it without end.
        logging.shutdown()
        os._exit(0)


def open_calls(settings: Settings, clock: Clock) -> "Store":
    """The store of table `queries`, recovered."""
    from storage.disk import OsDisk
    from storage.manifest import Manifest
    from storage.paths import Paths
    from storage.store import Store, StoreOptions

    sealed_seq = Manifest(lake_of(settings), "queries").snapshot().sealed_seq.get("", 0)
    options = StoreOptions(
        commit_ms=settings.number("COMMIT_MS"),
        tables=frozenset({"queries"}),
        sealed_seqs={"queries": sealed_seq},
        lock_name=CALLS_LOCK,
    )
    return Store.open(Paths(settings.data_dir), options, disk=OsDisk(), clock=clock)


def _query_service(settings: Settings) -> "QueryService":
    from storage.paths import Paths
    from storage.query import QueryLimits, QueryService

    limits = QueryLimits(
        seconds=float(settings.number("SQL_SECONDS")),
        rows=settings.number("RESULT_ROWS"),
        bytes=settings.number("RESULT_BYTES"),
        memory_bytes=settings.number("MEMORY_LIMIT"),
    )
    return QueryService(Paths(settings.data_dir), lake_of(settings), limits)


def build(
    settings: Settings, audit: "Audit", *, queries: "Queries | None", clock: Clock
) -> "FlightServer":
    """The server, listening from here on; raise SettingsError where it cannot."""
    import pyarrow as pa

    from flight_server.answers import Sources
    from flight_server.auth import CallBook
    from flight_server.keys import KeyRing
    from flight_server.put import Puts
    from flight_server.server import FlightServer, Place
    from flight_server.streams import Limits
    from storage.disk import OsDisk
    from storage.intake import IntakeClient
    from storage.paths import Paths
    from storage.view import Views

    paths = Paths(settings.data_dir)
    sources = Sources(
        views=Views(paths, lake_of(settings)),
        queries=queries,
        clock=clock,
        symbols=frozenset(settings.words("TASTYTRADE_SYMBOLS"))
        | frozenset(settings.words("SIERRA_SYMBOLS")),
        gex_tickers=frozenset(settings.words("GEXBOT_TICKERS")),
        retention_days=settings.number("RETENTION_DAYS"),
        puts=Puts(lambda: IntakeClient(paths), clock),
    )
    host, port = settings.text("HOST"), settings.number("FLIGHT_PORT")
    book = CallBook(KeyRing(paths.keys, disk=OsDisk(), clock=clock), audit, clock=clock)
    limits = Limits(settings.number("RESULT_ROWS"), settings.number("RESULT_BYTES"))
    try:
        return FlightServer(Place(host, port, _tls(settings)), book, sources, limits, paths.run)
    except (pa.ArrowException, OSError) as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} for Arrow Flight",
            hint="another program may use that port; choose another with --flight-port, or 0",
        ) from error


def _tls(settings: Settings) -> tuple[bytes, bytes] | None:
    if not settings.text("TLS_CERT"):
        return None
    try:
        return (
            Path(settings.text("TLS_CERT")).read_bytes(),
            Path(settings.text("TLS_KEY")).read_bytes(),
        )
    except OSError as error:
        raise SettingsError(
            f"TLS_CERT or TLS_KEY cannot be read: {error}", hint="both are PEM files"
        ) from error


def _publish_until(
    stop: threading.Event,
    settings: Settings,
    audit: "Audit",
    running: "RunningCalls",
    board: Board,
) -> None:
    """Keep this process's health board fresh until it is time to stop; others find us by it."""
    from storage.paths import Paths

    path = Paths(settings.data_dir).status("flight")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        board.state("flight", "ok")
        is_behind = audit.lost_count > 0
        detail = f"{audit.lost_count} calls could not be written down" if is_behind else ""
        board.state("audit", "degraded" if is_behind else "ok", detail)
        board.gauge("calls", audit.noted_count)
        board.gauge("calls_unwritten", audit.noted_count - audit.written_count)
        board.publish(path)
        running.obey()
        running.publish()
        if stop.wait(BOARD_S):
            return
