"""The writer of one fast table: rows into blocks, blocks into segments, commits, recovery.

One thread appends; one other may commit. Both take `lock` for a moment: the appender while it
writes a batch, the committer while it notes how far the rows go. Syncing happens outside the lock.
"""

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.batch import TickBatch
from core.errors import WalCorrupt
from core.log import Log
from storage.disk import Disk
from storage.head import Head, Word
from storage.layout import Layout, layout_of
from storage.paths import Paths
from storage.segment import Block, Commit, Segment, flip_bits
from storage.words import Words

log = Log("hot")
ORDER_COLUMNS = ("ts_event", "ts_ns", "seq")


@dataclass(frozen=True, slots=True)
class Hole:
    """Seqs that should be in the segments but are not: a segment was taken away."""

    table: str
    first_seq: int
    last_seq: int


@dataclass(slots=True)
class Lane:
    """Where one symbol's next row goes."""

    block_number: int
    block: Block
    rows: int
    latest_ns: int = -(2**62)


@dataclass(slots=True)
class Recovered:
    """What a start found: rows kept, rows of a torn tail cut, holes between segments."""

    rows: int = 0
    cut_rows: int = 0
    holes: list[Hole] = field(default_factory=list)


class FastTable:
    """Appends to and commits the segments of one table."""

    def __init__(
        self,
        paths: Paths,
        table: str,
        *,
        words: Words,
        disk: Disk,
        layout: Layout | None = None,
    ) -> None:
        self.table = table
        self.layout = layout or layout_of(table)
        self._paths = paths
        self._words = words
        self._disk = disk
        self.lock = threading.Lock()
        self._commit_lock = threading.Lock()
        disk.make_folder(paths.hot(table))
        paths.hot(table).mkdir(parents=True, exist_ok=True)
        self.head = Head(paths.head(table), is_writer=True)
        self.next_seq = 1
        self._segment: Segment | None = None
        self._retired: list[Segment] = []
        self._lanes: dict[int, Lane] = {}
        self._confirmed_seq = 0
        self._places = {c.name: i for i, c in enumerate(self.layout.columns)}

    # -- appending ---------------------------------------------------------------------------

    def append(self, batch: TickBatch) -> int:
        """Store a batch; it is visible on return. Give its first seq; raise DiskFull."""
        symbol_code = self._words.intern("symbol", batch.symbol)
        columns = self._encoded(batch)
        self.head.words[Word.WORDS] = self._words.count
        with self.lock:
            first_seq = self.next_seq
            done = 0
            while done < batch.rows:
                lane = self._lane(symbol_code)
                rows = min(self.layout.block_rows - lane.rows, batch.rows - done)
                self._write(lane, columns, slice(done, done + rows))
                self._publish(symbol_code, lane, rows)
                done += rows
            return first_seq

    def _encoded(self, batch: TickBatch) -> list[tuple[int, NDArray[np.generic] | int | float]]:
        """The batch's columns by place, text as codes; what is left out has its default."""
        words = self._words
        columns: list[tuple[int, NDArray[np.generic] | int | float]] = [
            (self._places["source"], words.intern("source", batch.source)),
            (self._places["contract"], words.intern("contract", batch.contract)),
        ]
        given = batch.columns
        for place, column in enumerate(self.layout.columns):
            values = given.get(column.name)
            if values is not None:
                if values.dtype == object:
                    values = words.intern_all(column.name, values.tolist())
                columns.append((place, values))
            elif column.default:
                columns.append((place, column.default))
            elif column.name == "conditions":
                columns.append((place, words.intern("conditions", "")))
        return columns

    def _write(
        self, lane: Lane, columns: list[tuple[int, NDArray[np.generic] | int | float]], part: slice
    ) -> None:
        start = lane.rows
        end = start + part.stop - part.start
        values, bitmaps = lane.block.values, lane.block.bitmaps
        for place, column in columns:
            target = values[place]
            if isinstance(column, np.ndarray):
                target[start:end] = column[part]
            else:
                target[start:end] = column
            bitmap = bitmaps[place]
            if bitmap is not None:
                self._mark(place, bitmap, start, target[start:end])
        values[self._places["seq"]][start:end] = np.arange(
            self.next_seq, self.next_seq + end - start
        )

    def _mark(
        self, place: int, bitmap: NDArray[np.uint8], start: int, values: NDArray[np.generic]
    ) -> None:
        column = self.layout.columns[place]
        differs = values != (column.default if column.is_flag else values)  # NaN differs from NaN
        if differs.any():
            flip_bits(bitmap, start, differs)

    def _publish(self, symbol_code: int, lane: Lane, rows: int) -> None:
        """Move the counters readers look at, the rows' own first and the table's last."""
        assert self._segment is not None
        lane.rows += rows
        self.next_seq += rows
        self._segment.visible_rows[lane.block_number] = lane.rows
        if self.table == "trades":
            self._note_latest(symbol_code, lane, lane.rows - rows)
        self.head.words[Word.VISIBLE_SEQ] = self.next_seq - 1

    def _note_latest(self, symbol_code: int, lane: Lane, start: int) -> None:
        """Remember the newest valid trade of the symbol, by venue time and then seq."""
        assert self._segment is not None
        values = lane.block.values
        times = values[self._places["ts_event"]][start : lane.rows]
        row = len(times) - 1
        valid = values[self._places["valid"]][start : lane.rows]
        if not (valid[row] and times[row] == times.max()):
            candidates = np.flatnonzero(valid)
            if not len(candidates):
                return
            rest = values[self._places["ts_ns"]][start : lane.rows]
            row = int(candidates[np.lexsort((rest[candidates], times[candidates]))[-1]])
        newest_ns = int(times[row]) * 1000 + int(values[self._places["ts_ns"]][start + row])
        if newest_ns >= lane.latest_ns:
            lane.latest_ns = newest_ns
            self.head.set_latest(symbol_code, self._segment.number, lane.block_number, start + row)

    def _lane(self, symbol_code: int) -> Lane:
        lane = self._lanes.get(symbol_code)
        if lane is not None and lane.rows < self.layout.block_rows:
            return lane
        latest_ns = lane.latest_ns if lane is not None else -(2**62)
        number = self._segment.add_block(symbol_code) if self._segment is not None else None
        if number is None:
            self._roll()
            assert self._segment is not None
            number = self._segment.add_block(symbol_code)
            assert number is not None
        lane = Lane(number, self._segment.block(number), 0, latest_ns)  # type: ignore[union-attr]
        self._lanes[symbol_code] = lane
        return lane

    def _roll(self) -> None:
        """Begin a new segment; the old one gets its last commit from the committer."""
        last = self.head.words[Word.LAST_SEGMENT]
        fresh = Segment.create(
            self._disk,
            self._paths.segment(self.table, last + 1),
            self.layout,
            number=last + 1,
            first_seq=self.next_seq,
        )
        if self._segment is not None:
            self._retired.append(self._segment)
        self._segment = fresh
        for lane in self._lanes.values():
            lane.rows = self.layout.block_rows  # every symbol takes a block of the new segment
        self.head.words[Word.LAST_SEGMENT] = fresh.number
        log.info("segment.opened", table=self.table, number=fresh.number, seq=self.next_seq)

    # -- committing --------------------------------------------------------------------------

    def commit(self) -> int:
        """Make everything visible durable; give the durable seq. A no-op when nothing is new."""
        with self._commit_lock:
            with self.lock:
                retired, self._retired = self._retired, []
                segment = self._segment
                seq = self.next_seq - 1
                rows = None if segment is None else self._rows_of(segment)
            for old in retired:
                self._finish(old)
            if segment is not None and rows is not None and seq > self._confirmed_seq:
                was = self.head.words[Word.DURABLE_SEQ]
                segment.commit(seq, rows)
                # A commit that adds nothing proves the one before it was synced whole.
                self._confirmed_seq = seq if was == seq else self._confirmed_seq
            self.head.words[Word.DURABLE_SEQ] = seq
            return seq

    @staticmethod
    def _rows_of(segment: Segment) -> NDArray[np.int64]:
        return segment.visible_rows[: segment.blocks_used].astype(np.int64)

    def _finish(self, segment: Segment) -> None:
        """Commit a full segment twice, so that both slots prove all of it."""
        rows = self._rows_of(segment)
        last_seq = segment.first_seq - 1 + int(rows.sum())
        segment.commit(last_seq, rows)
        segment.commit(last_seq, rows)
        segment.close()
        path = self._paths.segment(self.table, segment.number)
        self._disk.truncate(path, self.layout.block_start(segment.blocks_used))

    def drop(self, number: int) -> bool:
        """Let go of the oldest segment, once sealed; False where it is still written to."""
        with self._commit_lock, self.lock:
            words = self.head.words
            assert number == words[Word.FIRST_SEGMENT], number
            if number == words[Word.LAST_SEGMENT]:
                return False
            if any(segment.number == number for segment in self._retired):
                return False  # its last commit is still to come
            following = self._first_seq_of(number + 1)
            for code in range(len(self._words.by_column.get("symbol", ()))):
                place = self.head.latest(code)
                if place is not None and place[0] == number:
                    self.head.clear_latest(code)
            words[Word.FIRST_SEQ] = following
            words[Word.FIRST_SEGMENT] = number + 1
        self._disk.remove(self._paths.segment(self.table, number))
        self._disk.sync_folder(self._paths.hot(self.table))
        return True

    def _first_seq_of(self, number: int) -> int:
        if self._segment is not None and self._segment.number == number:
            return self._segment.first_seq
        path = self._paths.segment(self.table, number)
        segment = Segment.open(self._disk, path, self.layout)
        segment.close()
        return segment.first_seq

    def close(self) -> None:
        """Commit and let go; nothing may be appended afterwards."""
        self.commit()
        with self.lock:
            if self._segment is not None:
                self._finish(self._segment)
            self._segment = None

    # -- recovery ----------------------------------------------------------------------------

    def recover(self, *, sealed_seq: int = 0) -> Recovered:
        """Read the segments back; `sealed_seq` is the last seq the lake is known to hold.

        Raise WalCorrupt where committed rows are damaged.
        """
        found = Recovered()
        numbers = segment_numbers(self._disk, self._paths, self.table)
        segments = [
            Segment.open(self._disk, self._paths.segment(self.table, number), self.layout)
            for number in numbers
        ]
        # Only rows after the last segment with a commit can be torn: committing a segment comes
        # after finishing the ones before it.
        committed = [place for place, segment in enumerate(segments) if segment.commits()]
        tail = committed[-1] if committed else 0
        expected = None
        for place, segment in enumerate(segments):
            rows = self._recover_one(segment, found, is_tail=place >= tail)
            segment.close()
            if rows == 0:
                self._disk.remove(self._paths.segment(self.table, segment.number))
                numbers.remove(segment.number)
                continue
            if expected is not None and segment.first_seq > expected:
                found.holes.append(Hole(self.table, expected, segment.first_seq - 1))
            expected = segment.first_seq + rows
            found.rows += rows
        self.next_seq = max(expected or 1, sealed_seq + 1)
        words = self.head.words
        words[Word.FIRST_SEGMENT] = numbers[0] if numbers else 1
        words[Word.LAST_SEGMENT] = numbers[-1] if numbers else 0
        first = next((s.first_seq for s in segments if s.number in numbers), self.next_seq)
        words[Word.FIRST_SEQ] = first
        words[Word.VISIBLE_SEQ] = self.next_seq - 1
        words[Word.DURABLE_SEQ] = self.next_seq - 1
        self._confirmed_seq = self.next_seq - 1
        return found

    def _recover_one(self, segment: Segment, found: Recovered, *, is_tail: bool) -> int:
        commits = segment.commits()
        same_boot = segment.is_of_boot(self._disk.boot_id())
        kept = self._proven(segment, commits, may_cut=is_tail and not same_boot)
        symbols = kept.symbols if kept else np.zeros(0, np.uint64)
        rows = kept.rows if kept else np.zeros(0, np.uint64)
        if same_boot:
            used = segment.blocks_used
            symbols = segment.symbols[:used].copy()
            rows = segment.visible_rows[:used].copy()
        cut = int(segment.visible_rows.sum()) - int(rows.sum())
        if cut > 0:
            found.cut_rows += cut
            log.warning("segment.tail_cut", table=self.table, number=segment.number, rows=cut)
        segment.restore(symbols, rows)
        self._restore_latest(segment)
        total = int(rows.sum())
        is_finished = len(commits) == 2 and all(
            np.array_equal(commit.rows, rows) for commit in commits
        )
        if not is_finished:
            segment.commit(segment.first_seq - 1 + total, rows.astype(np.int64))
            segment.commit(segment.first_seq - 1 + total, rows.astype(np.int64))
        return total

    def _proven(self, segment: Segment, commits: list[Commit], *, may_cut: bool) -> Commit | None:
        """The newest commit whose rows are as it says; raise WalCorrupt where none may be cut."""
        for place, commit in enumerate(commits):
            damaged = segment.damaged_blocks(commit)
            if not damaged:
                return commit
            # The very first commit may be torn as well; any other has a synced one before it.
            is_older = place == len(commits) - 1 and commits[0].number > 1
            if not may_cut or is_older:
                raise self._corrupt(segment, commit, damaged)
        return None

    def _corrupt(self, segment: Segment, commit: Commit, damaged: list[int]) -> WalCorrupt:
        path = self._paths.segment(self.table, segment.number)
        good = int(sum(commit.rows)) - int(sum(commit.rows[number] for number in damaged))
        names = self._words.by_column.get("symbol", [])
        lost = ", ".join(
            f"block {n} ({names[int(commit.symbols[n])]}, {int(commit.rows[n])} rows)"
            for n in damaged
        )
        return WalCorrupt(
            f"hot/{self.table}/{path.name}: committed rows do not match their checksum in {lost}; "
            f"good length: {good} of {int(sum(commit.rows))} rows",
            hint=f"restore {path.name} from a backup; or, to go on without it, move it out of "
            f"hot/{self.table}/ and start again: the hole is then recorded in table gaps",
        )

    def _restore_latest(self, segment: Segment) -> None:
        """Find each symbol's newest valid trade again, as appending had found it."""
        if self.table != "trades":
            return
        self._segment = segment
        for number in range(segment.blocks_used):
            code = int(segment.symbols[number])
            before = self._lanes.get(code)
            lane = Lane(number, segment.block(number), int(segment.visible_rows[number]))
            lane.latest_ns = before.latest_ns if before else lane.latest_ns
            if lane.rows:
                self._note_latest(code, lane, 0)
            lane.rows = self.layout.block_rows
            self._lanes[code] = lane
        self._segment = None


def segment_numbers(disk: Disk, paths: Paths, table: str) -> list[int]:
    """Numbers of a table's segment files, ascending."""
    return [
        int(name.removesuffix(".seg"))
        for name in disk.names(paths.hot(table))
        if name.endswith(".seg")
    ]
