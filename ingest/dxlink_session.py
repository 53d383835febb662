"""One connection's talk, as a pure state machine: messages in, messages out.

The order is strict, for a word too early is refused: SETUP, wait for UNAUTHORIZED, AUTH once, wait
for AUTHORIZED, open the channels, set each up, subscribe. A token is never sent twice on one
connection. Trouble in one channel stays in that channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from core.errors import FeedLost
from core.log import Log
from ingest import dxlink_wire as wire
from ingest.dxlink_wire import HISTORY, MINUTES, STREAM, TICKER, Event, Item, Message
from ingest.rolls import Instrument

log = Log("dxlink")
CHANNEL_TRIES_MAX = 5
KEEPALIVE_S_MIN = 0.3

State = Literal["setup", "unauthorized", "authorizing", "opening", "live"]
_EVENTS: dict[int, tuple[Event, ...]] = {
    TICKER: ("Quote", "Trade", "TradeETH"),
    STREAM: ("TimeAndSale",),
    HISTORY: ("TimeAndSale", "Candle"),
}


@dataclass(slots=True)
class Session:
    """The client's side of one connection."""

    token: str = field(repr=False)
    instruments: Sequence[Instrument]
    keepalive_s: float
    since_ms: int  # from when on candles are asked for
    state: State = "setup"
    server_keepalive_s: float = 60.0
    open_channels: set[int] = field(default_factory=set)
    tries: dict[int, int] = field(default_factory=dict)

    def start(self) -> list[Message]:
        """What to say first."""
        return [wire.setup(self.keepalive_s)]

    def receive(self, message: Message) -> list[Message]:
        """What to say to a control message; raise FeedLost where the talk is over."""
        channel = message.get("channel")
        match message.get("type"):
            case "SETUP":
                told = [
                    message.get(name) for name in ("keepaliveTimeout", "acceptKeepaliveTimeout")
                ]
                waits = [float(s) for s in told if isinstance(s, int | float) and s > 0]
                self.server_keepalive_s = max(min(waits, default=60.0), KEEPALIVE_S_MIN)
                return []
            case "AUTH_STATE":
                return self._authorize(message.get("state") == "AUTHORIZED")
            case "CHANNEL_OPENED" if isinstance(channel, int):
                return self._opened(channel)
            case "CHANNEL_CLOSED" if isinstance(channel, int):
                return self._closed(channel, "closed by the server")
            case "ERROR":
                return self._error(message)
            case _:
                return []

    def _authorize(self, is_authorized: bool) -> list[Message]:
        if is_authorized:
            if self.state in ("opening", "live"):
                return []
            self.state = "opening"
            return [wire.channel_request(channel) for channel in wire.CONTRACTS]
        if self.state == "setup":
            self.state = "authorizing"
            return [wire.auth(self.token)]
        if self.state == "authorizing":
            raise FeedLost("the quote token was refused", hint="a new one is minted")
        raise FeedLost("the quote token expired", hint="a new one is minted")

    def _opened(self, channel: int) -> list[Message]:
        if channel not in wire.CONTRACTS:
            return []
        self.open_channels.add(channel)
        replies = [wire.feed_setup(channel, _EVENTS[channel])]
        replies += wire.subscribe(channel, self._items(channel), is_reset=True)
        if self.open_channels == set(wire.CONTRACTS):
            self.state = "live"
        return replies

    def _closed(self, channel: int, reason: str) -> list[Message]:
        """Ask for the channel again; one that will not open costs the connection."""
        self.open_channels.discard(channel)
        tries = self.tries.get(channel, 0) + 1
        self.tries[channel] = tries
        if channel not in wire.CONTRACTS or tries > CHANNEL_TRIES_MAX:
            raise FeedLost(f"channel {channel} does not stay open: {reason}")
        log.warning("channel.closed", channel=channel, reason=reason, tries=tries)
        return [wire.channel_request(channel)]

    def _error(self, message: Message) -> list[Message]:
        channel = message.get("channel", 0)
        reason = f"{message.get('error')}: {str(message.get('message'))[:200]}"
        if channel == 0:
            if message.get("error") in ("TIMEOUT", "UNAUTHORIZED", "UNSUPPORTED_PROTOCOL"):
                raise FeedLost(f"the server said {reason}")
            log.warning("connection.warned", reason=reason)
            return []
        if channel in wire.CONTRACTS and channel not in self.open_channels:
            return self._closed(channel, reason)
        log.warning("channel.warned", channel=channel, reason=reason)
        return []

    def _items(self, channel: int) -> list[Item]:
        if channel == STREAM:
            return [Item("TimeAndSale", i.streamer_symbol) for i in self.instruments]
        if channel == TICKER:
            return [
                Item(event, instrument.streamer_symbol)
                for instrument in self.instruments
                for event in _EVENTS[TICKER]
                if event != "TradeETH" or instrument.market == "nyse"
            ]
        return [
            Item("Candle", instrument.streamer_symbol + MINUTES, self.since_ms)
            for instrument in self.instruments
            if instrument.has_prints
        ]
