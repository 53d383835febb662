"""Sierra Chart's files as feeds of the ingest process: one thread that polls, one that compares.

Both end when `stopping` is set. A thread that breaks is started anew, which is the same as starting
after a crash.
"""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.board import Board
from core.clock import NS_PER_MS, Clock
from core.log import Log
from core.settings import Settings
from ingest.gapbook import Ledger
from ingest.patient import PatientStore, Take
from ingest.sierra_place import SierraPlace
from ingest.sierra_reference import Reference
from ingest.sierra_tape import SierraTape
from ingest.spot_checks import PART as SPOT_PART
from ingest.spot_checks import SpotChecks, own_checks
from ingest.spot_scid import ScidCheck
from ingest.stored import StoredNumbers
from ingest.witness import PART as WITNESS_PART
from ingest.witness import Witness
from storage.lake import lake_of
from storage.paths import Paths
from storage.view import Views

log = Log("sierra")
POLL_S = 0.1
WITNESS_S = 10.0
RESTART_S = 5.0
DEPTH_FOLDER = "MarketDepthData"
PARTS = ("sierra depth", "sierra trades")


@dataclass(frozen=True, slots=True)
class Doors:
    """What the feeds are given of the process they run in."""

    take: Take
    ledger: Ledger
    board: Board
    clock: Clock
    stopping: threading.Event


def start_sierra(settings: Settings, doors: Doors) -> list[threading.Thread]:
    """Start the feeds; none, and "off" on the board, where Sierra's folder is absent.

    The caller sets `stopping` and joins the threads before it closes the store.
    """
    data = settings.sierra_dir / "Data"
    if not data.is_dir():
        for part in (*PARTS, WITNESS_PART):
            doors.board.state(part, "off", f"no folder {data}")
        return []
    threads = [
        threading.Thread(target=_forever, args=(settings, doors, run, PARTS), name="sierra"),
        threading.Thread(
            target=_forever, args=(settings, doors, compare, (WITNESS_PART,)), name="witness"
        ),
    ]
    for thread in threads:
        thread.start()
    return threads


def open_place(settings: Settings, doors: Doors, part: str) -> SierraPlace:
    """What a feed works with."""
    views = Views(Paths(settings.data_dir), lake_of(settings))
    store = PatientStore(doors.take, doors.ledger, doors.board, part, doors.stopping)
    roots = frozenset(root.upper() for root in settings.words("SIERRA_SYMBOLS"))
    tape, numbers = SierraTape(views), StoredNumbers(views)
    return SierraPlace(store, tape, numbers, doors.board, doors.clock, roots)


def fed_roots(settings: Settings) -> frozenset[str]:
    """Roots whose trades another feed brings."""
    secrets = ("TASTYTRADE_CLIENT_SECRET", "TASTYTRADE_REFRESH_TOKEN")
    if not all(settings.text(name) for name in secrets):
        return frozenset()
    return frozenset(root.upper() for root in settings.words("TASTYTRADE_SYMBOLS"))


def run(settings: Settings, doors: Doors) -> None:
    """Poll until told to stop."""
    # The kernel's library takes a second to load; only who has such files waits for it.
    from ingest.book import warm_up
    from ingest.sierra_depth import DepthFeed
    from ingest.sierra_trades import TradesFeed

    warm_up()
    place = open_place(settings, doors, PARTS[0])
    data = settings.sierra_dir / "Data"
    depth = DepthFeed(place, data / DEPTH_FOLDER)
    trades = TradesFeed(place, data, fed_roots(settings))
    while not doors.stopping.is_set():
        started_ns = doors.clock.monotonic_ns()
        # Trades first: depth is judged by them.
        depth.poll(trades.poll())
        took_ms = (doors.clock.monotonic_ns() - started_ns) / NS_PER_MS
        doors.board.gauge("sierra.poll_ms", took_ms)
        doors.stopping.wait(POLL_S)


def compare(settings: Settings, doors: Doors) -> None:
    """Hold the feeds' trades against the intraday files until told to stop."""
    place = open_place(settings, doors, WITNESS_PART)
    reference = Reference(place, settings.sierra_dir / "Data")
    witness = Witness(place, reference, fed_roots(settings))
    while not doors.stopping.wait(WITNESS_S):
        witness.round()


def run_spot_checks(settings: Settings, doors: Doors) -> None:
    """Take samples of the tape until told to stop; against the intraday files where there are."""
    checks = own_checks(Paths(settings.data_dir), lake_of(settings))
    data = settings.sierra_dir / "Data"
    if data.is_dir():
        place = open_place(settings, doors, SPOT_PART)
        checks.append(ScidCheck(place, Reference(place, data), random.SystemRandom()).check)
    views = Views(Paths(settings.data_dir), lake_of(settings))
    SpotChecks(doors.ledger, views, doors.board, doors.clock, checks).run(doors.stopping)


def _forever(
    settings: Settings, doors: Doors, body: Callable[[Settings, Doors], None], parts: Sequence[str]
) -> None:
    while not doors.stopping.is_set():
        try:
            body(settings, doors)
        except Exception as error:
            for part in parts:
                doors.board.state(part, "down", f"{type(error).__name__}: {error}")
            log.exception("feed.stopped")
            doors.stopping.wait(RESTART_S)
