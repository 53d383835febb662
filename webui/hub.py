"""Ten frames a second for everybody: each topic is gathered and written down once, whoever reads.

Nothing queues. A watcher is told that there is news and takes the newest of each of its topics when
its last frame is on its way; what came between is skipped, which the page says. With nobody
watching the hub looks once a second, so that the next page starts from now.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread
import orjson

from core.clock import NS_PER_MS, Clock
from core.log import Log
from webui.picture import Gatherer
from webui.sheets import (
    coverage_sheet,
    events_sheet,
    gex_frame,
    queries_sheet,
    status_sheet,
    symbols_sheet,
)
from webui.views_live import bar_frame, shown_ladder

TICK_S = 0.1
SLOW_TICKS = 10  # status, queries, events, gamma: once a second
TEXT_TICKS = (0, 3, 5, 8)  # symbols: four times a second
TOPICS_MAX = 16
WATCHERS_MAX = 100
UNACKED_MAX = 4  # of which a page that keeps up leaves one unacknowledged
TOPIC = re.compile(
    r"status|symbols|queries|events|coverage|lags|(bar|ladder|gex):[A-Z0-9._/$-]{1,32}"
)
log = Log("web")


@dataclass(slots=True)
class Topic:
    """The newest value of a topic as JSON; `version` is the tick it changed at.

    As long as what it was `made_of` is the same, it need not be made again.
    """

    version: int
    body: bytes
    made_of: object = None


@dataclass(eq=False, slots=True)
class Watcher:
    """One socket: what it wants, what it has, and what it has not yet said it got."""

    session_id: str
    sent: dict[str, int] = field(default_factory=dict)
    unacked: list[int] = field(default_factory=list)
    is_paused: bool = False
    is_revoked: bool = False

    def want(self, topics: Collection[str]) -> None:
        """Follow exactly these; new ones are sent whole."""
        named = [t for t in topics if TOPIC.fullmatch(t)][:TOPICS_MAX]
        self.sent = {topic: self.sent.get(topic, -1) for topic in named}

    def ack(self, number: int) -> None:
        """The page has painted this frame and all before it."""
        self.unacked = [n for n in self.unacked if n > number]

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
        self._turn = anyio.Event()
        self._frames: dict[tuple[str, ...], str] = {}
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
        """Tick until cancelled."""
        while True:
            started = anyio.current_time()
            wanted = frozenset(topic for w in self.watchers for topic in w.sent)
            if wanted or self._tick % SLOW_TICKS == 0:
                try:
                    await anyio.to_thread.run_sync(self._gather, wanted)
                except Exception:
                    # The next tick may do better; ages on the pages say what is old.
                    log.exception("tick.failed")
                self._frames = {}
                turn, self._turn = self._turn, anyio.Event()
                turn.set()
            self._tick += 1
            await anyio.sleep(max(TICK_S - (anyio.current_time() - started), 0.01))

    async def turn(self) -> None:
        """Return when the next round is gathered."""
        await self._turn.wait()

    def frame(self, watcher: Watcher) -> tuple[int, str] | None:
        """(number, text) of what is new for a watcher, None where nothing is."""
        fresh = tuple(
            name
            for name, seen in watcher.sent.items()
            if name in self._topics and self._topics[name].version > seen
        )
        if not fresh:
            return None
        text = self._frames.get(fresh)
        if text is None:
            parts = b",".join(orjson.dumps(name) + b":" + self._topics[name].body for name in fresh)
            now_ms = self._clock.now_ns() // NS_PER_MS
            head = b'{"v":1,"n":%d,"t":%d,"d":{' % (self._tick, now_ms)
            text = self._frames[fresh] = (head + parts + b"}}").decode()
        for name in fresh:
            watcher.sent[name] = self._topics[name].version
        watcher.unacked.append(self._tick)
        return self._tick, text

    def revoke(self, session_id: str) -> None:
        """Have the sockets of a session closed at the next tick."""
        for watcher in self.watchers.copy():
            if watcher.session_id == session_id:
                watcher.is_revoked = True

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
        if is_slow:
            self._publish_slow(by_kind)
        elif "symbols" in by_kind and self._tick % SLOW_TICKS in TEXT_TICKS:
            self.gatherer.look_at(list(self.gatherer.market.symbols))
        else:
            known = self.gatherer.market.symbols
            self.gatherer.look_at([name for name in by_kind.get("bar", ()) if name in known])
        if "symbols" in by_kind and self._tick % SLOW_TICKS in TEXT_TICKS:
            self._publish("symbols", symbols_sheet(self.gatherer).as_dict())
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

    def _publish_slow(self, by_kind: Mapping[str, Sequence[str]]) -> None:
        for name, make in self._makers.items():
            made_of = self._made_of[name]() if name in self._made_of else None
            if name in by_kind and self._is_new(name, made_of):
                self._publish(name, make(), made_of)
        for symbol in by_kind.get("gex", ()):
            self._publish(f"gex:{symbol}", gex_frame(self.gatherer, symbol))

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
