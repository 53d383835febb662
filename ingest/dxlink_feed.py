"""The tastytrade feed: a reader thread that only listens, and a decoder thread that keeps.

Both end when `stopping` is set; everything heard until then is stored first. A feed that breaks is
started anew, which is the same as starting after a crash.
"""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from core.clock import NS_PER_S, Clock
from core.errors import FeedLost
from core.log import Log
from core.settings import Settings
from ingest.dxlink_client import PART, Access, Client, Gate, Timing
from ingest.dxlink_intake import FRAMES_MAX, Intake
from ingest.dxlink_keeper import Keeper, Place
from ingest.dxlink_line import Patience
from ingest.rolls import Instrument, RollMap
from ingest.tastytrade import Tastytrade
from storage.disk import OsDisk
from storage.paths import Paths

log = Log("dxlink")
ENTRIES_MAX = 5_000
IDLE_S = 0.05
TICK_STEPS = 4  # how often what did not happen is looked at, in steps of `gather_s`
RESTART_S = 5.0

SetFront = Callable[[str, str], None]  # symbol, contract


@dataclass(frozen=True, slots=True)
class Periods:
    """Everything the feed waits for; what comes within `gather_s` is sliced together.

    `frames_max` may wait for the decoder in memory, more of them go through the journal.
    """

    timing: Timing = field(default_factory=Timing)
    patience: Patience = field(default_factory=Patience)
    gather_s: float = 0.018
    frames_max: int = FRAMES_MAX


class Login:
    """The gate of the real service. Contracts are resolved anew for each connection.

    `set_front` is told each root's front contract, at once as the map on disk has it.
    """

    def __init__(
        self, settings: Settings, rolls: RollMap, clock: Clock, set_front: SetFront
    ) -> None:
        self._set_front = set_front
        self._symbols = settings.words("TASTYTRADE_SYMBOLS")
        self._rolls = rolls
        self._clock = clock
        self._door = Tastytrade(
            settings.text("TASTYTRADE_API_URL"),
            settings.text("TASTYTRADE_CLIENT_SECRET"),
            settings.text("TASTYTRADE_REFRESH_TOKEN"),
        )
        self._tell_fronts()

    async def __aenter__(self) -> "Login":
        await self._door.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._door.__aexit__(*error)

    async def fetch_access(self) -> Access:
        """A fresh token; the last good roll map where contracts cannot be listed."""
        token = await self._door.fetch_quote_token()
        try:
            instruments = await self.fetch_instruments()
        except FeedLost as error:
            if not self._rolls.rolls:
                raise
            log.warning("contracts.unlisted", error=error.message)
            instruments = self._rolls.instruments(self._symbols, self._clock.now_ns())
        return Access(token.url, token.token, instruments)

    async def fetch_instruments(self) -> tuple[Instrument, ...]:
        """What to listen to by what the service lists now, kept in the roll map."""
        listed = await self._door.fetch_futures(self._symbols)
        now_ns = self._clock.now_ns()
        for roll in self._rolls.update(listed, now_ns):
            log.info("contract.rolled", root=roll.root, contract=roll.contract)
        for root, count in self._rolls.unclear.items():
            taken = self._rolls.front(root)
            log.warning("front.unclear", root=root, marked=count, taken=taken and taken.contract)
        self._tell_fronts()
        return self._rolls.instruments(self._symbols, now_ns)

    def _tell_fronts(self) -> None:
        now_ns = self._clock.now_ns()
        for root in self._symbols:
            roll = self._rolls.front_at(root, now_ns)
            if roll is not None:
                self._set_front(root, roll.contract)


def run(
    gate: Gate,
    place: Place,
    *,
    clock: Clock,
    journal: Path,
    periods: Periods,
    stopping: threading.Event,
) -> None:
    """Feed the tape until `stopping` is set. Blocks; the reader has a thread of its own."""
    with closing(Intake(journal, frames_max=periods.frames_max)) as intake:
        client = Client(gate, intake, place.board, clock, periods.timing, place.drift)
        keeper = Keeper(place, client, clock=clock, patience=periods.patience, stopping=stopping)
        started = threading.Event()
        reader = threading.Thread(
            target=_listen, args=(gate, client, started.set), name="dxlink reader"
        )
        reader.start()
        started.wait()
        try:
            steps, rest_s = 0, 0.0
            while not stopping.wait(rest_s):
                entries = intake.take(ENTRIES_MAX, IDLE_S)
                took_ns = clock.monotonic_ns()
                keeper.process(entries)
                steps += 1
                if not entries or steps % TICK_STEPS == 0:
                    keeper.tick()
                    place.board.gauge("dxlink.backlog", intake.waiting_count)
                    place.board.gauge("dxlink.spilled", intake.spilled_count)
                if not reader.is_alive():
                    raise FeedLost("the reader ended by itself")
                took_s = (clock.monotonic_ns() - took_ns) / NS_PER_S
                # What breaks a silence is not kept waiting for others.
                rest_s = max(periods.gather_s - took_s, 0.0) if entries else 0.0
            client.stop()
            reader.join()
            while entries := intake.take(ENTRIES_MAX, 0):
                keeper.process(entries)
        finally:
            client.stop()
            reader.join()


def _listen(gate: Gate, client: Client, started: Callable[[], None]) -> None:
    """The reader thread's life; `started` is called however it ends."""

    async def live() -> None:
        async with gate:
            await client.run(started)

    try:
        anyio.run(live, backend_options={"use_uvloop": True})
    finally:
        started()


def start_feed(
    settings: Settings,
    place: Place,
    *,
    set_front: SetFront,
    clock: Clock,
    stopping: threading.Event,
) -> threading.Thread | None:
    """Start the feed in a thread; None, and "off" on the board, where no credentials are set.

    The caller sets `stopping` and joins the thread before it closes the store.
    """
    secret = settings.text("TASTYTRADE_CLIENT_SECRET")
    if not (secret and settings.text("TASTYTRADE_REFRESH_TOKEN")):
        place.board.state(PART, "off", "no credentials")
        return None
    place.backfills.open(PART)
    paths = Paths(settings.data_dir)
    rolls = RollMap(paths.root / "rolls.json", OsDisk())

    def body() -> None:
        while not stopping.is_set():
            try:
                run(
                    Login(settings, rolls, clock, set_front),
                    place,
                    clock=clock,
                    journal=paths.run / "dxlink.journal",
                    periods=Periods(),
                    stopping=stopping,
                )
            except Exception as error:
                place.board.state(PART, "down", f"{type(error).__name__}: {error}")
                log.exception("feed.stopped")
                stopping.wait(RESTART_S)

    thread = threading.Thread(target=body, name="dxlink")
    thread.start()
    return thread
