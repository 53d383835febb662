"""One DXLink connection used to find out what a token is given. Stores nothing."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import numpy as np
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from core.clock import NS_PER_S, Clock
from core.errors import FeedLost
from ingest import dxlink_wire as wire
from ingest.dxlink_columns import read_candles, read_day_volumes, read_prints
from ingest.dxlink_decode import SYMBOL_FIELD, Decoder, Frame, Garbled, Rows, Scanned
from ingest.dxlink_socket import MESSAGE_BYTES_MAX
from ingest.dxlink_wire import HISTORY, MINUTES, REMOVE, STREAM, Event, Item, Message
from ingest.dxlink_witness import Court

STEP_S = 10.0
SAID_MAX = 200


@dataclass(slots=True)
class Heard:
    """What came on one connection: rows by contract, type and symbol, and what was said."""

    rows: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    flags: dict[str, int] = field(default_factory=dict)  # of history, by symbol
    history_rows: Counter[str] = field(default_factory=Counter)
    history_from_us: dict[str, int] = field(default_factory=dict)
    configs: list[Message] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    courts: dict[str, Court] = field(default_factory=dict)
    garbled: list[str] = field(default_factory=list)
    largest_frame_bytes: int = 0


class Probe:
    """A connection that is logged in."""

    def __init__(self, socket: ClientConnection, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
        self._decoder = Decoder()
        self.heard = Heard()

    @property
    def is_deflated(self) -> bool:
        """Whether the server agreed to compress."""
        return any(e.name == "permessage-deflate" for e in self._socket.protocol.extensions)

    async def say(self, messages: Iterable[Message]) -> None:
        """Send messages."""
        for message in messages:
            await self._socket.send(orjson.dumps(message).decode())

    async def hear(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Listen for a time, or until something is so; raise FeedLost where the other hangs up."""
        try:
            with anyio.move_on_after(seconds):
                while not is_enough():
                    with anyio.move_on_after(STEP_S):
                        self._take(await self._socket.recv(decode=False))
                        continue
                    await self.say([wire.keepalive()])
        except (OSError, WebSocketException) as error:
            raise FeedLost(f"the server hung up: {type(error).__name__}") from error

    async def open(self, channels: Sequence[int], timeout_s: float) -> None:
        """Open channels and set them up for every type of event."""
        for channel in channels:
            await self.say([wire.channel_request(channel)])
        await self.hear(timeout_s, lambda: set(channels) <= set(self.heard.opened))
        for channel in channels:
            await self.say([wire.feed_setup(channel, list(wire.FIELDS))])

    async def subscribe(self, channel: int, items: Sequence[Item]) -> None:
        """Ask for events."""
        await self.say(wire.subscribe(channel, items))

    def _take(self, payload: str | bytes) -> None:
        assert isinstance(payload, bytes)
        heard = self.heard
        heard.largest_frame_bytes = max(heard.largest_frame_bytes, len(payload))
        if b'"FEED_CONFIG"' in payload[:200] and len(heard.configs) < SAID_MAX:
            heard.configs.append(orjson.loads(payload))
        for part in self._decoder.decode([Frame(self._clock.now_ns(), payload)]):
            if isinstance(part, Garbled):
                heard.garbled.append(part.reason)
                del heard.garbled[SAID_MAX:]
            elif isinstance(part, Rows):
                self._take_rows(part)
            elif isinstance(part, Scanned):
                raise AssertionError("a decoder without a scanner has scanned")
            elif part["type"] == "ERROR":
                heard.errors.append(f"{part.get('error')}: {part.get('message')}"[:SAID_MAX])
            elif part["type"] == "AUTH_STATE":
                heard.states.append(str(part.get("state")))
            elif part["type"] == "CHANNEL_OPENED":
                heard.opened.append(part["channel"])

    def _take_rows(self, rows: Rows) -> None:
        contract = wire.CONTRACTS.get(rows.channel, str(rows.channel))
        names = rows.values[SYMBOL_FIELD]
        flags = rows.values.get("eventFlags", [0] * len(names))
        pairs = zip(names, flags, strict=True)
        named = [name for name, f in pairs if not (isinstance(f, int) and f & REMOVE)]
        for symbol, count in Counter(named).items():
            self.heard.rows[contract, rows.event, symbol] += count
        now_ns = self._clock.monotonic_ns()
        if rows.event == "TimeAndSale":
            self._take_prints(rows)
        elif rows.event == "Trade":
            for symbol, told in read_day_volumes(rows).by_symbol(rows):
                self._court(symbol).hear_day_volume(told, now_ns)
        elif rows.event == "Candle":
            for symbol, told in read_candles(rows).by_symbol(rows):
                if symbol.endswith(MINUTES):
                    kept = (told["flags"] & REMOVE) == 0
                    candles = {name: column[kept] for name, column in told.items()}
                    self._court(symbol.removesuffix(MINUTES)).hear_candles(candles, now_ns)

    def _take_prints(self, rows: Rows) -> None:
        heard = self.heard
        for symbol, prints in read_prints(rows).by_symbol():
            data = prints.take((prints.flags & REMOVE) == 0)
            if rows.channel == STREAM and len(data):
                self._court(symbol).add(data, is_live=True)
            elif rows.channel == HISTORY:
                flags = int(np.bitwise_or.reduce(prints.flags))
                heard.flags[symbol] = heard.flags.get(symbol, 0) | flags
                heard.history_rows[symbol] += len(data)
                if len(data):
                    oldest_us = int(data.columns["ts_event"].min())
                    known_us = heard.history_from_us.get(symbol, oldest_us)
                    heard.history_from_us[symbol] = min(known_us, oldest_us)

    def _court(self, symbol: str) -> Court:
        return self.heard.courts.setdefault(symbol, Court(grace_s=0.0, period_s=1.0))


@asynccontextmanager
async def probing(
    url: str, token: str, clock: Clock, *, timeout_s: float, offers_deflate: bool = False
) -> AsyncIterator[Probe]:
    """A connection logged in with a token; raise FeedLost where that does not come about."""
    try:
        socket = await connect(
            url,
            compression="deflate" if offers_deflate else None,
            ping_interval=None,
            max_size=MESSAGE_BYTES_MAX,
            close_timeout=1,
        )
    except (OSError, WebSocketException) as error:
        raise FeedLost(f"no connection: {type(error).__name__}") from error
    async with socket:
        probe = Probe(socket, clock)
        await probe.say([wire.setup(60.0)])
        await probe.hear(timeout_s, lambda: bool(probe.heard.states))
        if probe.heard.states == ["UNAUTHORIZED"]:
            await probe.say([wire.auth(token)])
            await probe.hear(timeout_s, lambda: len(probe.heard.states) > 1)
        if probe.heard.states[-1:] != ["AUTHORIZED"]:
            raise FeedLost(f"not let in: {'; '.join(probe.heard.errors) or 'no answer'}")
        yield probe


def history_item(event: Event, symbol: str, clock: Clock, back_s: int) -> Item:
    """Everything of a symbol since some seconds ago."""
    return Item(event, symbol, (clock.now_ns() - back_s * NS_PER_S) // 1_000_000)
