"""Ten frames a second for everybody: each topic is gathered and written down once, whoever reads.

Nothing queues. When a round is gathered, every watcher is handed the newest of its topics in one
go, as bytes that were written for all who know as much. Who is skipped: whose last frame is still
on its way, and whose page owes us an answer. A page tells every ACK_EVERY rounds what it painted
last; once it is OVERDUE_MAX frames late with that, it gets nothing until it has caught up. With
nobody watching the hub looks once a second, so that the next page starts from now.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread
import orjson

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.log import Log
from webui.picture import Gatherer
from webui.rounds import Round, Topic
from webui.sheets import (
    coverage_sheet,
    events_sheet,
    gex_frame,
    queries_sheet,
    status_sheet,
    symbols_sheet,
)
from webui.views_live import bar_frame, shown_ladder

TICK_NS = 100 * NS_PER_MS
REST_NS = 10 * NS_PER_MS  # at least, between ticks
SLOW_TICKS = 10  # what is told once a second, each at a tick of its own: no frame holds all of it
SLOW_AT = {"status": 0, "queries": 2, "lags": 4, "events": 7, "coverage": 9}
TEXT_TICKS = (1, 3, 6, 8)  # symbols: four times a second
GEX_TICK = 5  # gamma: once a second
CHECK_ROUNDS = 20  # whether a watcher's session lasts: every two seconds
TOPICS_MAX = 16
WATCHERS_MAX = 100
ACK_EVERY = 5  # rounds after which a page tells what it painted last (static/stream.js)
OVERDUE_MAX = 3
UNACKED_MAX = ACK_EVERY + OVERDUE_MAX
TOPIC = re.compile(
    r"status|symbols|queries|events|coverage|lags|(bar|ladder|gex):[A-Z0-9._/$-]{1,32}"
)
log = Log("web")


class Outlet(Protocol):
    """Where a watcher's frames go."""

    def write(self, frame: bytes) -> bool:
        """Take a frame without waiting; False where there is no room for it now."""


@dataclass(eq=False, slots=True)
class Watcher:
    """One socket: what it wants, the round it has seen, and what it has not yet said it got."""

    session_id: str
    outlet: Outlet
    is_over: Callable[[], bool] = lambda: False  # whether its session is
    end: Callable[[], None] = lambda: None
    topics: tuple[str, ...] = ()
    seen: int = -1
    unacked: list[int] = field(default_factory=list)
    is_paused: bool = False
    is_revoked: bool = False

    def want(self, topics: Collection[str]) -> None:
        """Follow exactly these, from a whole frame on."""
        self.topics = tuple(dict.fromkeys(t for t in topics if TOPIC.fullmatch(t)))[:TOPICS_MAX]
        self.seen = -1

    def ack(self, number: int) -> None:
        """The page has painted this frame and all before it."""
        self.unacked = [n for n in self.unacked if n > number]

    def pause(self, is_paused: bool) -> None:
        """Send nothing, or go on."""
        self.is_paused = is_paused
        self.unacked.clear()

    @property
    def may_send(self) -> bool:
        """Whether another frame would be looked at."""
        return not self.is_paused and len(self.unacked) < UNACKED_MAX


class Hub:
    """The one writer of frames."""

    def __init__(self, gatherer: Gatherer, clock: Clock) -> None:
        self.gatherer = gatherer
        self.watchers: set[Watcher] = set()
        self._clock = clock
        self._topics: dict[str, Topic] = {}
        self._tick = 0
        self._round = Round(0, 0, {})
        self._handed_out = 0
        self._makers: Mapping[str, Callable[[], object]] = {
            "status": lambda: status_sheet(gatherer).as_dict(),
            "queries": lambda: queries_sheet(gatherer).as_dict(),
            "events": lambda: events_sheet(gatherer).as_dict(),
            "coverage": lambda: coverage_sheet(gatherer).as_dict(),
            "lags": lambda: gatherer.lags.sheet().as_dict(),
        }
        self._made_of: Mapping[str, Callable[[], object]] = {
            "events": lambda: gatherer.journal.version,
            "coverage": lambda: gatherer.coverage.paths,
        }

    async def run(self) -> None:
        """Tick until cancelled, in a thread of our own: what it reads may be on a disk."""
        stopping = threading.Event()
        show = partial(asyncio.get_running_loop().call_soon_threadsafe, self._hand_out)
        try:
            work = partial(self._work, stopping, show)
            await anyio.to_thread.run_sync(
                work, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True
            )
        finally:
            stopping.set()

    def _work(self, stopping: threading.Event, show: Callable[[], object]) -> None:
        due_ns = self._clock.monotonic_ns()
        while True:
            wanted: frozenset[str] = frozenset().union(*(w.topics for w in self.watchers.copy()))
            if wanted or self._tick % SLOW_TICKS == 0:
                try:
                    self._gather(wanted)
                except Exception:
                    # The next tick may do better; ages on the pages say what is old.
                    log.exception("tick.failed")
                self._show()
            now_ns = self._clock.monotonic_ns()
            due_ns = max(due_ns + TICK_NS, now_ns + REST_NS)  # what was missed is not made up for
            if self.watchers and not stopping.is_set():
                show()
            self._tick += 1
            if stopping.wait((due_ns - now_ns) / NS_PER_S):
                return

    def offer(self, watcher: Watcher) -> None:
        """Send what is new for a watcher, where it would be looked at; end one that is revoked."""
        if watcher.is_revoked:
            watcher.end()
        if watcher.is_revoked or not watcher.may_send:
            return
        now = self._round
        frame = now.frame(watcher.topics, watcher.seen)
        if frame is not None and watcher.outlet.write(frame):
            watcher.seen = now.number
            watcher.unacked.append(now.number)

    def revoke(self, session_id: str) -> None:
        """Have the sockets of a session closed at the next tick."""
        for watcher in self.watchers.copy():
            if watcher.session_id == session_id:
                watcher.is_revoked = True

    def _show(self) -> None:
        """Let what was gathered be seen, as of one tick."""
        now_ms = self._clock.now_ns() // NS_PER_MS
        self._round = Round(self._tick, now_ms, self._topics.copy())

    def _hand_out(self) -> None:
        self._handed_out += 1
        is_check = self._handed_out % CHECK_ROUNDS == 0
        for watcher in self.watchers:
            watcher.is_revoked |= is_check and watcher.is_over()
            self.offer(watcher)

    def _gather(self, wanted: Collection[str]) -> None:
        is_slow = self._tick % SLOW_TICKS == 0
        # What nobody watched for a while is old; whoever asks again gets it fresh.
        self._topics = {name: topic for name, topic in self._topics.items() if name in wanted}
        if is_slow:
            self.gatherer.look()
        by_kind: dict[str, list[str]] = {}
        for topic in wanted:
            kind, _, symbol = topic.partition(":")
            by_kind.setdefault(kind, []).append(symbol)
        part = self._tick % SLOW_TICKS
        is_text = "symbols" in by_kind and part in TEXT_TICKS
        for name in (name for name, at in SLOW_AT.items() if at == part and name in by_kind):
            self._publish_slow(name)
        if not is_slow:
            known = self.gatherer.market.symbols
            drawn = [name for name in by_kind.get("bar", ()) if name in known]
            priced = [name for name in known if name not in drawn] if is_text else []
            self.gatherer.look_at(drawn, priced=priced)
        if is_text:
            self._publish("symbols", symbols_sheet(self.gatherer).as_dict())
        for symbol in by_kind.get("gex", ()) if part == GEX_TICK else ():
            self._publish(f"gex:{symbol}", gex_frame(self.gatherer, symbol))
        for symbol in by_kind.get("bar", ()):
            self._publish_bar(symbol)
        for symbol in by_kind.get("ladder", ()):
            self._publish_ladder(symbol)

    def _publish_bar(self, symbol: str) -> None:
        known = self.gatherer.market.symbols.get(symbol)
        made_of = None if known is None else (known.bars.seq, known.price)
        if self._is_new(f"bar:{symbol}", made_of):
            self._publish(f"bar:{symbol}", bar_frame(self.gatherer, symbol), made_of)

    def _publish_ladder(self, symbol: str) -> None:
        row = self.gatherer.market.ladder(symbol)
        made_of = None if row is None else row["seq"]
        if self._is_new(f"ladder:{symbol}", made_of):
            body = None if row is None else shown_ladder(row)
            self._publish(f"ladder:{symbol}", body, made_of)

    def _publish_slow(self, name: str) -> None:
        made_of = self._made_of[name]() if name in self._made_of else None
        if self._is_new(name, made_of):
            self._publish(name, self._makers[name](), made_of)

    def _is_new(self, name: str, made_of: object) -> bool:
        """Whether a topic must be made; one of which nothing is told always is."""
        known = self._topics.get(name)
        return made_of is None or known is None or known.made_of != made_of

    def _publish(self, name: str, value: object, made_of: object = None) -> None:
        body = orjson.dumps(value)
        known = self._topics.get(name)
        if known is not None and known.body == body:
            known.made_of = made_of
        else:
            self._topics[name] = Topic(self._tick, body, made_of)
