"""What Sierra Chart's files have in common: a header that is proven, then records of one length.

Bytes come from a `ReadAt` the caller hands in; nothing is written. Times are microseconds since
1899-12-30 UTC, little-endian.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import FeedGarbled

EPOCH_US = 2_209_161_600_000_000  # from 1899-12-30 to 1970-01-01
SAMPLE_RECORDS = 32_768

ReadAt = Callable[[int, int], bytes]  # (length, offset) to bytes, fewer only at the file's end
Records = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file: its suffix, the bytes it begins with, its header and its records."""

    suffix: str
    magic: bytes
    header_bytes: int
    record: np.dtype[Any]
    chunk_records: int


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A file with a proven header: `records` whole records from `header_bytes` on.

    `partial_bytes` follow the last whole record: the writer is in the middle of the next.
    """

    format: Format
    read_at: ReadAt
    header_bytes: int
    records: int
    partial_bytes: int

    def read(self, first: int, count: int) -> Records:
        """Up to `count` whole records from number `first` on."""
        step = self.format.record.itemsize
        count = max(0, min(count, self.records - first))
        raw = self.read_at(count * step, self.header_bytes + first * step)
        return np.frombuffer(raw, self.format.record, len(raw) // step)

    def chunks(self, rows: int | None = None) -> Iterator[Records]:
        """All whole records in order, in pieces of bounded size."""
        rows = rows or self.format.chunk_records
        for first in range(0, self.records, rows):
            yield self.read(first, rows)

    def sample(self) -> Iterator[Records]:
        """Records from the beginning, the middle and the end of the file."""
        places = {0, max(0, self.records // 2), max(0, self.records - SAMPLE_RECORDS)}
        for first in sorted(places):
            yield self.read(first, SAMPLE_RECORDS)

    def first_at(self, unix_us: int) -> int:
        """Number of the first record at or after a time, in a file whose times rise.

        Records without a time are room at the end that is not filled yet.
        """
        low, high = 0, self.records
        while low < high:
            middle = (low + high) // 2
            if 0 < int(self.read(middle, 1)["time"][0]) < unix_us + EPOCH_US:
                low = middle + 1
            else:
                high = middle
        return low


def prove(read_at: ReadAt, size: int, name: str, about: Format) -> RecordFile:
    """Prove the header of a file of `size` bytes; raise FeedGarbled where it is another's."""
    head = read_at(min(size, about.header_bytes), 0)
    header_bytes = int.from_bytes(head[4:8], "little")
    record_bytes = int.from_bytes(head[8:12], "little")
    fault = None
    if len(head) < about.header_bytes:
        fault = f"at least {about.header_bytes} bytes of header in {name}, found {len(head)}"
    elif head[:4] != about.magic:
        fault = f"{name} to begin with {about.magic!r}, found {head[:4]!r}"
    elif record_bytes != about.record.itemsize:
        fault = f"records of {about.record.itemsize} bytes in {name}, found {record_bytes}"
    elif not about.header_bytes <= header_bytes <= max(size, about.header_bytes):
        fault = f"a header of {about.header_bytes} bytes in {name}, found {header_bytes}"
    if fault is not None:
        raise FeedGarbled(
            f"expected {fault}",
            hint=f"give the {about.suffix} file as Sierra Chart wrote it; check that the copy is "
            "complete",
        )
    whole, partial_bytes = divmod(size - header_bytes, record_bytes)
    return RecordFile(about, read_at, header_bytes, whole, partial_bytes)
