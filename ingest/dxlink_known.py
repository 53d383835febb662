"""Which prints of a contract are stored already, by the source's own index.

The same index with the same content is a duplicate; with other content, or as a correction or
cancel, it is a revision. A print that comes after its own revision does not undo it. Prints older
than what is remembered are looked up on the tape.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ingest.dxlink_columns import CORRECTION, KIND, VALID, Ints, Prints, event_us

KEPT_MAX = 400_000


@dataclass(frozen=True, slots=True)
class Stored:
    """Indices and content of stored prints, in the order they were stored."""

    index: Ints
    content: Ints

    def overlapping(self, wanted: Ints) -> "Stored":
        """Only those whose index is among `wanted`."""
        rows = np.isin(self.index, wanted)
        return Stored(self.index[rows], self.content[rows])


LookUp = Callable[[int, int], Stored]  # prints with start_us <= ts_event < end_us


class Known:
    """The memory of one contract."""

    def __init__(self, look_up: LookUp, floor_us: int) -> None:
        self._look_up = look_up
        self._floor_us = floor_us  # everything stored from here on is in memory
        first = look_up(floor_us, 2**62)
        self._chunks = [first] if len(first.index) else []
        self._count = len(first.index)
        self.newest = int(first.index.max()) if len(first.index) else 0

    def holds(self, index: Ints) -> NDArray[np.bool_]:
        """Which of these indices are stored already."""
        return np.isin(index, self._versions(index).index)

    def newest_until(self, index: int) -> int:
        """The newest index remembered that is not beyond one; that one where there is none."""
        found = [c.index[c.index <= index].max(initial=0) for c in self._chunks]
        return int(max(found, default=0)) or index

    def fresh(self, prints: Prints) -> Prints:
        """What must be stored of these prints: no duplicates, revisions marked as such.

        They are remembered as stored; prints of one call come in order of index, then as they came.
        """
        index = prints.index
        if not (len(index) and index[0] > self.newest and (index[1:] > index[:-1]).all()):
            prints = self._judged(prints)
        if len(prints):
            self._remember(Stored(prints.index, prints.content))
        return prints

    def _judged(self, prints: Prints) -> Prints:
        """The rows to keep: an unmarked revision as such, what is revised already as invalid."""
        index, content = prints.index, prints.content.copy()
        order = np.argsort(index, kind="stable")
        seen = self._versions(index)
        versions: dict[int, list[int]] = {}
        for key, version in zip(seen.index.tolist(), seen.content.tolist(), strict=True):
            versions.setdefault(key, []).append(version)
        keep = []
        for row in order.tolist():
            known = versions.setdefault(int(index[row]), [])
            version = _version(int(content[row]), known)
            if version is not None:
                content[row] = version
                known.append(version)
                keep.append(row)
        changed = content != prints.content
        if changed.any():
            kinds, valid = prints.kinds.copy(), prints.valid & ((content & VALID) != 0)
            kinds[changed & ((content & KIND) != 0)] = "correction"
            columns = {**prints.columns, "kind": kinds, "valid": valid}
            prints = replace(prints, columns=columns, content=content)
        return prints.take(np.array(keep, np.intp))

    def _versions(self, index: Ints) -> Stored:
        if not len(index):
            return Stored(np.empty(0, np.int64), np.empty(0, np.int64))
        low, high = int(index.min()), int(index.max())
        parts = []
        low_us = event_us(low)
        if low_us < self._floor_us:
            end_us = min(event_us(high) + 1_000, self._floor_us)
            parts.append(self._look_up(low_us, end_us).overlapping(index))
        if low <= self.newest:
            parts += [
                chunk.overlapping(index)
                for chunk in self._chunks
                if chunk.index.min() <= high and chunk.index.max() >= low
            ]
        parts = parts or [Stored(np.empty(0, np.int64), np.empty(0, np.int64))]
        return Stored(
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.content for part in parts]),
        )

    def _remember(self, stored: Stored) -> None:
        self._chunks.append(stored)
        self._count += len(stored.index)
        self.newest = max(self.newest, int(stored.index.max()))
        if len(self._chunks) > 256 or self._count > KEPT_MAX:
            self._compact()

    def _compact(self) -> None:
        """One chunk of the newest; what is let go of is found on the tape."""
        index = np.concatenate([chunk.index for chunk in self._chunks])
        content = np.concatenate([chunk.content for chunk in self._chunks])
        if len(index) > KEPT_MAX:
            edge = int(np.partition(index, len(index) - KEPT_MAX // 2)[len(index) - KEPT_MAX // 2])
            # A whole millisecond is kept or let go, so that the floor cuts no index in two.
            self._floor_us = max(self._floor_us, event_us(edge))
            keep = index >= (edge >> 22) << 22
            index, content = index[keep], content[keep]
        self._chunks = [Stored(index, content)]
        self._count = len(index)


def _version(told: int, known: list[int]) -> int | None:
    """What a row is, given the versions stored of its print; None where it is one of them."""
    if not known:
        return told
    if told & KIND:
        revisions = [version for version in known if version & KIND]
        return None if told in revisions[-1:] else told
    if told in [version & ~KIND for version in known]:
        return None
    if not known[0] & KIND:
        return told | CORRECTION
    late = told & ~VALID  # the original of what is revised already
    return None if late in known else late
