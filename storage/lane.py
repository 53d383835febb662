"""Where a symbol's next rows go in a fast table, and how they are written there.

Text is held as codes, and a value that rows share is written once to the rest of the block.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.batch import FEW_ROWS, TickBatch
from storage.layout import Layout
from storage.segment import Block, flip_bits
from storage.words import Words

KNOWN_MAX = 10_000
Ints = NDArray[np.int64]


class Numbered(NamedTuple):
    """Rows with the seqs they have already; text columns may hold codes in place of words."""

    batch: TickBatch
    seqs: Ints


@dataclass(frozen=True, slots=True)
class About:
    """What batches of one kind share: codes, and by place what becomes of every column.

    `constants` and `nulls` have one value in all rows; the others come in the order of `places`,
    those of `texts` (where among them, and the name) maybe as words.
    """

    symbol: int
    contract: int
    constants: list[tuple[int, int | float]]
    nulls: list[int]
    places: list[int]
    texts: list[tuple[int, str]]
    marked: list[int]
    may_revise: bool


@dataclass(slots=True)
class Lane:
    """Where one symbol's next row goes."""

    block_number: int
    block: Block
    rows: int
    fills: list[int | float | None]  # per column, what the rest of the block is filled with
    about: About | None = None  # the last rows', whose constants fill the rest of the block


class Ready(NamedTuple):
    """A batch as it is stored: what its rows share, and the columns at `about.places`."""

    about: About
    columns: Sequence[NDArray[np.generic]]


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
        about = self._about(batch)
        columns = list(batch.columns.values())
        for at, name in about.texts:
            if columns[at].dtype == object:
                columns[at] = self._words.intern_all(name, columns[at].tolist())
        return Ready(about, columns)

    def write(self, lane: Lane, ready: Ready, start: int, seqs: Ints) -> None:
        """Write the batch's rows from row `start` on, one for each seq, to the end of a lane."""
        rows = slice(lane.rows, lane.rows + len(seqs))
        about, columns, values = ready.about, ready.columns, lane.block.values
        if lane.about is not about:
            self._fill_rest(lane, about)
        for place in about.nulls:
            values[place][rows] = np.nan
        if start or len(columns[0]) > len(seqs):
            columns = [column[start : start + len(seqs)] for column in columns]
        for place, column in zip(about.places, columns, strict=True):
            values[place][rows] = column
        for place in about.marked:
            self._mark(lane, place, rows)
        values[self._seq_place][rows] = seqs

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
        texts = self._layout.table.text_columns
        nulls = [place for place, value in constants if math.isnan(value)]
        places = [self._places[name] for name in batch.columns]
        has_bitmap = [column.bitmap_offset is not None for column in self._layout.columns]
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        known = About(
            words.intern("symbol", batch.symbol),
            contract,
            [(place, value) for place, value in constants if place not in nulls],
            nulls,
            places,
            [(at, name) for at, name in enumerate(batch.columns) if name in texts],
            [place for place in (*nulls, *places) if has_bitmap[place]],
            may_revise="kind" in batch.columns,
        )
        self._known[key] = known
        return known

    def _fill_rest(self, lane: Lane, about: About) -> None:
        """A constant is written once to the rest of the block, and again only when it changes."""
        for place, value in about.constants:
            if lane.fills[place] != value:
                lane.block.values[place][lane.rows :] = value
                lane.fills[place] = value
        for place in (*about.nulls, *about.places):
            lane.fills[place] = None
        lane.about = about

    def _mark(self, lane: Lane, place: int, rows: slice) -> None:
        """Flip the bits of rows that differ from the bitmap's default."""
        column = self._layout.columns[place]
        values = lane.block.values[place][rows]
        if not column.is_flag:
            assert values.dtype == np.float64
            few = len(values) <= FEW_ROWS
            if not math.isnan(sum(values.tolist()) if few else np.minimum.reduce(values)):
                return
            differs = np.isnan(values)
        else:
            differs = values != column.default
        bitmap = lane.block.bitmaps[place]
        assert bitmap is not None
        flip_bits(bitmap, rows.start, differs)
