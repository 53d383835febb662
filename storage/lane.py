"""Where a symbol's next rows go in a fast table, and how they are written there.

Text is held as codes, and a value that rows share is written once to the rest of the block.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.batch import TickBatch
from storage.layout import Layout
from storage.segment import Block, flip_bits
from storage.words import Words

KNOWN_MAX = 10_000
Ints = NDArray[np.int64]


class Numbered(NamedTuple):
    """Rows with the seqs they have already; text columns may hold codes in place of words."""

    batch: TickBatch
    seqs: Ints


@dataclass(slots=True)
class Lane:
    """Where one symbol's next row goes."""

    block_number: int
    block: Block
    rows: int
    fills: list[int | float | None]  # per column, what the rest of the block is filled with


@dataclass(frozen=True, slots=True)
class About:
    """What all rows of a batch share: codes, and by place the columns with one value."""

    symbol: int
    contract: int
    constants: list[tuple[int, int | float]]
    may_revise: bool


class Ready(NamedTuple):
    """A batch as it is stored: what its rows share, and the other columns by place."""

    about: About
    columns: Sequence[tuple[int, NDArray[np.generic]]]


class LaneWriter:
    """Writes rows of one table into lanes; whoever uses it keeps others away from the lane."""

    def __init__(self, layout: Layout, words: Words) -> None:
        self._layout = layout
        self._words = words
        self._places = {column.name: i for i, column in enumerate(layout.columns)}
        self._seq_place = self._places["seq"]
        self._known: dict[tuple[str, ...], About] = {}

    def ready(self, batch: TickBatch) -> Ready:
        """Turn a batch's text into codes; its new words are durable on return."""
        columns: list[tuple[int, NDArray[np.generic]]] = []
        for name, values in batch.columns.items():
            place = self._places[name]
            if values.dtype == object:
                columns.append((place, self._words.intern_all(name, values.tolist())))
            else:
                columns.append((place, values))
        return Ready(self._about(batch), columns)

    def write(self, lane: Lane, ready: Ready, start: int, seqs: Ints) -> None:
        """Write the batch's rows from row `start` on, one for each seq, to the end of a lane."""
        rows = len(seqs)
        self._write_constants(lane, ready.about.constants, rows)
        self._write_columns(lane, ready.columns, start, rows)
        lane.block.values[self._seq_place][lane.rows : lane.rows + rows] = seqs

    def _about(self, batch: TickBatch) -> About:
        key = (batch.symbol, batch.contract, batch.source, *batch.columns)
        known = self._known.get(key)
        if known is not None:
            return known
        words = self._words
        contract = words.intern("contract", batch.contract)
        told = {"source": words.intern("source", batch.source), "contract": contract}
        constants: list[tuple[int, int | float]] = []
        for place, column in enumerate(self._layout.columns):
            if column.name in told:
                constants.append((place, told[column.name]))
            elif column.name not in batch.columns and column.name != "seq":
                is_text = column.name == "conditions"
                constants.append(
                    (place, words.intern("conditions", "") if is_text else column.default)
                )
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        symbol = words.intern("symbol", batch.symbol)
        known = About(symbol, contract, constants, may_revise="kind" in batch.columns)
        self._known[key] = known
        return known

    def _write_constants(
        self, lane: Lane, constants: list[tuple[int, int | float]], rows: int
    ) -> None:
        """A constant is written once to the rest of the block, and again only when it changes."""
        for place, value in constants:
            if math.isnan(value):  # these rows are null
                lane.block.values[place][lane.rows : lane.rows + rows] = value
                self._mark(lane, place, lane.rows, rows)
            elif lane.fills[place] != value:
                lane.block.values[place][lane.rows :] = value
                lane.fills[place] = value

    def _write_columns(
        self, lane: Lane, columns: Sequence[tuple[int, NDArray[np.generic]]], done: int, rows: int
    ) -> None:
        start = lane.rows
        end = start + rows
        values, bitmaps = lane.block.values, lane.block.bitmaps
        is_whole = done == 0 and rows == len(columns[0][1])
        for place, column in columns:
            values[place][start:end] = column if is_whole else column[done : done + rows]
            lane.fills[place] = None
            if bitmaps[place] is not None:
                self._mark(lane, place, start, rows)

    def _mark(self, lane: Lane, place: int, start: int, rows: int) -> None:
        """Flip the bits of rows that differ from the bitmap's default."""
        column = self._layout.columns[place]
        values = lane.block.values[place][start : start + rows]
        if not column.is_flag:
            assert values.dtype == np.float64
            if not math.isnan(np.minimum.reduce(values)):
                return
            differs = np.isnan(values)
        else:
            differs = values != column.default
        bitmap = lane.block.bitmaps[place]
        assert bitmap is not None
        flip_bits(bitmap, start, differs)
