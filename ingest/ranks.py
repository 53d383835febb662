"""Which rows of a file the tape already has, in little memory and whatever the file's order.

A row is known by (source, contract, source_seq, rank), the rank counting earlier rows of the file
with the same source_seq. So a row is new when the tape holds no more rows of its source_seq than
stand before it in the file.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.errors import FeedGarbled

Seqs = NDArray[np.int64]
KEPT_ROWS_MAX = 32_000_000


class Ranks:
    """Counts what came before in one file and one contract, chunk by chunk.

    Of earlier chunks only the range is kept; where ranges overlap, which a file in time order
    shows only at a chunk's edge, `recall` gives the source_seqs of an earlier chunk again.
    """

    def __init__(self, recall: Callable[[int], Seqs]) -> None:
        self._recall = recall
        self._ranges: list[tuple[int, int, int]] = []  # chunk, least and greatest source_seq

    def new_rows(self, seqs: Seqs, stored: Seqs) -> NDArray[np.bool_]:
        """Mask of the rows the tape lacks. `stored` may or may not hold this import's own rows.

        That it does not matter: rows this import has added are at most as many as stand before in
        the file, so they never outnumber a row's rank.
        """
        stored = np.sort(stored)
        if (seqs[1:] > seqs[:-1]).all():  # as nearly always
            return np.asarray(self._counts_before(seqs) >= _counts(stored, seqs))
        values, places = np.unique(seqs, return_inverse=True)
        rank = np.zeros(len(values), np.int64)[places]
        if len(values) < len(seqs):
            rank += _ranks_within(places)
        rank += self._counts_before(values)[places]
        return np.asarray(rank >= _counts(stored, values)[places])

    def remember(self, chunk: int, seqs: Seqs) -> None:
        """Note a chunk that has been dealt with."""
        if len(seqs):
            self._ranges.append((chunk, int(seqs.min()), int(seqs.max())))

    def _counts_before(self, values: Seqs) -> Seqs:
        counts = np.zeros(len(values), np.int64)
        if len(values) == 0:
            return counts
        first, last = int(values[0]), int(values[-1])
        for chunk, least, greatest in self._ranges:
            if least <= last and greatest >= first:
                counts += _counts(np.sort(self._recall(chunk)), values)
        return counts


class KeptSeqs:
    """Source_seqs of past chunks of a file that cannot be read twice; the oldest go first."""

    def __init__(self, rows_max: int = KEPT_ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._rows = 0
        self._chunks: dict[tuple[tuple[str, str], int], Seqs] = {}

    def keep(self, name: tuple[str, str], chunk: int, seqs: Seqs) -> None:
        """Keep a chunk of one symbol and contract."""
        self._chunks[name, chunk] = seqs
        self._rows += len(seqs)
        while self._rows > self._rows_max and len(self._chunks) > 1:
            oldest = next(iter(self._chunks))
            self._rows -= len(self._chunks.pop(oldest))

    def recall(self, name: tuple[str, str], chunk: int) -> Seqs:
        """Give a chunk back; raise FeedGarbled where it had to go."""
        seqs = self._chunks.get((name, chunk))
        if seqs is None:
            raise FeedGarbled(
                f"expected rows of {name[0]} in time order or at most {self._rows_max} rows, "
                "found a larger file that goes back in time",
                hint="sort the file by time, or split it",
            )
        return seqs


def _counts(among: Seqs, values: Seqs) -> Seqs:
    """How often each value occurs in a sorted array."""
    found = np.searchsorted(among, values, "right") - np.searchsorted(among, values, "left")
    return np.asarray(found, np.int64)


def _ranks_within(places: NDArray[np.intp]) -> Seqs:
    """For each row, how many rows before it have the same value."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    rows = np.arange(len(places))
    begins = np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], rows, 0))
    ranks = np.empty(len(places), np.int64)
    ranks[order] = rows - begins
    return ranks
