"""Writes Sierra Chart depth files, and coherent pairs of depth and trades with the truth beside.

`record`, `clear` and `snapshot` write single things, faults among them; `make_pair` trades a small
market and writes both of its files. Prices in records are already multiplied by the file's factor.
"""

import random
import struct
from dataclasses import dataclass, field

from core.schema import DEPTH_COMMANDS
from tests.fakes import scid_writer

EPOCH_US = 2_209_161_600_000_000
SECOND_US = 1_000_000
DAY_US = 1_703_462_400_000_000  # 2023-12-25 00:00 UTC
STEM = "ESH24_FUT_CME"
NAME = f"{STEM}.2023-12-25.depth"
RAW_PER_TICK = 25  # 0.25 points, written x100


def header(*, magic=b"SCDD", header_bytes=64, record_bytes=24):
    head = struct.pack("<4sIII", magic, header_bytes, record_bytes, 1)
    return head.ljust(header_bytes, b"\0")


def record(unix_us, command, price=0.0, size=0, *, orders=0, end=True):
    """One record; `command` is a word of the table's, or any number."""
    code = DEPTH_COMMANDS.index(command) if isinstance(command, str) else command
    fields = (unix_us + EPOCH_US, code, int(end), orders, price, size, 0)
    return struct.pack("<qBBHfII", *fields)


def clear(unix_us, *, end=True):
    return record(unix_us, "clear", end=end)


def snapshot(unix_us, bids, asks, *, raw_per_tick=RAW_PER_TICK):
    """A whole book in one batch: `bids` and `asks` map ticks to sizes, written best first."""
    levels = [("add_bid", tick, bids[tick]) for tick in sorted(bids, reverse=True)]
    levels += [("add_ask", tick, asks[tick]) for tick in sorted(asks)]
    records = [clear(unix_us, end=not levels)]
    for place, (command, tick, size) in enumerate(levels, 1):
        end = place == len(levels)
        records.append(
            record(unix_us, command, tick * raw_per_tick, size, orders=min(size, 3), end=end)
        )
    return records


def depth(*records, tail=b"", **about):
    """A whole file; `tail` is what a writer in mid-record has got down so far."""
    return header(**about) + b"".join(records) + tail


@dataclass(frozen=True)
class Print:
    """One true trade: the best prices are those just before it, in ticks."""

    ts_us: int
    tick: int
    size: int
    side: int
    bid: int
    ask: int


@dataclass(frozen=True)
class PairOptions:
    """What the market does; times are seconds from its start.

    In `hole_s` the recorder is away: a lone clear (unless `is_silent`), nothing, a new snapshot.
    In `locked_s` somebody bids at the ask. Every `bundle_every`-th trade is told in parts.
    """

    start_us: int = DAY_US + 50_400 * SECOND_US
    events: int = 1_000
    levels: int = 12
    snapshot_s: int = 600
    hole_s: tuple[float, float] | None = None
    is_silent: bool = False
    locked_s: tuple[float, float] | None = None
    bundle_every: int = 4
    raw_per_tick: float = RAW_PER_TICK


@dataclass
class Pair:
    """Records of both files, and the truth: every trade, and where the book is unknown."""

    depth: list[bytes] = field(default_factory=list)
    scid: list[bytes] = field(default_factory=list)
    prints: list[Print] = field(default_factory=list)
    hole_us: tuple[int, int] | None = None


def make_pair(seed, options=None):
    """Trade a market of one seed; each event has a millisecond of its own."""
    return _Market(random.Random(seed), options or PairOptions()).run()


class _Market:
    def __init__(self, rng, options):
        self.rng, self.how, self.pair = rng, options, Pair()
        middle, far = 19_200, 5_000
        steps = range(options.levels)
        self.bids = {middle - step: rng.randint(3, 60) for step in steps}
        self.asks = {middle + 1 + step: rng.randint(3, 60) for step in steps}
        self.bids |= {4: 1, middle - far: 2}  # orders that wait far away
        self.asks |= {middle + far: 2}
        self.now_us = options.start_us
        self.next_snapshot_us = options.start_us
        self.is_away = False
        self.is_locked = False

    def run(self):
        for _ in range(self.how.events):
            self.now_us += 1_000 * (1 + int(self.rng.expovariate(1 / 120)))
            self._record_or_not()
            dice = self.rng.random()
            if dice < 0.94 or self.is_locked:
                self._modify()
            else:
                self._move(up=dice < 0.97)
            self._lock_or_not()
        return self.pair

    def _during(self, span_s):
        passed_s = (self.now_us - self.how.start_us) / SECOND_US
        return span_s is not None and span_s[0] <= passed_s < span_s[1]

    def _record_or_not(self):
        was_away, self.is_away = self.is_away, self._during(self.how.hole_s)
        if self.is_away and not was_away:
            self.pair.hole_us = (self.now_us, self.now_us)
            if not self.how.is_silent:
                self.pair.depth.append(clear(self.now_us + 171))
        if was_away and not self.is_away:
            self.pair.hole_us = (self.pair.hole_us[0], self.now_us)
        if not self.is_away and (was_away or self.now_us >= self.next_snapshot_us):
            every_us = self.how.snapshot_s * SECOND_US
            self.next_snapshot_us = (self.now_us // every_us + 1) * every_us
            step = self.how.raw_per_tick
            self.pair.depth += snapshot(self.now_us, self.bids, self.asks, raw_per_tick=step)
            self.now_us += 1_000

    def _modify(self):
        book, word = self.rng.choice([(self.bids, "bid"), (self.asks, "ask")])
        near = sorted(book, reverse=word == "bid")[: min(6, self.how.levels)]
        tick = self.rng.choice(near)
        book[tick] = self.rng.randint(1, 80)
        self._write([(f"modify_{word}", tick, book[tick])])

    def _move(self, *, up):
        """One side's touch is traded away and becomes the other side's touch."""
        self._print(up=up)
        taken, other = (self.asks, self.bids) if up else (self.bids, self.asks)
        word, other_word = ("ask", "bid") if up else ("bid", "ask")
        step = 1 if up else -1
        touch = min(taken) if up else max(taken)
        far = touch + step * self.how.levels
        far_other = touch - step * self.how.levels
        changes = [(f"delete_{word}", touch, 0)]
        del taken[touch]
        if far not in taken:
            taken[far] = self.rng.randint(3, 60)
            changes.append((f"add_{word}", far, taken[far]))
        if other.pop(far_other, None) is not None:
            changes.append((f"delete_{other_word}", far_other, 0))
        other[touch] = self.rng.randint(3, 60)
        changes.append((f"add_{other_word}", touch, other[touch]))
        self._write(changes)

    def _print(self, *, up):
        bid, ask = max(self.bids), min(self.asks)
        tick, size = (ask, self.asks[ask]) if up else (bid, self.bids[bid])
        side = 1 if up else -1
        self.pair.prints.append(Print(self.now_us, tick, size, side, bid, ask))
        step = self.how.raw_per_tick
        scaled = {"bid": bid * step, "ask": ask * step, "side": side}
        if len(self.pair.prints) % self.how.bundle_every == 0 and size > 2:
            parts = [1, size - 2, 1]
            self.pair.scid += scid_writer.bundle(self.now_us, tick * step, parts, **scaled)
        else:
            self.pair.scid.append(scid_writer.record(self.now_us, tick * step, size, **scaled))

    def _lock_or_not(self):
        """Somebody bids at the ask, and takes it back; nothing trades meanwhile."""
        should = self._during(self.how.locked_s)
        if should == self.is_locked:
            return
        self.now_us += 1_000
        if should:
            self.locked_tick = min(self.asks)
            self.bids[self.locked_tick] = 5
            self._write([("add_bid", self.locked_tick, 5)])
        else:
            del self.bids[self.locked_tick]
            self._write([("delete_bid", self.locked_tick, 0)])
        self.is_locked = should

    def _write(self, changes):
        if self.is_away:
            return
        step = self.how.raw_per_tick
        for place, (command, tick, size) in enumerate(changes, 1):
            end = place == len(changes)
            orders = min(size, 4)
            self.pair.depth.append(
                record(self.now_us, command, tick * step, size, orders=orders, end=end)
            )
