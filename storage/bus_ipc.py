"""A stream entry's Arrow IPC stream, put together from a block's own bytes.

Most of an entry is numbers as they lie in memory. All the rest, which is the schema, the head of
the batch, texts, bits and padding, is the same for as many rows with the same words, so it is made
once and kept as a frame that the numbers go into. That takes a third of what Arrow takes, whose
head of a batch of one row is the mould of ours: only lengths differ, at known places.
"""

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from struct import pack_into, unpack_from
from typing import Final, NamedTuple

import pyarrow as pa

from core.schema import TABLES
from storage.arrow_stream import END, PREFIX_BYTES, head_bytes
from storage.layout import BLOCK_ROWS, Layout, Physical, layout_of
from storage.mapped import MappedBlock, Span
from storage.words import WORD_BYTES_MAX, Words

KEPT_ROWS_MAX: Final = 512  # of more rows two entries are seldom alike
FRAMES_MAX: Final = 2_048  # of a table, about 4 KiB each
ALIGNED_BYTES: Final = 8  # so are buffers
OFFSET_BYTES: Final = 4
Frame = list[bytes | memoryview]
Text = tuple[int, bytes]  # how long the words of some rows are in all, and their two buffers


class _Block(NamedTuple):
    """A block's columns, each kind in the table's order: numbers, codes of words, bits."""

    block: MappedBlock
    numbers: list[memoryview]
    codes: list[memoryview]
    words: list[list[str]]
    bits: list[memoryview]


class Messages:
    """Makes the entries of one fast table; of each symbol the block being filled is at hand."""

    def __init__(self, table: str, words: Words) -> None:
        self._words = words
        self._mould = _Mould(layout_of(table))
        self._blocks: dict[int, _Block] = {}
        self._frames: dict[tuple[int | bytes, ...], Frame] = {}

    def stream(self, span: Span) -> bytes:
        """A span's rows as an Arrow IPC stream of one batch with plain text."""
        block, first, end = span
        rows = end - first
        at_hand = self._blocks.get(block.symbol_code)
        if at_hand is None or at_hand.block is not block:
            at_hand = self._blocks[block.symbol_code] = self._at_hand(block)
        codes: list[int | bytes] = []
        for column in at_hand.codes:
            some = column[first:end]
            codes.append(some[0] if some[1:] == some[:-1] else some.tobytes())
        mask = (1 << rows) - 1
        bits = [
            int.from_bytes(column[first >> 3 : (end + 7) >> 3], "little") >> (first & 7) & mask
            for column in at_hand.bits
        ]
        key = (rows, block.symbol_code, *codes, *bits)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frame(at_hand, rows, codes, bits)
            if rows <= KEPT_ROWS_MAX and bytes not in map(type, codes):
                if len(self._frames) == FRAMES_MAX:
                    self._frames.clear()
                self._frames[key] = frame
        parts = frame.copy()
        parts[1::2] = [column[first:end] for column in at_hand.numbers]
        return b"".join(parts)

    def _at_hand(self, block: MappedBlock) -> _Block:
        columns = block.segment.layout.columns
        text = [column for column in columns if pa.types.is_dictionary(column.arrow)]
        return _Block(
            block,
            [
                block.values[column.name].data
                for column in columns
                if not (column.is_flag or column in text)
            ],
            [block.values[column.name].data for column in text],
            [self._words.by_column[column.name] for column in text],
            [block.bits(column) for column in columns if column.bitmap_offset is not None],
        )

    def _frame(
        self, at_hand: _Block, rows: int, codes: Sequence[int | bytes], bits: Sequence[int]
    ) -> Frame:
        symbol = self._words.by_column["symbol"][at_hand.block.symbol_code]
        texts = [_repeated(symbol, rows)]
        for told, words in zip(codes, at_hand.words, strict=True):
            if isinstance(told, int):
                texts.append(_repeated(words[told], rows))
            else:
                texts.append(_text([words[code] for code in memoryview(told).cast("h")]))
        return self._mould.frame(rows, iter(texts), iter(bits))


class _Column(NamedTuple):
    """What a column of the message is made of; text has neither values nor bits of its own."""

    value_bytes: int
    has_bits: bool


class _Mould:
    """The schema's message and the head of a batch of one table, and where its lengths are.

    Both are FlatBuffers; Message.fbs of Arrow's format says what they hold.
    """

    def __init__(self, layout: Layout) -> None:
        schema, self._schema_message = plain_schema(layout.table.name)
        stored = {column.name: column for column in layout.columns}
        self._columns = [_column(stored.get(name)) for name in schema.names]
        row = pa.RecordBatch.from_pylist([dict.fromkeys(schema.names)], schema=schema)
        message = row.serialize().to_pybytes()
        self._head = message[: head_bytes(message)]
        root = _follow(self._head, PREFIX_BYTES)
        batch = _follow(self._head, _field(self._head, root, 2))
        self._rows = _field(self._head, batch, 0)
        self._nodes = _follow(self._head, _field(self._head, batch, 1)) + 4
        self._buffers = _follow(self._head, _field(self._head, batch, 2)) + 4
        self._body_bytes = _field(self._head, root, 3)

    def frame(self, rows: int, texts: Iterator[Text], bits: Iterator[int]) -> Frame:
        """All but the numbers, in turn with an empty place for each column of them.

        `texts` of the columns that are text; `bits` of those that have any, a row's above the one
        before.
        """
        nodes: list[int] = []
        sizes: list[int] = []
        fixed = [b""]
        bitmap_bytes = (rows + 7) // 8
        for value_bytes, has_bits in self._columns:
            nulls = 0
            if has_bits:
                told = next(bits)
                nulls = rows - told.bit_count() if value_bytes else 0
                if nulls or not value_bytes:
                    fixed[-1] += _filled(told.to_bytes(bitmap_bytes, "little"))
            nodes += rows, nulls
            if value_bytes:
                sizes += bitmap_bytes if nulls else 0, rows * value_bytes
                fixed.append(bytes(-rows * value_bytes % ALIGNED_BYTES))
            elif has_bits:
                sizes += 0, bitmap_bytes
            else:
                text_bytes, text = next(texts)
                sizes += 0, OFFSET_BYTES * (rows + 1), text_bytes
                fixed[-1] += text
        fixed[0] = self._schema_message + self._filled_head(rows, nodes, sizes) + fixed[0]
        fixed[-1] += END
        frame: Frame = [b""] * (2 * len(fixed) - 1)
        frame[::2] = fixed
        return frame

    def _filled_head(self, rows: int, nodes: Sequence[int], sizes: Sequence[int]) -> bytes:
        offsets = list(accumulate((size + -size % ALIGNED_BYTES for size in sizes), initial=0))
        buffers = [number for pair in zip(offsets, sizes, strict=False) for number in pair]
        head = bytearray(self._head)
        pack_into("<q", head, self._rows, rows)
        pack_into("<q", head, self._body_bytes, offsets[-1])
        pack_into(f"<{len(nodes)}q", head, self._nodes, *nodes)
        pack_into(f"<{len(buffers)}q", head, self._buffers, *buffers)
        return bytes(head)


def _field(raw: bytes, table: int, number: int) -> int:
    """Where a field of a table lies, which must be there."""
    (to_places,) = unpack_from("<i", raw, table)
    (place,) = unpack_from("<H", raw, table - to_places + 4 + 2 * number)
    assert place, (table, number)
    return table + int(place)


def _follow(raw: bytes, place: int) -> int:
    """Where an offset leads to."""
    return place + int(unpack_from("<I", raw, place)[0])


def _column(stored: Physical | None) -> _Column:
    if stored is None or pa.types.is_dictionary(stored.arrow):
        return _Column(0, has_bits=False)
    value_bytes = 0 if stored.is_flag else stored.dtype.itemsize
    return _Column(value_bytes, stored.bitmap_offset is not None)


def _text(words: Sequence[str]) -> Text:
    told = [word.encode() for word in words]
    text = b"".join(told)
    offsets = array("i", accumulate(map(len, told), initial=0)).tobytes()
    return len(text), _filled(offsets) + _filled(text)


def _repeated(word: str, rows: int) -> Text:
    """The same of one word in all rows, of which a block has no more."""
    text = word.encode() * rows
    offsets = _offsets(len(text) // rows)[: OFFSET_BYTES * (rows + 1)]
    return len(text), _filled(offsets) + _filled(text)


@lru_cache(WORD_BYTES_MAX)
def _offsets(word_bytes: int) -> bytes:
    return array("i", (row * word_bytes for row in range(BLOCK_ROWS + 1))).tobytes()


def _filled(buffer: bytes) -> bytes:
    """A buffer filled up to its alignment."""
    return buffer + bytes(-len(buffer) % ALIGNED_BYTES)


@lru_cache
def plain_schema(table: str) -> tuple[pa.Schema, bytes]:
    """The plain schema without meanings, which every entry would repeat, and its message."""
    plain = TABLES[table].plain_schema
    schema = pa.schema([pa.field(f.name, f.type, f.nullable) for f in plain])
    return schema, schema.serialize().to_pybytes()


def stream_of(table: str, batch: pa.RecordBatch) -> bytes:
    """A batch of the plain schema as an Arrow IPC stream."""
    return b"".join((plain_schema(table)[1], batch.serialize(), END))
