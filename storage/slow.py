"""The writer of one slow table: framed Arrow IPC batches in append-only logs.

Slow tables hold text and nested columns, a few rows a second. A frame is

    magic "TKFR" | payload bytes u32 | rows u32 | first_seq u64 | crc32c u32 | payload

where the payload is an Arrow IPC stream of one batch that stands alone, and the checksum covers
everything before and after it. A frame is visible once written and durable at the next commit.
A frame without payload sets numbers aside: their rows go straight to the lake and are never hot.
"""

import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from crc32c import crc32c

from core.errors import WalCorrupt
from core.log import Log
from core.schema import TABLES, Table
from storage.arrow_stream import arrow_bytes
from storage.disk import Disk, LogFile
from storage.head import Head, Word
from storage.paths import Paths
from storage.recovery import Hole, Recovered, segment_numbers

log = Log("hot")
MAGIC = b"TKFR"
FRAME = struct.Struct("<4sIIQ")
FRAME_BYTES = FRAME.size + 4
LOG_BYTES_MAX = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame found in a log."""

    start: int
    end: int
    rows: int
    first_seq: int
    payload: memoryview

    @property
    def last_seq(self) -> int:
        """Seq of its last row."""
        return self.first_seq + self.rows - 1

    @property
    def is_reservation(self) -> bool:
        """Whether its numbers belong to rows that are not here."""
        return not len(self.payload)


def encode_frame(batch: pa.RecordBatch, first_seq: int) -> bytes:
    """A batch as one frame."""
    return _framed(arrow_bytes(batch), batch.num_rows, first_seq)


def _framed(payload: bytes, rows: int, first_seq: int) -> bytes:
    head = FRAME.pack(MAGIC, len(payload), rows, first_seq)
    return head + struct.pack("<I", crc32c(payload, crc32c(head))) + payload


def scan_frames(raw: memoryview, start: int = 0) -> Iterator[Frame]:
    """Whole frames from `start` on; stops at the first that is not."""
    while start + FRAME_BYTES <= len(raw):
        magic, payload_bytes, rows, first_seq = FRAME.unpack_from(raw, start)
        body = start + FRAME_BYTES
        end = body + payload_bytes
        if magic != MAGIC or end > len(raw):
            return
        crc = int.from_bytes(raw[body - 4 : body], "little")
        if crc != crc32c(raw[body:end], crc32c(raw[start : start + FRAME.size])):
            return
        yield Frame(start, end, rows, first_seq, raw[body:end])
        start = end


def frame_after(raw: memoryview, start: int) -> int | None:
    """Where the next whole frame begins after a damaged one, or None: then it was a torn tail."""
    everything = bytes(raw[start:])
    place = everything.find(MAGIC, 1)
    while place != -1:
        if next(scan_frames(raw, start + place), None) is not None:
            return start + place
        place = everything.find(MAGIC, place + 1)
    return None


class SlowTable:
    """Appends to and commits the logs of one table."""

    def __init__(self, paths: Paths, table: str, *, disk: Disk) -> None:
        self.table = table
        self._paths = paths
        self._disk = disk
        self.lock = threading.Lock()
        self._commit_lock = threading.Lock()
        disk.make_folder(paths.hot(table))
        paths.hot(table).mkdir(parents=True, exist_ok=True)
        self.head = Head(paths.head(table), is_writer=True)
        self.next_seq = 1
        self._file: LogFile | None = None
        self._file_bytes = 0
        self._retired: list[LogFile] = []

    def append(self, rows: pa.RecordBatch | Sequence[dict[str, object]]) -> int:
        """Store rows without `seq`; visible on return. Give the first seq; raise DiskFull."""
        table = TABLES[self.table]
        with self.lock:
            batch = with_seq(table, rows, self.next_seq)
            if table.by_symbol:  # a partition is named by its symbol, so a seal needs one
                assert "" not in pc.unique(batch.column("symbol")).to_pylist(), "row of no symbol"
            if batch.num_rows == 0:
                return self.next_seq
            return self._write(encode_frame(batch, self.next_seq), batch.num_rows)

    def append_numbered(self, numbered: Callable[[int], bytes], rows: int) -> int:
        """Store rows whose bytes are made for the seq they are given; as `append`.

        They are an Arrow IPC stream of one batch in the table's plain schema.
        """
        with self.lock:
            return self._write(_framed(numbered(self.next_seq), rows, self.next_seq), rows)

    def reserve(self, rows: int) -> int:
        """Set numbers aside for rows that go straight to the lake; durable on return.

        Give the first of them. From now on memory alone answers only for what comes later.
        """
        assert rows > 0
        with self.lock:
            first_seq = self._write(_framed(b"", rows, self.next_seq), rows)
            self.head.words[Word.FIRST_SEQ] = self.next_seq
        self.commit()
        return first_seq

    def _write(self, frame: bytes, rows: int) -> int:
        file = self._log_file()
        file.append(frame)
        self._file_bytes += len(frame)
        first_seq = self.next_seq
        self.next_seq += rows
        self.head.words[Word.VISIBLE_SEQ] = self.next_seq - 1
        return first_seq

    def commit(self) -> int:
        """Make everything visible durable; a no-op when nothing is new."""
        with self._commit_lock:
            with self.lock:
                seq = self.next_seq - 1
                file = self._file
                retired, self._retired = self._retired, []
            for old in retired:
                old.sync()
                old.close()
            if file is not None and seq > self.head.words[Word.DURABLE_SEQ]:
                file.sync()
            self.head.words[Word.DURABLE_SEQ] = seq
            return seq

    def close(self) -> None:
        """Commit and let go."""
        self.commit()
        if self._file is not None:
            self._file.close()
            self._file = None

    def recover(self, *, sealed_seq: int = 0) -> Recovered:
        """Read the logs back and cut a torn tail; raise WalCorrupt for damage before it."""
        found = Recovered()
        numbers = segment_numbers(self._disk, self._paths, self.table)
        expected: int | None = None
        first_seq: int | None = None
        for number in list(numbers):
            path = self._paths.segment(self.table, number)
            raw = memoryview(self._disk.read(path))
            end = 0
            for frame in scan_frames(raw):
                if expected is not None and frame.first_seq > expected:
                    found.holes.append(Hole(self.table, expected, frame.first_seq - 1))
                expected = frame.first_seq + frame.rows
                if frame.is_reservation:
                    first_seq = None
                else:
                    first_seq = frame.first_seq if first_seq is None else first_seq
                    found.rows += frame.rows
                end = frame.end
            if end < len(raw):
                self._cut(number, raw, end, is_last=number == numbers[-1])
                found.cut_rows += 1
            if end == 0:
                self._disk.remove(path)
                numbers.remove(number)
        self.next_seq = max(expected or 1, sealed_seq + 1)
        self.head.begin(numbers, first_seq, self.next_seq)
        return found

    def _cut(self, number: int, raw: memoryview, end: int, *, is_last: bool) -> None:
        path = self._paths.segment(self.table, number)
        later = frame_after(raw, end)
        if later is not None or not is_last:
            raise WalCorrupt(
                f"hot/{self.table}/{path.name}: a frame at byte {end} is damaged and whole frames "
                f"follow it; good length: {end} bytes",
                hint=f"restore {path.name} from a backup; or, to go on without the rest of it, "
                f"run: truncate -s {end} {path.name}",
            )
        log.warning("log.tail_cut", table=self.table, number=number, bytes=len(raw) - end)
        self._disk.truncate(path, end)

    def _log_file(self) -> LogFile:
        if self._file is None or self._file_bytes > LOG_BYTES_MAX:
            number = self.head.words[Word.LAST_SEGMENT] + 1
            fresh = self._disk.open_log(self._paths.segment(self.table, number))
            if self._file is not None:
                self._retired.append(self._file)
            self._file = fresh
            self._file_bytes = 0
            self.head.words[Word.LAST_SEGMENT] = number
        return self._file


def drop_oldest_log(disk: Disk, paths: Paths, table: str, head: Head) -> bool:
    """Let go of a table's oldest log, once sealed; False where it is still written to.

    Any process may do this: the writer itself never goes back to an older log.
    """
    words = head.words
    number = words[Word.FIRST_SEGMENT]
    if number >= words[Word.LAST_SEGMENT]:
        return False
    raw = memoryview(disk.read(paths.segment(table, number + 1)))
    following = next(scan_frames(raw), None)
    first_seq = following.first_seq if following else words[Word.VISIBLE_SEQ] + 1
    words[Word.FIRST_SEQ] = max(first_seq, words[Word.FIRST_SEQ])
    words[Word.FIRST_SEGMENT] = number + 1
    disk.remove(paths.segment(table, number))
    disk.sync_folder(paths.hot(table))
    return True


def with_seq(
    table: Table, rows: pa.RecordBatch | Sequence[dict[str, object]], first_seq: int
) -> pa.RecordBatch:
    """Rows in the table's schema with plain text and our numbers; absent columns are null or 0."""
    if not isinstance(rows, pa.RecordBatch):
        named = {name for row in rows for name in row}
        fields = [field for field in table.plain_schema if field.name in named]
        columns = {f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in fields}
        return _completed(table, columns, _seqs(first_seq, len(rows)))
    if rows.schema.equals(table.unnumbered_schema):
        return numbered(table, rows.columns, first_seq)
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    return _completed(table, columns, _seqs(first_seq, rows.num_rows))


def numbered(table: Table, columns: Sequence[pa.Array], first_seq: int) -> pa.RecordBatch:
    """Columns in the order and types of the table's schema without seq, with our numbers."""
    seqs = _seqs(first_seq, len(columns[0]))
    if any(columns[place].null_count for place in _filled_places(table.name)):
        names = table.unnumbered_schema.names
        return _completed(table, dict(zip(names, columns, strict=True)), seqs)
    place = table.plain_schema.get_field_index("seq")
    whole = [*columns[:place], seqs, *columns[place:]]
    return pa.RecordBatch.from_arrays(whole, schema=table.plain_schema)


def _seqs(first_seq: int, rows: int) -> pa.Array:
    return pa.array(np.arange(first_seq, first_seq + rows))


def _completed(table: Table, columns: dict[str, pa.Array], seqs: pa.Array) -> pa.RecordBatch:
    given = columns | {"seq": seqs}
    arrays = []
    for field in table.plain_schema:
        column = given.get(field.name)
        if column is None:
            column = pa.nulls(len(seqs), field.type)
        elif column.type != field.type:
            column = column.cast(field.type)
        if column.null_count and not field.nullable:
            column = column.fill_null(_zero(field.type))
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, schema=table.plain_schema)


@cache
def _filled_places(table: str) -> list[int]:
    """Where in a table's schema without seq the columns are that have a value in every row."""
    fields = enumerate(TABLES[table].unnumbered_schema)
    return [place for place, field in fields if not field.nullable]


def _zero(kind: pa.DataType) -> pa.Scalar:
    return pa.scalar({"string": "", "binary": b"", "bool": False}.get(str(kind), 0), kind)
