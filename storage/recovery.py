"""Reading a fast table's segments back, after a kill, a power cut or a clean stop alike.

Rows of the same boot are kept as far as no seq is missing: the page cache has them. After a power
cut only rows that a commit proves are kept, a torn tail is cut and counted, and damage before it
stops the start.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.errors import WalCorrupt
from core.log import Log
from storage.disk import Disk
from storage.layout import Layout
from storage.paths import Paths
from storage.segment import Commit, Segment
from storage.words import Words

log = Log("hot")


@dataclass(frozen=True, slots=True)
class Hole:
    """Seqs that should be in the segments but are not: a segment was taken away."""

    table: str
    first_seq: int
    last_seq: int


@dataclass(slots=True)
class Recovered:
    """What a start found: rows kept, rows of a torn tail cut, holes between segments."""

    rows: int = 0
    cut_rows: int = 0
    next_seq: int = 1
    holes: list[Hole] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)


def recover_segments(disk: Disk, paths: Paths, layout: Layout, words: Words) -> Recovered:
    """Recover every segment of a table, oldest first; raise WalCorrupt."""
    table = layout.table.name
    segments = [
        Segment.open(disk, paths.segment(table, number), layout)
        for number in segment_numbers(disk, paths, table)
    ]
    # Only rows after the last segment with a commit can be torn: committing a segment comes after
    # finishing the ones before it.
    committed = [place for place, segment in enumerate(segments) if segment.commits()]
    tail = committed[-1] if committed else 0
    found = Recovered()
    expected: int | None = None
    for place, segment in enumerate(segments):
        rows = _recover_one(segment, found, disk.boot_id(), words, is_tail=place >= tail)
        if rows == 0:
            segment.close()
            disk.remove(paths.segment(table, segment.number))
            continue
        if expected is not None and segment.first_seq > expected:
            found.holes.append(Hole(table, expected, segment.first_seq - 1))
        expected = segment.first_seq + rows
        found.rows += rows
        found.segments.append(segment)
    found.next_seq = expected or 1
    return found


def _recover_one(
    segment: Segment, found: Recovered, boot_id: str, words: Words, *, is_tail: bool
) -> int:
    """Decide which rows of a segment stand, make them visible and durable; give their number."""
    commits = segment.commits()
    same_boot = segment.is_of_boot(boot_id)
    kept = _proven(segment, commits, words, may_cut=is_tail and not same_boot)
    symbols = kept.symbols if kept else np.zeros(0, np.uint64)
    rows = kept.rows if kept else np.zeros(0, np.uint64)
    if same_boot:
        used = segment.blocks_used
        symbols = segment.symbols[:used].copy()
        rows = _without_holes(segment, segment.visible_rows[:used].copy())
    cut = int(segment.visible_rows.sum()) - int(rows.sum())
    if cut > 0:
        found.cut_rows += cut
        log.warning(
            "segment.tail_cut", table=segment.layout.table.name, number=segment.number, rows=cut
        )
    segment.restore(symbols, rows)
    total = int(rows.sum())
    if len(commits) < 2 or not all(np.array_equal(commit.rows, rows) for commit in commits):
        for _ in range(2):
            segment.commit(segment.first_seq - 1 + total, rows.astype(np.int64))
    return total


def _without_holes(segment: Segment, rows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Of each block's rows, those before the first seq that is missing.

    Rows of several symbols may be appended at once, and a kill come between two of their blocks.
    None of those was visible yet.
    """
    place = segment.layout.place_of("seq")
    seqs = [
        segment.block(number).values[place][: int(count)].astype(np.int64, copy=False)
        for number, count in enumerate(rows)
    ]
    total = int(rows.sum())
    last_seq = max((int(some[-1]) for some in seqs if len(some)), default=0)
    if last_seq <= segment.first_seq - 1 + total:
        return rows
    there = np.sort(np.concatenate(seqs))
    end_seq = segment.first_seq + int(np.argmax(there != segment.first_seq + np.arange(total)))
    return np.array([np.searchsorted(some, end_seq) for some in seqs], np.uint64)


def _proven(
    segment: Segment, commits: list[Commit], words: Words, *, may_cut: bool
) -> Commit | None:
    """The newest commit whose rows are as it says; raise WalCorrupt where none may be cut."""
    for place, commit in enumerate(commits):
        damaged = segment.damaged_blocks(commit)
        if not damaged:
            return commit
        # The very first commit may be torn as well; any other has a synced one before it.
        is_older = place == len(commits) - 1 and commits[0].number > 1
        if not may_cut or is_older:
            raise _corrupt(segment, commit, damaged, words)
    return None


def _corrupt(segment: Segment, commit: Commit, damaged: list[int], words: Words) -> WalCorrupt:
    folder, name = f"hot/{segment.layout.table.name}/", f"{segment.number:08d}.seg"
    good = int(sum(commit.rows)) - int(sum(commit.rows[number] for number in damaged))
    names = words.by_column.get("symbol", [])
    lost = ", ".join(
        f"block {n} ({names[int(commit.symbols[n])]}, {int(commit.rows[n])} rows)" for n in damaged
    )
    return WalCorrupt(
        f"{folder}{name}: committed rows do not match their checksum in {lost}; "
        f"good length: {good} of {int(sum(commit.rows))} rows",
        hint=f"restore {name} from a backup; or, to go on without it, move it out of "
        f"{folder} and start again: the hole is then recorded in table gaps",
    )


def segment_numbers(disk: Disk, paths: Paths, table: str) -> list[int]:
    """Numbers of a table's segment files, ascending."""
    return [
        int(name.removesuffix(".seg"))
        for name in disk.names(paths.hot(table))
        if name.endswith(".seg")
    ]
