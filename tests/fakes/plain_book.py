"""The book done the slow and obvious way: two dicts, sorted whenever somebody asks."""

from core.schema import DEPTH_COMMANDS

SAMPLE_US = 100_000


class PlainBook:
    """Best prices at every batch end and a ladder at every tenth of a second, in points."""

    def __init__(self):
        self.sides = {"bid": {}, "ask": {}}
        self.is_valid = False
        self.is_cleared = False
        self.changed = 0
        self.is_open = False
        self.newest_us = None
        self.due_us = None
        self.bests, self.ladders = [], []

    def apply(self, batch):
        names = ("ts_event", "command", "price", "size", "end_of_batch")
        columns = (batch.columns[name].tolist() for name in names)
        for ts_us, code, price, size, ends in zip(*columns, strict=True):
            self._sample(ts_us)
            command, _, side = DEPTH_COMMANDS[code].partition("_")
            if command == "clear":
                self.sides = {"bid": {}, "ask": {}}
                self.is_valid, self.is_cleared, self.changed = False, True, 0
            elif command == "delete" or (side and size == 0):
                self.sides[side].pop(price, None)
                self.changed += 1
            elif side:
                self.sides[side][price] = size
                self.changed += 1
            if ends:
                self._end_batch()

    def top(self, side, count=10):
        levels = self.sides[side]
        return [(p, levels[p]) for p in sorted(levels, reverse=side == "bid")[:count]]

    def _sample(self, ts_us):
        self.newest_us = ts_us if self.newest_us is None else max(ts_us, self.newest_us)
        if self.is_open:
            return
        self.is_open = True
        if self.due_us is not None and self.newest_us >= self.due_us:
            self.ladders.append((self.due_us, self.top("bid"), self.top("ask"), self.is_valid))
            self.due_us = None

    def _end_batch(self):
        if self.is_cleared:
            self.is_valid, self.is_cleared = self.changed > 0, False
        self.changed, self.is_open = 0, False
        if self.due_us is None or self.newest_us >= self.due_us:
            self.due_us = (self.newest_us // SAMPLE_US + 1) * SAMPLE_US
        best = [(self.top(side, 1) or [(None, 0)])[0] for side in ("bid", "ask")]
        self.bests.append((*best, self.is_valid))


def told_bests(bests, tick):
    """The kernel's best prices as `PlainBook.bests` has them."""
    columns = (bests.bid, bests.bid_size, bests.ask, bests.ask_size, bests.is_valid)
    return [
        ((_points(bid, tick), bid_size), (_points(ask, tick), ask_size), valid)
        for bid, bid_size, ask, ask_size, valid in zip(*(c.tolist() for c in columns), strict=True)
    ]


def told_ladders(ladders, tick):
    """The kernel's ladders as `PlainBook.ladders` has them."""
    return [
        (
            int(ladders.ts_us[place]),
            _side(ladders.bid[place], ladders.bid_size[place], tick),
            _side(ladders.ask[place], ladders.ask_size[place], tick),
            bool(ladders.is_valid[place]),
        )
        for place in range(len(ladders.ts_us))
    ]


def _side(ticks, sizes, tick):
    pairs = zip(ticks.tolist(), sizes.tolist(), strict=True)
    return [(at * tick, size) for at, size in pairs if at >= 0]


def _points(at, tick):
    return None if at < 0 else at * tick
