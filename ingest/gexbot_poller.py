"""Polls GEXBot: each ticker in a task of its own, on a fixed grid, without bursts.

A repeated second is no news and is not asked for again; what cannot be read is a reject; a refusal
stops its ticker and is shown, for only an operator can mend it.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.to_thread
import pyarrow as pa

from core.batch import Rejected
from core.board import Board
from core.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from core.errors import FeedError, FeedGarbled, FeedRefused, StoreError
from core.log import Log
from core.session import Sessions
from core.settings import Settings
from ingest.gex_latency import Latencies
from ingest.gex_snapshot import About, gex_batch, kind_of, parse_snapshot
from ingest.gex_values import Faulty, parse_json
from ingest.gexbot_client import Access, Answer, FeedSlowed, Gexbot, open_gexbot
from ingest.gexbot_plan import Grid, Plan

log = Log("gexbot")
PART: Final = "gexbot"
BACKOFF_S: Final = 2.0
BACKOFF_S_MAX: Final = 60.0
RESTART_S: Final = 5.0
TURN_S: Final = 0.25
FUTURE_SILENT_S: Final = 10.0  # these change every one and a half seconds or so
OTHER_SILENT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where snapshots go and what is told of them."""

    append_new: Callable[[str, pa.RecordBatch], list[bool | None]]
    reject: Callable[[list[Rejected]], object]
    board: Board


@dataclass(slots=True)
class _Ticker:
    """What is known of one ticker's polling."""

    name: str
    fetch_ms: Latencies = field(default_factory=Latencies)
    store_ms: Latencies = field(default_factory=Latencies)
    last_ns: int = 0
    wait_until_ns: int = 0  # by the clock that never runs back
    failures: int = 0

    @property
    def part(self) -> str:
        """Its part on the board."""
        return f"{PART} {self.name}"

    @property
    def silent_s(self) -> float:
        """How long there may be no news in regular hours."""
        return FUTURE_SILENT_S if "_" in self.name else OTHER_SILENT_S


class Poller:
    """One life of the poller, on one event loop."""

    def __init__(
        self,
        gexbot: Gexbot,
        place: Place,
        plan: Plan,
        clock: Clock,
        *,
        period_s: float = 1.0,
        rng: random.Random | None = None,
    ) -> None:
        self._gexbot = gexbot
        self._place = place
        self._plan = plan
        self._clock = clock
        self._period_ns = int(period_s * NS_PER_S)
        self._random = rng or random.SystemRandom()

    async def run(self, tickers: tuple[str, ...], stopping: threading.Event) -> None:
        """Poll until `stopping` is set."""
        async with anyio.create_task_group() as house:
            for name in tickers:
                house.start_soon(self._follow, _Ticker(name))
            house.start_soon(self._keep_warm, tickers)
            while not stopping.is_set():
                board = self._place.board
                board.gauge("gexbot.requests", self._gexbot.request_count)
                board.state(PART, "ok", f"{self._plan.hours(self._clock.now_ns())} hours")
                await anyio.sleep(TURN_S)
            house.cancel_scope.cancel()

    async def _follow(self, ticker: _Ticker) -> None:
        """One ticker, at each moment of the grid at which it is due."""
        grid = Grid(self._clock.monotonic_ns(), self._period_ns)
        while True:
            now_ns = self._clock.now_ns()
            has_waited = self._clock.monotonic_ns() >= ticker.wait_until_ns
            if has_waited and self._plan.is_due(now_ns, ticker.last_ns):
                ticker.last_ns = now_ns
                if not await self._poll(ticker):
                    return
            elif self._plan.hours(now_ns) == "closed":
                self._place.board.state(ticker.part, "closed", "the market is closed")
            moment_ns = self._clock.monotonic_ns()
            await anyio.sleep((grid.after(moment_ns) - moment_ns) / NS_PER_S)

    async def _poll(self, ticker: _Ticker) -> bool:
        """Ask once; False where asking again is of no use."""
        board = self._place.board
        board.count(f"gexbot.{ticker.name}.polls")
        try:
            answer = await self._gexbot.fetch_chain(ticker.name)
            await self._take(ticker, answer)
            ticker.failures = 0
        except FeedSlowed as error:
            self._slow_down(ticker, error)
        except FeedRefused as error:
            board.state(ticker.part, "down", f"{error.message}; {error.hint}")
            log.error("ticker.refused", ticker=ticker.name, why=error.message, hint=error.hint)
            return False
        except FeedError as error:
            board.count(f"gexbot.{ticker.name}.failures")
            ticker.failures += 1
            if ticker.failures >= ticker.silent_s:
                board.state(ticker.part, "degraded", error.message)
            log.debug("poll.failed", ticker=ticker.name, why=error.message)
        except StoreError as error:
            board.state(ticker.part, "down", error.message)
            log.error("snapshot.not_stored", ticker=ticker.name, why=error.message)
        return True

    async def _take(self, ticker: _Ticker, answer: Answer) -> None:
        began_ns = self._clock.monotonic_ns()
        ticker.fetch_ms.add(answer.ms)
        if answer.clock_error_s is not None:
            self._place.board.gauge("clock.error_s.GEXBot", answer.clock_error_s)
            self._place.board.gauge("clock.told_s.GEXBot", answer.recv_ns / NS_PER_S)
        row = self._row(ticker, answer)
        if row is None:
            return
        rows = gex_batch([row])
        (is_new,) = await anyio.to_thread.run_sync(self._place.append_new, "gex", rows)
        ticker.store_ms.add((self._clock.monotonic_ns() - began_ns) / NS_PER_MS)
        board = self._place.board
        event_us = row["ts_event"]
        assert isinstance(event_us, int)
        stale_s = answer.recv_ns / NS_PER_S - event_us * NS_PER_US / NS_PER_S
        board.gauge(f"gexbot.{ticker.name}.stale_s", round(stale_s, 3))
        ticker.fetch_ms.show(board, f"gexbot.{ticker.name}.fetch_ms")
        ticker.store_ms.show(board, f"gexbot.{ticker.name}.store_ms")
        outcome = "rejects" if is_new is None else "rows" if is_new else "repeats"
        board.count(f"gexbot.{ticker.name}.{outcome}")
        is_rth = self._plan.hours(answer.recv_ns) == "rth"
        if is_new or not is_rth:
            limit_s = ticker.silent_s if is_rth else None
            board.state(ticker.part, "ok", f"{stale_s:.1f} s behind its source", limit_s=limit_s)

    def _row(self, ticker: _Ticker, answer: Answer) -> dict[str, object] | None:
        """The snapshot as a row; None, and a reject, where it cannot be read."""
        about = About("api", answer.recv_ns, ticker.name, "classic", "gex_zero")
        try:
            found = parse_json(answer.body)
            kind = kind_of(found) if isinstance(found, dict) else None
            if not isinstance(found, dict) or kind is None:
                raise FeedGarbled("no snapshot")
            return parse_snapshot(kind, found, about)
        except (ValueError, FeedGarbled) as error:
            reason = str(error)[:500] if isinstance(error, Faulty) else "not a snapshot"
            self._place.board.count(f"gexbot.{ticker.name}.rejects")
            recv_us = answer.recv_ns // NS_PER_US
            self._place.reject(
                [Rejected("gex", ticker.name, "gexbot", reason, answer.body, recv_us)]
            )
            return None

    def _slow_down(self, ticker: _Ticker, error: FeedSlowed) -> None:
        """Wait as long as is asked, or ever longer, with some chance in it."""
        wait_s = error.wait_s
        if wait_s is None:
            wait_s = min(BACKOFF_S * 2.0**ticker.failures, BACKOFF_S_MAX)
            wait_s *= self._random.uniform(0.75, 1.0)
        ticker.failures += 1
        ticker.wait_until_ns = self._clock.monotonic_ns() + int(wait_s * NS_PER_S)
        board = self._place.board
        board.count(f"gexbot.{ticker.name}.slowed")
        board.state(ticker.part, "degraded", f"{error.message}; waits {wait_s:.1f} s")
        log.warning("ticker.slowed", ticker=ticker.name, wait_s=round(wait_s, 1))

    async def _keep_warm(self, tickers: tuple[str, ...]) -> None:
        """At the start and before each open: connect, and see whether the tickers exist."""
        await self._check_tickers(tickers)
        is_warm = True
        while True:
            is_warming = self._plan.is_warming(self._clock.now_ns())
            if is_warming and not is_warm:
                await self._check_tickers(tickers)
            is_warm = is_warming
            await anyio.sleep(TURN_S)

    async def _check_tickers(self, tickers: tuple[str, ...]) -> None:
        try:
            known = await self._gexbot.fetch_tickers()
        except (FeedError, ValueError) as error:
            log.info("tickers.unlisted", why=str(error)[:200])
            return
        for name in tickers:
            if known and name not in known:
                log.warning("ticker.unlisted", ticker=name, hint="see GEXBOT_TICKERS")
                self._place.board.count("gexbot.tickers_unlisted")


def start_poller(
    settings: Settings, place: Place, clock: Clock, stopping: threading.Event
) -> threading.Thread | None:
    """Poll in a thread; None, and "off" on the board, where no key is set.

    The caller sets `stopping` and joins the thread before it closes the store.
    """
    if not settings.text("GEXBOT_API_KEY"):
        place.board.state(PART, "off", "no GEXBOT_API_KEY")
        return None
    access = Access(settings.text("GEXBOT_BASE_URL"), settings.text("GEXBOT_API_KEY"))
    tickers = settings.words("GEXBOT_TICKERS")

    async def live() -> None:
        async with open_gexbot(access, clock) as gexbot:
            await Poller(gexbot, place, Plan(Sessions()), clock).run(tickers, stopping)

    def body() -> None:
        while not stopping.is_set():
            try:
                anyio.run(live)
            except Exception as error:
                place.board.state(PART, "down", type(error).__name__)
                log.exception("poller.stopped")
                stopping.wait(RESTART_S)

    thread = threading.Thread(target=body, name="gexbot")
    thread.start()
    return thread
