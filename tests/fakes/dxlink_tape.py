"""The truth a fake feed serves: every print there ever was, in the order it happened.

Tests hold what was stored against it. The same seed gives the same tape.
"""

import random
from dataclasses import dataclass, replace

from tests.fakes.manual_clock import OPEN_NS

START_MS = OPEN_NS // 1_000_000 - 600_000
SYMBOLS = ("/MNQZ26:XCME", "SPY")


@dataclass(frozen=True)
class Print:
    """One TimeAndSale event as the venue made it."""

    symbol: str
    index: int
    price: float
    size: float
    bid: float | str
    ask: float | str
    side: str
    conditions: str | None
    is_leg: bool
    is_extended: bool
    is_valid: bool
    kind: str

    @property
    def ms(self):
        return (self.index >> 32) * 1000 + (self.index >> 22 & 0x3FF)

    def values(self, flags=0):
        """The wire values by field name."""
        return {
            "eventSymbol": self.symbol,
            "eventFlags": flags,
            "index": self.index,
            "eventTime": 0,
            "time": self.ms,
            "sequence": self.index & 0x3FFFFF,
            "timeNanoPart": 0,
            "exchangeCode": "G",
            "price": self.price,
            "size": self.size,
            "bidPrice": self.bid,
            "askPrice": self.ask,
            "exchangeSaleConditions": self.conditions,
            "tradeThroughExempt": "\u0000",
            "aggressorSide": self.side,
            "spreadLeg": self.is_leg,
            "extendedTradingHours": self.is_extended,
            "validTick": self.is_valid,
            "type": self.kind,
        }

    def tick(self):
        """The wire values of a candle of this trade alone."""
        told = {"eventSymbol": self.symbol + "{=t}", "eventFlags": 0, "index": self.index}
        return {**told, "time": self.ms, "count": 1, "volume": self.size, "close": self.price}

    @property
    def identity(self):
        """What must be stored of it."""
        return (self.index, self.price, int(self.size), self.is_valid and self.kind != "CANCEL")


def index_of(ms, number):
    return (ms // 1000) << 32 | (ms % 1000) << 22 | number


class Told:
    """What the venue says of one symbol beside its prints: the day's volume, and its minutes."""

    def __init__(self):
        self.volume = 0.0  # of valid prints
        self.minutes = {}  # start, ms -> values of its candle, of valid prints that are no legs
        self.last = None

    def add(self, event):
        self.last = event
        self.volume += event.size if event.is_valid else 0
        start_ms = event.ms // 60_000 * 60_000
        minute = self.minutes.setdefault(
            start_ms,
            {
                "eventSymbol": event.symbol + "{=m}",
                "eventFlags": 0,
                "index": index_of(start_ms, 0),
                "time": start_ms,
                "count": 0,
                "volume": 0.0,
            },
        )
        minute["close"] = event.price
        if event.is_valid and not event.is_leg:
            minute["count"] += 1
            minute["volume"] += event.size

    def trade(self):
        """The values of a Trade event."""
        event = self.last
        return {
            "eventSymbol": event.symbol,
            "time": event.ms,
            "timeNanoPart": 0,
            "sequence": event.index & 0x3FFFFF,
            "exchangeCode": "G",
            "dayId": event.ms // 86_400_000,
            "price": event.price,
            "size": event.size,
            "dayVolume": self.volume,
        }


class TruthTape:
    """Grows by `trade`; `events` is everything in order, `latest` the last version per index."""

    def __init__(self, seed=1, symbols=SYMBOLS, start_ms=START_MS):
        self._random = random.Random(seed)
        self._ms = start_ms
        self._number = 0
        self.symbols = symbols
        self.events = []
        self.latest = {symbol: {} for symbol in symbols}
        self.told = {symbol: Told() for symbol in symbols}

    def trade(self, count, symbols=None):
        """Let `count` prints happen; give them."""
        fresh = [self._next(self._random.choice(symbols or self.symbols)) for _ in range(count)]
        for event in fresh:
            self.record(event)
            self.told[event.symbol].add(event)
        return fresh

    def pass_time(self, ms):
        """Let time pass without a print."""
        self._ms += ms

    def record(self, event):
        self.events.append(event)
        self.latest[event.symbol][event.index] = event

    def revise(self, event, kind="CANCEL", price=None):
        """Let the venue take back or correct a print."""
        revised = replace(
            event,
            kind=kind,
            price=event.price if price is None else price,
            is_valid=kind != "CANCEL",
        )
        self.record(revised)
        return revised

    def history(self, symbol, from_ms):
        """Latest version of each print since a time, newest first, as history serves it."""
        found = [event for event in self.latest[symbol].values() if event.ms >= from_ms]
        return sorted(found, key=lambda event: -event.index)

    def identities(self, symbol):
        return [event.identity for event in self.events if event.symbol == symbol]

    def _next(self, symbol):
        self._ms += self._random.choice((0, 0, 0, 1, 2, 17))
        self._number = (self._number + self._random.randint(1, 3)) % 4_194_304
        price = 100 + self._random.randint(0, 400) / 4
        roll = self._random.random()
        return Print(
            symbol,
            index_of(self._ms, self._number),
            price,
            float(self._random.randint(1, 9)),
            "NaN" if roll < 0.05 else price - 0.25,
            price + 0.25,
            self._random.choice(("BUY", "SELL", "UNDEFINED")),
            self._random.choice((None, "@ TI", "\u0000")),
            roll > 0.95,
            roll < 0.1,
            roll < 0.97,
            "NEW",
        )
