"""The words of DXLink: what we send, and what we ask for. Pure; opens nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

Event = Literal["TimeAndSale", "Quote", "Trade", "TradeETH", "Candle"]
Message = dict[str, Any]

# One channel a contract, numbered as dxFeed's own client numbers them.
TICKER, STREAM, HISTORY = 1, 3, 5
CONTRACTS = {TICKER: "TICKER", STREAM: "STREAM", HISTORY: "HISTORY"}
# What a candle's symbol ends in: one minute, one trade.
MINUTES, TICKS = "{=m}", "{=t}"
CHUNK_BYTES = 8_192  # longer subscriptions are refused with close code 1009

_LAST = ("eventSymbol", "time", "timeNanoPart", "sequence", "dayId")
FIELDS: dict[Event, tuple[str, ...]] = {
    # `time` and `sequence` are parts of `index`.
    "TimeAndSale": (
        *("eventSymbol", "eventFlags", "index", "timeNanoPart", "price", "size", "bidPrice"),
        *("askPrice", "exchangeSaleConditions", "aggressorSide", "spreadLeg", "validTick", "type"),
    ),
    "Quote": ("eventSymbol", "bidTime", "askTime", "bidPrice", "askPrice", "bidSize", "askSize"),
    "Trade": (*_LAST, "price", "size", "dayVolume"),
    "TradeETH": (*_LAST, "price", "size", "dayVolume"),
    "Candle": ("eventSymbol", "eventFlags", "index", "time", "count", "volume", "close"),
}

# Bits of eventFlags.
TX_PENDING, REMOVE, SNAPSHOT_BEGIN, SNAPSHOT_END, SNAPSHOT_SNIP = 1, 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class Item:
    """One subscription; `from_ms` asks a HISTORY channel for everything since."""

    event: Event
    symbol: str
    from_ms: int | None = None

    def words(self) -> Message:
        told: Message = {"type": self.event, "symbol": self.symbol}
        return told if self.from_ms is None else {**told, "fromTime": self.from_ms}


def setup(keepalive_s: float) -> Message:
    """The first word of a connection."""
    timeouts = {"keepaliveTimeout": keepalive_s, "acceptKeepaliveTimeout": keepalive_s}
    return {"type": "SETUP", "channel": 0, "version": "0.1-tickflight/1", **timeouts}


def auth(token: str) -> Message:
    return {"type": "AUTH", "channel": 0, "token": token}


def keepalive() -> Message:
    return {"type": "KEEPALIVE", "channel": 0}


def channel_request(channel: int) -> Message:
    parameters = {"contract": CONTRACTS[channel]}
    return {
        "type": "CHANNEL_REQUEST",
        "channel": channel,
        "service": "FEED",
        "parameters": parameters,
    }


def feed_setup(channel: int, events: Iterable[Event]) -> Message:
    """Ask for compact rows as soon as they come."""
    return {
        "type": "FEED_SETUP",
        "channel": channel,
        "acceptAggregationPeriod": 0,
        "acceptDataFormat": "COMPACT",
        "acceptEventFields": {event: list(FIELDS[event]) for event in events},
    }


def subscribe(channel: int, items: Sequence[Item], *, is_reset: bool = False) -> list[Message]:
    """Subscriptions in messages short enough to be taken."""
    messages: list[Message] = []
    room = 0
    for item in items:
        words = item.words()
        size = len(orjson.dumps(words)) + 1
        if size > room:
            messages.append({"type": "FEED_SUBSCRIPTION", "channel": channel, "add": []})
            room = CHUNK_BYTES - 100
        messages[-1]["add"].append(words)
        room -= size
    if messages and is_reset:
        messages[0]["reset"] = True
    return messages


def unsubscribe(channel: int, items: Iterable[Item]) -> Message:
    remove = [item.words() for item in items]
    return {"type": "FEED_SUBSCRIPTION", "channel": channel, "remove": remove}
