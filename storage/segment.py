"""One segment file: blocks of rows, the commit that makes them durable, and reading it back.

A commit writes a slot (commit number, seq, and per block its symbol, row count and running crc32c)
and then syncs the whole file, so one sync makes rows and proof durable together. Two slots are
written in turn: the newer one may be torn by a power cut, the older one was synced before the newer
was begun. Hence: newer slot good, all is well; newer bad and older good, the tail was torn and is
cut; both bad, committed rows were damaged and the start stops.

After a mere kill (same boot id) the page cache still has every row that was visible, committed or
not, and all of them are kept.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from core.errors import WalCorrupt
from storage.disk import Disk, Mapping
from storage.layout import (
    BLOCKS_MAX,
    MAGIC,
    PAGE,
    SLOT_PAGES,
    TABLE_LINE,
    TABLE_OFFSET,
    VERSION,
    VISIBLE_PAGE,
    Layout,
)

IDENTITY = struct.Struct("<8sIIQQ")  # magic, version, schema id, number, first_seq
BOOT_ID_BYTES = 64
SLOT_WORDS = 4 + 3 * BLOCKS_MAX  # commit number, seq, blocks, spare; symbol, rows, crc per block
assert SLOT_WORDS * 8 <= PAGE


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit slot proves: rows of each block whose checksum is known."""

    number: int
    seq: int
    symbols: NDArray[np.uint64]
    rows: NDArray[np.uint64]
    crcs: NDArray[np.uint64]


class Block:
    """One block's columns as numpy arrays over the map, and its bitmaps."""

    __slots__ = ("bitmaps", "raw", "values")

    def __init__(self, layout: Layout, buffer: memoryview, number: int) -> None:
        start = layout.block_start(number)
        self.values: list[NDArray[np.generic]] = []
        self.raw: list[tuple[memoryview, int]] = []  # bytes of each column, and bytes of a value
        self.bitmaps: list[NDArray[np.uint8] | None] = []
        for column in layout.columns:
            self.values.append(
                np.frombuffer(buffer, column.dtype, layout.block_rows, start + column.offset)
            )
            self.raw.append((self.values[-1].view(np.uint8).data, column.dtype.itemsize))
            bitmap = None
            if column.bitmap_offset is not None:
                bitmap = np.frombuffer(
                    buffer, np.uint8, layout.block_rows // 8, start + column.bitmap_offset
                )
            self.bitmaps.append(bitmap)

    def crc(self, rows: int) -> int:
        """crc32c over the column checksums of the first `rows` rows."""
        sums = np.array([crc32c(raw[: rows * width]) for raw, width in self.raw], np.uint32)
        return int(crc32c(sums.view(np.uint8).data))

    def clear_bitmaps(self, layout: Layout) -> None:
        """Fill the bitmaps with their defaults."""
        for column, bitmap in zip(layout.columns, self.bitmaps, strict=True):
            if bitmap is not None:
                bitmap[:] = column.fill

    def rebuild_bitmaps(self, layout: Layout, rows: int) -> None:
        """Derive the bitmaps of the first `rows` rows from the values."""
        self.clear_bitmaps(layout)
        for column, values, bitmap in zip(layout.columns, self.values, self.bitmaps, strict=True):
            if bitmap is not None:
                differs = values[:rows] != column.default if column.is_flag else _nan(values[:rows])
                flip_bits(bitmap, 0, differs)


def _nan(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.isnan(values.astype(np.float64, copy=False))


def flip_bits(bitmap: NDArray[np.uint8], start: int, rows: NDArray[np.bool_]) -> None:
    """Flip the bits of the rows marked, the first of which is row `start`."""
    places = np.flatnonzero(rows)
    if len(places):
        places = places + start
        np.bitwise_xor.at(bitmap, places >> 3, np.left_shift(1, places & 7).astype(np.uint8))


class Segment:
    """A mapped segment file, open for writing."""

    def __init__(self, layout: Layout, mapping: Mapping, number: int, first_seq: int) -> None:
        self.layout = layout
        self.number = number
        self.first_seq = first_seq
        self._mapping = mapping
        buffer = mapping.buffer
        self._slots = [
            np.frombuffer(buffer, np.uint64, SLOT_WORDS, page * PAGE) for page in SLOT_PAGES
        ]
        self._slot_crcs = [
            np.frombuffer(buffer, np.uint64, 1, (page + 1) * PAGE - 8) for page in SLOT_PAGES
        ]
        self._boot = np.frombuffer(buffer, np.uint8, BOOT_ID_BYTES, VISIBLE_PAGE * PAGE + 8)
        self._used = np.frombuffer(buffer, np.uint64, 1, VISIBLE_PAGE * PAGE)
        lines = np.frombuffer(buffer, np.uint64, BLOCKS_MAX * TABLE_LINE // 8, TABLE_OFFSET)
        lines = lines.reshape(BLOCKS_MAX, TABLE_LINE // 8)
        self.symbols = lines[:, 0]
        self.visible_rows = lines[:, 1]
        self._commit_number = 0
        # Running checksums: rows covered and crc of each column, per block.
        self._summed_rows = np.zeros(BLOCKS_MAX, np.int64)
        self._column_crcs = np.zeros((BLOCKS_MAX, len(layout.columns)), np.uint32)
        self._block_crcs = np.zeros(BLOCKS_MAX, np.uint64)
        self._blocks: dict[int, Block] = {}

    @classmethod
    def create(
        cls, disk: Disk, path: Path, layout: Layout, *, number: int, first_seq: int
    ) -> "Segment":
        """Make a segment with all its room reserved; raise DiskFull."""
        identity = IDENTITY.pack(MAGIC, VERSION, layout.schema_id, number, first_seq)
        head = identity + struct.pack("<I", crc32c(identity))
        segment = cls(layout, disk.create(path, layout.segment_bytes, head), number, first_seq)
        segment.mark_boot(disk.boot_id())
        return segment

    @classmethod
    def open(cls, disk: Disk, path: Path, layout: Layout) -> "Segment":
        """Map an existing segment; raise WalCorrupt where it is not one of this table."""
        mapping = disk.map(path)
        head = bytes(mapping.buffer[: IDENTITY.size + 4]) if len(mapping.buffer) >= PAGE else b""
        if len(head) < IDENTITY.size + 4 or crc32c(head[: IDENTITY.size]) != int.from_bytes(
            head[IDENTITY.size :], "little"
        ):
            raise WalCorrupt(f"{path.name}: header is damaged", hint=_move_aside(path))
        magic, version, schema_id, number, first_seq = IDENTITY.unpack(head[: IDENTITY.size])
        if magic != MAGIC or version != VERSION or schema_id != layout.schema_id:
            raise WalCorrupt(
                f"{path.name}: expected {MAGIC!r} version {VERSION} schema {layout.schema_id}, "
                f"found {magic!r} version {version} schema {schema_id}",
                hint="it was written by another version of tickflight; start that one and let it "
                "seal, or move the file out of the data folder",
            )
        return cls(layout, mapping, number, first_seq)

    @property
    def blocks_used(self) -> int:
        """Blocks given to a symbol so far."""
        return int(self._used[0])

    def block(self, number: int) -> Block:
        """The arrays of one block."""
        if number not in self._blocks:
            self._blocks[number] = Block(self.layout, self._mapping.buffer, number)
        return self._blocks[number]

    def add_block(self, symbol_code: int) -> int | None:
        """Give the next free block to a symbol; None when the segment is full."""
        number = self.blocks_used
        if number == self.layout.blocks_max:
            return None
        block = self.block(number)
        block.clear_bitmaps(self.layout)
        self.symbols[number] = symbol_code
        self.visible_rows[number] = 0
        self._used[0] = number + 1
        return number

    def mark_boot(self, boot_id: str) -> None:
        """Note which boot's page cache holds rows that are not synced yet."""
        raw = boot_id.encode()[:BOOT_ID_BYTES].ljust(BOOT_ID_BYTES, b"\0")
        self._boot[:] = np.frombuffer(raw, np.uint8)

    def is_of_boot(self, boot_id: str) -> bool:
        """Whether this machine has stayed up since the segment was written."""
        raw = boot_id.encode()[:BOOT_ID_BYTES].ljust(BOOT_ID_BYTES, b"\0")
        return bool(boot_id) and self._boot.tobytes() == raw

    def commit(self, seq: int, rows: NDArray[np.int64]) -> None:
        """Make the first rows[b] rows of every block b durable; `seq` is the last of them."""
        for number in self.grown_blocks(rows):
            self._sum_up(number, int(rows[number]))
        self._commit_number += 1
        side = self._commit_number % 2
        slot = self._slots[side]
        used = len(rows)
        slot[:4] = self._commit_number, seq, used, 0
        slot[4 : 4 + used] = self.symbols[:used]
        slot[4 + BLOCKS_MAX : 4 + BLOCKS_MAX + used] = rows
        slot[4 + 2 * BLOCKS_MAX : 4 + 2 * BLOCKS_MAX + used] = self._block_crcs[:used]
        self._slot_crcs[side][0] = crc32c(slot.view(np.uint8).data)
        self._mapping.sync()

    def grown_blocks(self, rows: NDArray[np.int64]) -> list[int]:
        """Blocks with more rows than the last commit summed up."""
        grown: list[int] = np.flatnonzero(rows > self._summed_rows[: len(rows)]).tolist()
        return grown

    def commits(self) -> list[Commit]:
        """The slots that are whole, newest first."""
        found = []
        for slot, crc in zip(self._slots, self._slot_crcs, strict=True):
            if slot[0] == 0 or int(crc[0]) != crc32c(slot.view(np.uint8).data):
                continue
            used = int(slot[2])
            tables = slot[4:].reshape(3, BLOCKS_MAX)[:, :used].copy()
            found.append(Commit(int(slot[0]), int(slot[1]), *tables))
            self._commit_number = max(self._commit_number, int(slot[0]))
        return sorted(found, key=lambda commit: -commit.number)

    def damaged_blocks(self, commit: Commit) -> list[int]:
        """Blocks whose rows do not match what the commit says of them."""
        return [
            number
            for number, (rows, crc) in enumerate(zip(commit.rows, commit.crcs, strict=True))
            if not self._has(number) or self.block(number).crc(int(rows)) != int(crc)
        ]

    def _has(self, number: int) -> bool:
        """Whether the file reaches to the end of a block: somebody may have cut it short."""
        return self.layout.block_start(number + 1) <= len(self._mapping.buffer)

    def restore(self, symbols: NDArray[np.uint64], rows: NDArray[np.uint64]) -> None:
        """Set what is visible, after recovery has decided it; derive bitmaps anew."""
        used = len(rows)
        self._used[0] = used
        self.symbols[:used] = symbols
        self.visible_rows[:] = 0
        self.visible_rows[:used] = rows
        for number in range(used):
            self.block(number).rebuild_bitmaps(self.layout, int(rows[number]))

    def close(self) -> None:
        """Let go of the file."""
        self._mapping.close()

    def _sum_up(self, number: int, rows: int) -> None:
        block = self.block(number)
        start = int(self._summed_rows[number])
        crcs = self._column_crcs[number]
        before = crcs.tolist()
        crcs[:] = [
            crc32c(raw[start * width : rows * width], crc)
            for (raw, width), crc in zip(block.raw, before, strict=True)
        ]
        self._block_crcs[number] = crc32c(crcs.view(np.uint8).data)
        self._summed_rows[number] = rows


def _move_aside(path: Path) -> str:
    return (
        f"restore {path.name} from a backup; or, to go on without it, move it out of "
        f"hot/{path.parent.name}/ and start again: the hole is then recorded in table gaps"
    )
