"""Keeps a DXLink connection alive and hands what it hears to the intake.

The reader stamps a frame and hands it on; it waits for neither decoding nor disk. It answers the
few words that keep a connection going and judges no data. Before a token is too old a second
connection is made beside the first; where that fails the first is kept.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

import anyio
import orjson
from anyio.abc import TaskGroup
from websockets.exceptions import WebSocketException

from core.board import Board
from core.clock import MINUTE_NS, NS_PER_MS, NS_PER_S, Clock
from core.errors import FeedError, FeedLost
from core.log import Log
from ingest import dxlink_wire as wire
from ingest.clock_proof import clock_error_s
from ingest.drift import Drift
from ingest.dxlink_decode import Frame
from ingest.dxlink_intake import Intake, Mark
from ingest.dxlink_session import Session
from ingest.dxlink_socket import Socket
from ingest.dxlink_wire import Message
from ingest.rolls import Instrument

log = Log("dxlink")
PART = "tastytrade"
KIND_BYTES = 128  # a message says within these what it is
LOGINS_MAX = 3  # those who log in again and again are locked out for hours
LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Timing:
    """Every period the client keeps; tests make them short."""

    keepalive_s: float = 30.0
    silence_s: float = 45.0  # longest time without any message
    opening_s: float = 20.0  # from connecting to live
    rotate_s: float = 23 * 3600.0
    relist_s: float = 900.0  # how often contracts are listed anew; a roll is noticed this late
    overlap_s: float = 5.0  # how long both connections are kept when one takes over
    backoff_min_s: float = 1.0
    backoff_max_s: float = 60.0
    logins_s: float = 11.0  # within these no more than LOGINS_MAX


@dataclass(frozen=True, slots=True)
class Access:
    """What one attempt needs: where to, with what, and what to listen to."""

    url: str
    token: str = field(repr=False)
    instruments: tuple[Instrument, ...]


class Gate(Protocol):
    """Lets one feed in; used and closed on the reader's loop."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    async def fetch_access(self) -> Access:
        """A fresh token and what to listen to; raise FeedLost or FeedRefused."""

    async def fetch_instruments(self) -> tuple[Instrument, ...]:
        """What to listen to now; raise FeedLost or FeedRefused."""


@dataclass(slots=True)
class Link:
    """One connection: `live` once subscribed, `over` once gone."""

    number: int
    session: Session
    scope: anyio.CancelScope
    socket: Socket | None = None
    is_live: bool = False
    is_over: bool = False
    heard_ns: int = 0
    changed: anyio.Event = field(default_factory=anyio.Event)

    def say(self, message: Message) -> None:
        """Send a message; a link that takes none is given up."""
        assert self.socket is not None
        try:
            self.socket.say(orjson.dumps(message))
        except FeedLost as error:
            log.warning("message.unsent", connection=self.number, reason=error.message)
            self.scope.cancel()

    def notice(self) -> None:
        """Wake whoever waits for this link's state."""
        self.changed.set()
        self.changed = anyio.Event()


class Client:
    """Connections of one feed. `run` owns the loop; the other methods may come from any thread."""

    def __init__(
        self,
        gate: Gate,
        intake: Intake,
        board: Board,
        clock: Clock,
        timing: Timing,
        drift: Drift,
    ) -> None:
        self._gate = gate
        self._intake = intake
        self._board = board
        self._clock = clock
        self._timing = timing
        self._drift = drift
        self._jitter = random.Random(clock.now_ns())  # noqa: S311  spreads attempts, no secret
        self._links: dict[int, Link] = {}
        self._connections = 0
        self._logins: deque[float] = deque(maxlen=LOGINS_MAX)  # when, by the loop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._house: TaskGroup | None = None

    async def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Stay connected until `stop`."""
        self._loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as house:
            self._house = house
            started()
            await self._stay_connected(house)

    def stop(self) -> None:
        """End `run`; every connection is closed and marked lost."""
        if self._house is not None:
            self._from_outside(self._house.cancel_scope.cancel)

    def send(self, connection: int, messages: Sequence[Message]) -> None:
        """Say something on a connection, if it is still there."""

        def hand_over() -> None:
            link = self._links.get(connection)
            if link is not None and link.socket is not None:
                for message in messages:
                    link.say(message)

        self._from_outside(hand_over)

    def drop(self, connection: int) -> None:
        """Hang up on a connection that does not deliver."""

        def cancel() -> None:
            if connection in self._links:
                self._links[connection].scope.cancel()

        self._from_outside(cancel)

    def _from_outside(self, action: Callable[[], None]) -> None:
        """Have the loop do something. Nobody waits for it: a loop that is ending might not."""
        if self._loop is None:
            return  # never got as far as a connection
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            return  # the loop has ended, and with it every connection

    async def _stay_connected(self, house: TaskGroup) -> None:
        present: Link | None = None
        failures = 0
        while True:
            link = await self._attempt(house)
            if link is None or not link.is_live:
                # While the old connection lives it is kept, and this is only tried again.
                failures += 1
                await anyio.sleep(self._backoff_s(failures))
                continue
            failures = 0
            if present is not None:
                await anyio.sleep(self._timing.overlap_s)
                present.scope.cancel()
            present = link
            with anyio.move_on_after(self._timing.rotate_s):
                while True:
                    with anyio.move_on_after(self._timing.relist_s):
                        await _until(link, lambda link=link: link.is_over)  # type: ignore[misc]
                    if link.is_over or await self._is_outlisted(link):
                        break
            if link.is_over:
                await anyio.sleep(self._backoff_s(1))

    async def _is_outlisted(self, link: Link) -> bool:
        """Whether something else should be listened to by now, as after a roll."""
        try:
            wanted = await self._gate.fetch_instruments()
        except FeedError as error:
            log.warning("contracts.unlisted", error=error.message)
            return False
        return set(wanted) != set(link.session.instruments)

    async def _attempt(self, house: TaskGroup) -> Link | None:
        """One connection, live or over; None where no access was to be had."""
        if len(self._logins) == LOGINS_MAX:
            waited_s = anyio.current_time() - self._logins[0]
            await anyio.sleep(max(self._timing.logins_s - waited_s, 0.0))
        try:
            access = await self._gate.fetch_access()
        except FeedError as error:
            self._board.state(PART, "degraded" if error.retry else "down", error.message)
            log.warning("access.refused", error=error.message, hint=error.hint)
            return None
        self._connections += 1
        link = Link(
            self._connections,
            Session(
                access.token,
                access.instruments,
                self._timing.keepalive_s,
                self._clock.now_ns() // MINUTE_NS * (MINUTE_NS // NS_PER_MS),
            ),
            anyio.CancelScope(),
        )
        house.start_soon(self._serve, link, access.url)
        with anyio.move_on_after(self._timing.opening_s):
            await _until(link, lambda: link.is_live or link.is_over)
        if not link.is_live:
            link.scope.cancel()
        return link

    async def _serve(self, link: Link, url: str) -> None:
        """A connection's life; its end is marked behind everything it brought."""
        reason = "closed by us"
        self._links[link.number] = link
        try:
            with link.scope:
                await self._converse(link, url)
        except* (OSError, UnicodeError, WebSocketException, FeedError) as errors:
            reason = "; ".join(_told(error) for error in errors.exceptions)
        finally:
            del self._links[link.number]
            link.is_over = True
            link.is_live = False
            link.notice()
            self._intake.mark(Mark(link.number, "lost", self._clock.now_ns(), reason))
            if not any(other.is_live for other in self._links.values()):
                self._board.state(PART, "degraded", f"not connected: {reason}")
            self._board.count("dxlink.disconnects")
            log.warning("connection.lost", connection=link.number, reason=reason)

    async def _converse(self, link: Link, url: str) -> None:
        asked_ns = self._clock.now_ns()
        link.socket = Socket(url, lambda payloads: self._hear(link, payloads))
        await link.socket.open()
        came_ns = self._clock.now_ns()
        error_s = clock_error_s(link.socket.date, asked_ns, came_ns)
        if error_s is not None:
            self._drift.tell(error_s)
            self._board.gauge(f"clock.error_s.{PART}", error_s)
            self._board.gauge(f"clock.told_s.{PART}", came_ns / NS_PER_S)
        try:
            link.heard_ns = self._clock.monotonic_ns()
            for message in link.session.start():
                link.say(message)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_alive, link)
                await link.socket.over()
        finally:
            with anyio.CancelScope(shield=True):
                await link.socket.close()

    def _hear(self, link: Link, payloads: Sequence[bytes]) -> None:
        link.heard_ns = self._clock.monotonic_ns()
        now_ns, number = self._clock.now_ns(), link.number
        run: list[Frame] = []
        for payload in payloads:
            run.append(Frame(now_ns, payload, number))
            if payload.find(b'"FEED_DATA"', 0, KIND_BYTES) < 0:
                # What it changes, as that a connection is live, comes before the data behind it.
                self._intake.offer(run)
                run = []
                self._control(link, payload)
        if run:
            self._intake.offer(run)

    def _control(self, link: Link, payload: bytes) -> None:
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return  # the decoder keeps it among the rejects
        if not isinstance(message, dict):
            return
        for reply in link.session.receive(message):
            link.say(reply)
            if reply["type"] == "AUTH":
                self._logins.append(anyio.current_time())
        if link.session.state == "live" and not link.is_live:
            link.is_live = True
            instruments = tuple(link.session.instruments)
            now_ns = self._clock.now_ns()
            self._intake.mark(Mark(link.number, "live", now_ns, instruments=instruments))
            self._board.state(PART, "ok", f"connection {link.number}")
            log.info("connection.opened", connection=link.number, symbols=len(instruments))
            link.notice()

    async def _keep_alive(self, link: Link) -> None:
        """Say that we live, and end a connection on which nothing has been heard for too long."""
        said_s = anyio.current_time()
        while True:
            # Looked at often, for how long the server waits it says only after the start.
            period_s = min(self._timing.keepalive_s, link.session.server_keepalive_s / 3)
            period_s = min(period_s, self._timing.silence_s / 3)
            await anyio.sleep(min(period_s, LOOK_S))
            if anyio.current_time() - said_s >= period_s:
                said_s = anyio.current_time()
                link.say(wire.keepalive())
            silent_s = (self._clock.monotonic_ns() - link.heard_ns) / NS_PER_S
            if silent_s > self._timing.silence_s:
                raise FeedLost(f"nothing heard for {silent_s:.1f} s")

    def _backoff_s(self, failures: int) -> float:
        longest = self._timing.backoff_min_s * 2.0 ** min(failures - 1, 20)
        longest = min(longest, self._timing.backoff_max_s)
        return longest * self._jitter.uniform(0.5, 1.0)


async def _until(link: Link, is_so: Callable[[], bool]) -> None:
    while not is_so():
        await link.changed.wait()


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_told(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"
