"""The writer of one fast table: rows into blocks, blocks into segments, commits, recovery.

Any thread may append, one after the other; one more may commit at the same time, without ever
making an appender wait.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.batch import TickBatch
from core.log import Log
from storage import apart
from storage.disk import Disk
from storage.head import Head, Word
from storage.lane import About, Ints, Lane, LaneWriter, Numbered, Ready
from storage.layout import Layout, layout_of
from storage.newest import Newest
from storage.paths import Paths
from storage.recovery import Recovered, recover_segments
from storage.segment import Segment
from storage.words import Words

log = Log("hot")


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
        self.newest = Newest(self.head, self.layout) if table == "trades" else None
        self.next_seq = 1
        self._segment: Segment | None = None
        self._retired: deque[Segment] = deque()
        self._lanes: dict[int, Lane] = {}
        self._confirmed_seq = 0
        self._writer = LaneWriter(self.layout, words)
        self._seq_place = self.layout.place_of("seq")
        self._kind_place = self.layout.place_of("kind") if table == "trades" else -1

    @property
    def rows_max(self) -> int:
        """The most rows one batch may have: a whole segment."""
        return self.layout.block_rows * self.layout.blocks_max

    # -- appending ---------------------------------------------------------------------------

    def append(self, batch: TickBatch) -> int:
        """Store a batch; it is visible on return. Give its first seq.

        Raise DiskFull; then none of it is stored.
        """
        rows = batch.rows
        assert rows <= self.rows_max, f"a batch has at most {self.rows_max} rows"
        ready = self._writer.ready(batch)
        with self.lock:
            first_seq = self.next_seq
            lane = self._lanes.get(ready.about.symbol)
            if lane is None or lane.rows + rows > self.layout.block_rows:
                self._reserve({ready.about.symbol: rows})
            self._fill(ready, np.arange(first_seq, first_seq + rows))
            self._show()
            return first_seq

    def append_merged(self, parts: Sequence[Numbered]) -> int:
        """Store rows of several symbols that have their seqs; all are visible at once on return.

        Taken together the seqs go on after the last one, without a hole; the parts of a symbol
        come in their order. Give the first seq. Raise DiskFull; what is stored then is whole.
        """
        first_seq = int(min(part.seqs[0] for part in parts))
        rows = sum(len(part.seqs) for part in parts)
        assert max(part.seqs[-1] for part in parts) == first_seq + rows - 1, "holes or doubles"
        needs: dict[int, int] = {}
        ready = [self._writer.ready(part.batch) for part in parts]
        for each, part in zip(ready, parts, strict=True):
            needs[each.about.symbol] = needs.get(each.about.symbol, 0) + len(part.seqs)
        if sum(-(-count // self.layout.block_rows) for count in needs.values()) > (
            self.layout.blocks_max
        ):
            for half in _halves(parts, first_seq + rows // 2):
                self.append_merged(half)
            return first_seq
        with self.lock:
            assert first_seq == self.next_seq, (first_seq, self.next_seq)
            self._reserve(needs)
            for each, part in zip(ready, parts, strict=True):
                self._fill(each, part.seqs)
            self._show()
        return first_seq

    def _fill(self, ready: Ready, seqs: Ints) -> None:
        """Write rows where room was reserved for them; readers do not look there yet."""
        about, done = ready.about, 0
        lane = self._lanes.get(about.symbol)
        while done < len(seqs):
            if lane is None or lane.rows == self.layout.block_rows:
                lane = self._next_block(about.symbol)
            rows = min(self.layout.block_rows - lane.rows, len(seqs) - done)
            self._writer.write(lane, ready, done, seqs[done : done + rows])
            self._publish(about, lane, rows)
            done += rows
        self.next_seq += done

    def _publish(self, about: About, lane: Lane, rows: int) -> None:
        """Count a block's rows, and keep in mind which trade is the newest."""
        segment = self._segment
        assert segment is not None
        start = lane.rows
        lane.rows += rows
        segment.visible_rows[lane.block_number] = lane.rows
        if self.newest is not None:
            added = (start, lane.rows)
            self.newest.note(about.symbol, about.contract, segment, lane.block_number, added)
            if about.may_revise and lane.block.values[self._kind_place][start : lane.rows].any():
                self.newest.revise(about.symbol, segment, lane.block_number, added)

    def _show(self) -> None:
        """Let readers see every row so far, with its words."""
        self.head.words[Word.WORDS] = self._words.count
        self.head.words[Word.VISIBLE_SEQ] = self.next_seq - 1

    def _reserve(self, needs: Mapping[int, int]) -> None:
        """See to it that this segment has room for so many rows a symbol; raise DiskFull."""
        blocks = 0
        for symbol_code, rows in needs.items():
            lane = self._lanes.get(symbol_code)
            room = self.layout.block_rows - lane.rows if lane is not None else 0
            blocks += -(-max(rows - room, 0) // self.layout.block_rows)
        if blocks and (
            self._segment is None or self._segment.blocks_used + blocks > self.layout.blocks_max
        ):
            self._roll()

    def _next_block(self, symbol_code: int) -> Lane:
        assert self._segment is not None
        number = self._segment.add_block(symbol_code)
        assert number is not None, "room was reserved"
        block = self._segment.block(number)
        lane = Lane(number, block, 0, [0] * len(block.values))
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
        self._lanes.clear()  # every symbol takes a block of the new segment
        self.head.words[Word.LAST_SEGMENT] = fresh.number
        log.info("segment.opened", table=self.table, number=fresh.number, seq=self.next_seq)

    def set_front(self, symbol: str, contract: str) -> None:
        """Show this contract's trades alone as the last of a symbol, until told otherwise."""
        assert self.newest is not None, self.table
        with self.lock:
            codes = self._words.intern("symbol", symbol), self._words.intern("contract", contract)
            self.head.words[Word.WORDS] = self._words.count
            self.newest.set_front(*codes)

    def reserve(self, rows: int) -> int:
        """Set numbers aside for rows that go straight to the lake; durable on return.

        Give the first of them. From now on memory alone answers only for what comes later.
        """
        assert rows > 0
        with self._commit_lock, self.lock:
            first_seq = self.next_seq
            apart.note(self._disk, self._paths.hot(self.table), first_seq, first_seq + rows - 1)
            self.next_seq += rows
            if self._segment is not None:  # a segment's numbers are without holes
                self._retired.append(self._segment)
                self._segment = None
                self._lanes.clear()
            self.head.words[Word.VISIBLE_SEQ] = self.next_seq - 1
            self.head.words[Word.FIRST_SEQ] = self.next_seq
        self.commit()
        return first_seq

    # -- committing --------------------------------------------------------------------------

    def commit(self) -> int:
        """Make everything visible durable; give the durable seq. A no-op when nothing is new.

        The appender's lock is not taken, for a busy appender would never let go of it. Instead
        the seq is read before the rows, and rows after it are left for the next commit.
        """
        with self._commit_lock:
            seq = self.head.words[Word.VISIBLE_SEQ]
            segment = self._segment
            finished = []
            while self._retired:
                finished.append(self._retired.popleft())
                self._finish(finished[-1])
            if segment is not None and segment not in finished and seq > self._confirmed_seq:
                was = self.head.words[Word.DURABLE_SEQ]
                segment.commit(seq, self._rows_up_to(segment, seq))
                # A commit that adds nothing proves the one before it was synced whole.
                self._confirmed_seq = seq if was == seq else self._confirmed_seq
            self.head.words[Word.DURABLE_SEQ] = seq
            return seq

    def _rows_up_to(self, segment: Segment, seq: int) -> NDArray[np.int64]:
        """Rows of each block whose seq is at most `seq`."""
        rows = segment.visible_rows[: segment.blocks_used].astype(np.int64)
        for number in segment.grown_blocks(rows):  # the others hold what was committed before
            count = int(rows[number])
            seqs = segment.block(number).values[self._seq_place]
            if seqs[count - 1] > seq:
                rows[number] = np.searchsorted(seqs[:count], seq, "right")
        return rows

    def _finish(self, segment: Segment) -> None:
        """Commit a full segment twice, so that both slots prove all of it."""
        rows = segment.visible_rows[: segment.blocks_used].astype(np.int64)
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
            if self.newest is not None:
                self.newest.forget_segment(number)
            words[Word.FIRST_SEQ] = max(following, words[Word.FIRST_SEQ])
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

    def recover(
        self, *, sealed_seq: int = 0, newest_sealed_us: Mapping[str, int] | None = None
    ) -> Recovered:
        """Read the segments back; `sealed_seq` is the last seq the lake is known to hold.

        `newest_sealed_us` is the newest venue time the lake holds of each symbol: where that is
        newer than what is hot, readers look for the last trade there.

        Raise WalCorrupt where committed rows are damaged.
        """
        found = recover_segments(self._disk, self._paths, self.layout, self._words)
        self.head.forget_latest()
        for segment in found.segments:
            if self.newest is not None:
                self.newest.restore(segment)
            segment.close()
        if self.newest is not None:
            for symbol, newest_us in (newest_sealed_us or {}).items():
                # The lake knows whole microseconds.
                self.newest.set_floor(self._words.intern("symbol", symbol), newest_us * 1_000)
        numbers = [segment.number for segment in found.segments]
        ranges = apart.noted(self._disk, self._paths.hot(self.table))
        apart_seq = max((last_seq for _, last_seq in ranges), default=0)
        found.holes = apart.without(found.holes, ranges)
        self.next_seq = max(found.next_seq, sealed_seq + 1, apart_seq + 1)
        first_seq = max(found.segments[0].first_seq, apart_seq + 1) if numbers else None
        self.head.begin(numbers, first_seq, self.next_seq)
        self._confirmed_seq = self.next_seq - 1
        return found


def _halves(parts: Sequence[Numbered], middle_seq: int) -> Iterator[Sequence[Numbered]]:
    """The rows before a seq, and those from it on."""
    cuts = [int(np.searchsorted(part.seqs, middle_seq)) for part in parts]
    for rows in ([slice(0, cut) for cut in cuts], [slice(cut, None) for cut in cuts]):
        pairs = zip(parts, rows, strict=True)
        some = [Numbered(part.batch.take(cut), part.seqs[cut]) for part, cut in pairs]
        yield [part for part in some if len(part.seqs)]
