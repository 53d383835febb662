"""A table's watermarks in one small mapped file: the writer moves them, readers look.

The file is rebuilt at every start, so nothing in it needs to survive. Words are unsigned 64-bit
and each is written whole; a reader that sees a word sees everything written before it (x86 and the
interpreter's own locking keep the order of stores).
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SYMBOL_SLOTS = 32_768
HEAD_BYTES = 4096 + 2 * 8 * SYMBOL_SLOTS
SLOTS_START = 512
FRONTS_START = SLOTS_START + SYMBOL_SLOTS


class Word(IntEnum):
    """Positions of the words."""

    GENERATION = 0  # changes at every start of the writer
    WORDS = 1  # how many words the dictionary holds
    FIRST_SEGMENT = 2
    LAST_SEGMENT = 3
    FIRST_SEQ = 4  # from here on every row is hot
    VISIBLE_SEQ = 5
    DURABLE_SEQ = 6
    LAKE_VERSION = 7  # version of the manifest after the last seal, plus one
    # Of table trades alone, for all tables of its writer:
    NEWS = 8  # changes whenever rows of a table became durable
    PASSES = 9  # of the committer, those that made rows durable
    PASSED_NS = 10  # when the last of them had made its first table's so; this machine's monotonic
    ENDED = 11  # of those passes, the ones that are through with all tables
    ENDED_NS = 12  # when the last of them was


@dataclass(frozen=True, slots=True)
class Watermarks:
    """`visible_seq`: last row a query may see; `durable_seq`: last row a power cut cannot take."""

    visible_seq: int
    durable_seq: int


class Head:
    """The mapped words of one table."""

    def __init__(self, path: Path, *, is_writer: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT if is_writer else os.O_RDONLY
        fd = os.open(path, flags, 0o600)
        try:
            if is_writer:
                os.ftruncate(fd, HEAD_BYTES)
            access = mmap.ACCESS_WRITE if is_writer else mmap.ACCESS_READ
            self._map = mmap.mmap(fd, HEAD_BYTES, access=access)
        finally:
            os.close(fd)
        self.words = memoryview(self._map).cast("Q")

    def watermarks(self) -> Watermarks:
        """Both watermarks; the durable one first, so it is never ahead."""
        durable_seq = self.words[Word.DURABLE_SEQ]
        return Watermarks(max(self.words[Word.VISIBLE_SEQ], durable_seq), durable_seq)

    def begin(self, segments: Sequence[int], first_seq: int | None, next_seq: int) -> None:
        """Say what recovery found: segment numbers, first hot seq (None: none), next seq."""
        self.words[Word.FIRST_SEGMENT] = segments[0] if segments else 1
        self.words[Word.LAST_SEGMENT] = segments[-1] if segments else 0
        self.words[Word.FIRST_SEQ] = first_seq or next_seq
        self.words[Word.VISIBLE_SEQ] = next_seq - 1
        self.words[Word.DURABLE_SEQ] = next_seq - 1

    def set_latest(self, symbol_code: int, segment: int, block: int, row: int) -> None:
        """Say where a symbol's last valid trade is."""
        self.words[SLOTS_START + symbol_code] = (segment << 32) | (block << 16) | (row + 1)

    def clear_latest(self, symbol_code: int) -> None:
        """The symbol's last valid trade is no longer hot."""
        self.words[SLOTS_START + symbol_code] = 0

    def forget_latest(self) -> None:
        """Point nowhere for every symbol: what an earlier life of the writer said is void."""
        self.words[SLOTS_START:] = memoryview(bytes(2 * 8 * SYMBOL_SLOTS)).cast("Q")

    def set_front(self, symbol_code: int, contract_code: int) -> None:
        """Say which contract's trades count as a symbol's last."""
        self.words[FRONTS_START + symbol_code] = contract_code + 1

    def front(self, symbol_code: int) -> int | None:
        """The code of a symbol's front contract, or None where any will do."""
        told = self.words[FRONTS_START + symbol_code]
        return told - 1 if told else None

    def latest(self, symbol_code: int) -> tuple[int, int, int] | None:
        """(segment, block, row) of a symbol's last valid trade, or None where none is hot."""
        packed = self.words[SLOTS_START + symbol_code]
        if packed == 0:
            return None
        return packed >> 32, (packed >> 16) & 0xFFFF, (packed & 0xFFFF) - 1
