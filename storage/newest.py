"""Where the last standing trade of each symbol is, for readers who want it without a scan.

The writer keeps the place of each contract's newest trade by venue time and then seq, and shows
that of the front contract where one is known; otherwise that of any. A correction or cancel of that
very trade sends the writer back to look for the one before it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.batch import FEW_ROWS
from core.schema import KINDS
from storage.head import Head
from storage.layout import Layout
from storage.segment import Block, Segment

CANCEL = KINDS.index("cancel")
Mask = NDArray[np.bool_]
Identity = tuple[int, int, int]  # codes of contract and source, source_seq
_IDENTITY = ("contract", "source", "source_seq")


class Spot(NamedTuple):
    """A row of a hot segment, when it happened, and what its source calls it."""

    ts_ns: int
    segment: int
    block: int
    row: int
    identity: Identity


class Newest:
    """The spots of one table's writer; used under the appender's lock."""

    def __init__(self, head: Head, layout: Layout) -> None:
        self._head = head
        self._places = {column.name: i for i, column in enumerate(layout.columns)}
        self._named = [self._places[name] for name in ("ts_event", "ts_ns", *_IDENTITY)]
        self._spots: dict[int, dict[int, Spot]] = {}  # by symbol and contract
        self._fronts: dict[int, int] = {}
        self._floors_ns: dict[int, int] = {}  # a trade this new is known to be elsewhere

    def set_front(self, symbol: int, contract: int) -> None:
        """Show this contract's trades alone as a symbol's last."""
        self._fronts[symbol] = contract
        self._head.set_front(symbol, contract)
        self._show(symbol)

    def set_floor(self, symbol: int, ts_ns: int) -> None:
        """Point nowhere while nothing as new as this is hot."""
        self._floors_ns[symbol] = ts_ns
        self._show(symbol)

    def note(
        self, symbol: int, contract: int, segment: Segment, number: int, rows: tuple[int, int]
    ) -> None:
        """Rows [start, end) of a block were appended, all of one contract."""
        start, end = rows
        block = segment.block(number)
        times = self._column(block, "ts_event")[start:end]
        valid = self._column(block, "valid")
        newest = max(times.tolist()) if end - start <= FEW_ROWS else np.maximum.reduce(times)
        row: int | None = end - 1
        if not (valid.item(end - 1) and times.item(-1) == newest):
            row = self._newest_of(block, start, valid[start:end] != 0)
        if row is not None:
            self._offer(symbol, contract, self._spot(segment, number, row))

    def revise(self, symbol: int, segment: Segment, number: int, rows: tuple[int, int]) -> None:
        """Corrections or cancels are among rows of a block: a last trade may no longer stand."""
        start, end = rows
        block = segment.block(number)
        kinds = self._column(block, "kind")
        places = start + np.flatnonzero(kinds[start:end])
        last = dict(zip(self._identities(block, places), places.tolist(), strict=True))
        spots = self._spots.get(symbol, {})
        for contract, spot in list(spots.items()):
            row = last.get(spot.identity) if spot.identity[-1] else None  # 0 is no identity
            # What revises itself alone stands: a correction is the trade as it should have been.
            is_elsewhere = spot[1:3] != (segment.number, number)
            if row is not None and (is_elsewhere or row > spot.row or kinds[row] == CANCEL):
                del spots[contract]
                self._look_back(symbol, contract, segment)
        self._show(symbol)

    def restore(self, segment: Segment) -> None:
        """Find the spots of a segment read back, oldest segment first."""
        for number in range(segment.blocks_used):
            symbol, count = int(segment.symbols[number]), int(segment.visible_rows[number])
            block = segment.block(number)
            contracts = self._column(block, "contract")[:count]
            valid = self._column(block, "valid")[:count] != 0
            for contract in _distinct(contracts):
                row = self._newest_of(block, 0, valid & (contracts == contract))
                if row is not None:
                    self._offer(symbol, contract, self._spot(segment, number, row))
            if self._column(block, "kind")[:count].any():
                self.revise(symbol, segment, number, (0, count))

    def forget_segment(self, number: int) -> None:
        """The rows of a segment are no longer hot."""
        for symbol, spots in self._spots.items():
            for contract in [c for c, spot in spots.items() if spot.segment == number]:
                del spots[contract]
            self._show(symbol)

    # -- inside --------------------------------------------------------------------------------

    def _offer(self, symbol: int, contract: int, spot: Spot) -> None:
        spots = self._spots.setdefault(symbol, {})
        present = spots.get(contract)
        if present is None or spot.ts_ns >= present.ts_ns:
            spots[contract] = spot
            if self._fronts.get(symbol, contract) == contract:
                self._show(symbol)

    def _show(self, symbol: int) -> None:
        spots = self._spots.get(symbol, {})
        front = self._fronts.get(symbol)
        shown = spots.get(front) if front is not None else max(spots.values(), default=None)
        if shown is None or shown.ts_ns < self._floors_ns.get(symbol, shown.ts_ns):
            self._head.clear_latest(symbol)
        else:
            self._head.set_latest(symbol, shown.segment, shown.block, shown.row)

    def _look_back(self, symbol: int, contract: int, segment: Segment) -> None:
        """Find a contract's newest standing trade in the segment being filled; none further back.

        Where there is none, readers find it in the lake or wait for the next trade.
        """
        revised: set[Identity] = set()
        found: list[Spot] = []
        for number in reversed(range(segment.blocks_used)):
            if int(segment.symbols[number]) != symbol:
                continue
            block, count = segment.block(number), int(segment.visible_rows[number])
            stands = self._column(block, "valid")[:count] != 0
            stands &= self._column(block, "contract")[:count] == contract
            kinds = self._column(block, "kind")[:count]
            stands &= kinds != CANCEL
            if revised or kinds.any():
                self._strike(block, stands, kinds, revised)
            row = self._newest_of(block, 0, stands)
            if row is not None:
                found.append(self._spot(segment, number, row))
        if found:
            self._offer(symbol, contract, max(found))

    def _strike(
        self,
        block: Block,
        stands: Mask,
        kinds: NDArray[np.generic],
        revised: set[Identity],
    ) -> None:
        """Take out rows that later ones revise; `revised` learns those of this block."""
        names = self._identities(block, np.arange(len(kinds)))
        for row in range(len(kinds) - 1, -1, -1):
            if names[row] in revised:
                stands[row] = False
            if kinds[row] != 0 and names[row][-1] != 0:
                revised.add(names[row])

    def _spot(self, segment: Segment, number: int, row: int) -> Spot:
        values = segment.block(number).values
        us, ns, *identity = [values[place].item(row) for place in self._named]
        return Spot(us * 1_000 + ns, segment.number, number, row, tuple(identity))

    def _newest_of(self, block: Block, start: int, candidates: Mask) -> int | None:
        rows = np.flatnonzero(candidates) + start
        if not len(rows):
            return None
        for name in ("ts_event", "ts_ns"):  # a sort of all rows would take ten times as long
            values = self._column(block, name)[rows]
            rows = rows[values == np.maximum.reduce(values)]
        return int(rows[-1])

    def _identities(self, block: Block, rows: NDArray[np.intp]) -> list[Identity]:
        return list(zip(*(self._column(block, n)[rows].tolist() for n in _IDENTITY), strict=True))

    def _column(self, block: Block, name: str) -> NDArray[np.generic]:
        return block.values[self._places[name]]


def _distinct(codes: NDArray[np.generic]) -> list[int]:
    """Every code there is; most blocks have one, and then nothing needs to be sorted."""
    if len(codes) and np.minimum.reduce(codes) == np.maximum.reduce(codes):
        return [int(codes[0])]
    found: list[int] = np.unique(codes).tolist()
    return found
