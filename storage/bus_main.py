"""The processes that talk to Redis: the mirror beside a writer, and the follower in its place."""

import gc
import os
import threading
from collections.abc import Callable, Mapping
from typing import Final

from core.board import Board
from core.clock import Clock
from core.errors import SettingsError
from core.schema import TABLES
from core.settings import Settings
from storage.bus import Bus
from storage.bus_copy import Copy
from storage.bus_mirror import Mirror, Shared
from storage.copy_store import CopyPlace, check_is_copy
from storage.disk import OsDisk
from storage.lake import lake_of, pull_at_start
from storage.paths import Paths
from storage.tape_id import tape_id
from storage.view import Views

BOARD_S: Final = 0.5
NICE: Final = 10  # the tape and its answers go first
READY_S_MAX: Final = 30.0


def run_mirror(
    settings: Settings,
    *,
    clock: Clock,
    ready: Callable[[Mapping[str, object]], None],
    stopping: threading.Event,
) -> None:
    """Share the tape on REDIS_URL until told to stop; the writer must have made its tables.

    It is ready at once: whether Redis answers is a state on the board.
    """
    os.nice(NICE)
    paths = Paths(settings.data_dir)
    bus = open_bus(settings.text("REDIS_URL"), "tickflight-mirror")
    board = Board("mirror", clock)
    views = Views(paths, lake_of(settings))
    shared = Shared(
        tape_id(paths, OsDisk()), settings.number("HOT_MINUTES"), settings.number("COMMIT_MS")
    )
    mirror = Mirror(views, bus, shared, clock, board)
    showing = threading.Thread(
        target=keep_fresh, args=(board, paths, mirror.show, stopping), name="board"
    )
    showing.start()
    # What lives as long as the process need not be looked through again by the collector.
    gc.collect()
    gc.freeze()
    try:
        ready({})
        mirror.run(stopping)
    finally:
        stopping.set()
        showing.join()


def run_follow(
    settings: Settings,
    *,
    clock: Clock,
    ready: Callable[[Mapping[str, object]], None],
    stopping: threading.Event,
) -> None:
    """Build a hot hour of its own from REDIS_URL until told to stop.

    It is ready when it has all that is on Redis, when Redis does not answer, or after a while.
    Raise SettingsError where the folder holds a tape of its own.
    """
    paths = Paths(settings.data_dir)
    if not settings.text("REDIS_URL"):
        raise SettingsError("--follow: no Redis to follow", hint="give its URL, or set REDIS_URL")
    check_is_copy(paths)
    bus = open_bus(settings.text("REDIS_URL"), "tickflight-follow")
    board = Board("follow", clock)
    lake = lake_of(settings)
    pull_at_start(lake, list(TABLES))
    place = CopyPlace(paths, lake, settings.number("COMMIT_MS"))
    copy = Copy(place, bus, settings.number("HOT_MINUTES"), clock, board)
    copy.start()
    following = threading.Thread(target=copy.run, args=(stopping,), name="follow")
    following.start()
    try:
        copy.settled.wait(READY_S_MAX)
        ready({})
        keep_fresh(board, paths, copy.show, stopping)
    finally:
        stopping.set()
        following.join()


def open_bus(url: str, name: str) -> Bus:
    """A connection that is not open yet; raise SettingsError where the address cannot be."""
    try:
        return Bus(url, name)
    except ValueError as error:
        raise SettingsError(
            f"REDIS_URL: {error}", hint="expected redis://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None


def keep_fresh(
    board: Board, paths: Paths, show: Callable[[], None], stopping: threading.Event
) -> None:
    """Publish a board until it is time to stop, then take it away."""
    path = paths.status(board.process)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        show()
        board.publish(path)
        if stopping.wait(BOARD_S):
            board.withdraw(path)
            return
