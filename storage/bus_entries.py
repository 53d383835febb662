"""How rows look on Redis: stream entries, live trades, snapshots; and entries read back.

An entry's `ipc` field is an Arrow IPC stream of one batch with plain text, in the columns of the
table's schema. It is put together from the schema's message, made once, and the batch's: that
takes a fraction of what a stream writer takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import NS_PER_US
from core.errors import BusRefused
from core.schema import KINDS, TABLES
from storage.bus_keys import entry_id, gex_key, live_channel, stream_key
from storage.layout import BLOCK_ROWS
from storage.reader import MappedBlock, Span
from storage.words import Words

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
LIVE_ROWS_MAX: Final = 1_000  # in one message
SAME_TEXT_MAX: Final = 256
CANCEL: Final = KINDS.index("cancel")


class _Ready(NamedTuple):
    """A block with plain text: a text column repeats one word, whose code is kept as bytes.

    Columns in which the word has changed are `mixed`; they are dictionaries, of so many words.
    """

    block: MappedBlock
    words_count: int
    codes: Mapping[str, tuple[NDArray[np.generic], bytes]]
    batch: pa.RecordBatch
    mixed: frozenset[str]


class Entries:
    """Makes stream entries; of each symbol, the block being filled is kept with plain text."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._ready: dict[bytes, _Ready] = {}

    def add(self, table: str, symbol: str, span: Span) -> list[bytes]:
        """The command that adds rows of a fast table to their stream."""
        key = stream_key(table, symbol)
        batch = self._plain(key, table, span)
        seqs = span.block.values["seq"]
        return _command(table, key, (int(seqs[span.first]), int(seqs[span.end - 1])), batch)

    def _plain(self, key: bytes, table: str, span: Span) -> pa.RecordBatch:
        """A span's rows with plain text."""
        ready = self._ready.get(key)
        if ready is None or ready.block is not span.block:
            ready = self._ready[key] = self._prepare(table, span, frozenset())
        if ready.words_count != self._words.count:
            ready = self._ready[key] = self._prepare(table, span, ready.mixed)
        if changing := _changing(ready, span):
            ready = self._ready[key] = self._prepare(table, span, ready.mixed | changing)
        rows = ready.batch.slice(span.first, span.end - span.first)
        if not ready.mixed:
            return rows
        columns = rows.columns
        for name in ready.mixed:
            place = rows.schema.get_field_index(name)
            columns[place] = columns[place].dictionary_decode()
        return pa.RecordBatch.from_arrays(columns, schema=_schema(table)[0])

    def _prepare(self, table: str, span: Span, mixed: frozenset[str]) -> _Ready:
        """The block with each text column that is not mixed repeating the span's last word."""
        block, row = span.block, span.end - 1
        whole = block.batch(self._words)
        names = [n for n in TABLES[table].text_columns if n not in mixed]
        code = {n: int(block.values[n][row]) for n in names if n != "symbol"}
        code["symbol"] = block.symbol_code
        arrays = [
            same_text(self._words.by_column[name][code[name]])
            if name in code
            else whole.column(name)
            for name in whole.schema.names
        ]
        codes = {
            n: (block.values[n], block.values[n][row].tobytes()) for n in names if n != "symbol"
        }
        batch = pa.RecordBatch.from_arrays(arrays, names=whole.schema.names)
        if not mixed:
            batch = pa.RecordBatch.from_arrays(arrays, schema=_schema(table)[0])
        return _Ready(block, self._words.count, codes, batch, mixed)


def add_plain(table: str, batch: pa.RecordBatch) -> list[bytes]:
    """The command that adds rows of a slow table, whose seqs follow each other, to its stream."""
    seqs = batch.column("seq")
    rows = pa.RecordBatch.from_arrays(batch.columns, schema=_schema(table)[0])
    return _command(table, stream_key(table, ""), (seqs[0].as_py(), seqs[-1].as_py()), rows)


def set_aside(table: str, first_seq: int, last_seq: int) -> list[bytes]:
    """The command that says of a slow table's seqs that their rows are in the lake alone."""
    nothing = pa.RecordBatch.from_pylist([], schema=_schema(table)[0])
    return _command(table, stream_key(table, ""), (first_seq, last_seq), nothing)


def _command(table: str, key: bytes, seqs: tuple[int, int], batch: pa.RecordBatch) -> list[bytes]:
    ipc = b"".join((_schema(table)[1], batch.serialize(), END_OF_STREAM))
    command = [b"XADD", key, entry_id(seqs[1]), b"first_seq", b"%d" % seqs[0]]
    command += [b"last_seq", b"%d" % seqs[1], b"rows", b"%d" % batch.num_rows]
    return [*command, b"ipc", ipc]


def _changing(ready: _Ready, span: Span) -> frozenset[str]:
    """Columns in which some rows of a span have another word than the batch repeats."""
    _, first, end = span
    return frozenset(
        name
        for name, (codes, code) in ready.codes.items()
        if codes[first:end].tobytes() != code * (end - first)
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry read back; `batch` has plain text."""

    first_seq: int
    last_seq: int
    batch: pa.RecordBatch


def read_entry(table: str, fields: Sequence[bytes]) -> Entry:
    """Read an entry's fields back; raise BusRefused where they are not ours."""
    first_seq, last_seq, rows, ipc = _told(table, fields)
    return Entry(first_seq, last_seq, _batches(table, ipc, [rows])[0])


def read_rows(table: str, entries: Sequence[Sequence[bytes]]) -> pa.RecordBatch:
    """Read the rows of a stream's entries back as one batch; raise BusRefused.

    Entries that begin with the very message of our schema are read as one stream, which takes a
    fraction of what opening each takes.
    """
    told = [_told(table, fields) for fields in entries]
    head = _schema(table)[1]
    if all(ipc.startswith(head) and ipc.endswith(END_OF_STREAM) for *_, ipc in told):
        bodies = [memoryview(ipc)[len(head) : -len(END_OF_STREAM)] for *_, ipc in told]
        whole = b"".join((head, *bodies, END_OF_STREAM))
        batches = _batches(table, whole, [rows for _, _, rows, _ in told])
    else:
        batches = [read_entry(table, fields).batch for fields in entries]
    return pa.concat_batches(batches)


def _told(table: str, fields: Sequence[bytes]) -> tuple[int, int, int, bytes]:
    """An entry's first and last seq, its number of rows, and them as they came."""
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        counts = [int(found[name]) for name in (b"first_seq", b"last_seq", b"rows")]
        return counts[0], counts[1], counts[2], found[b"ipc"]
    except (KeyError, ValueError) as error:
        raise BusRefused(f"an entry of {table} on Redis cannot be read") from error


def _batches(table: str, ipc: bytes, rows: Sequence[int]) -> list[pa.RecordBatch]:
    """The batches of a stream, which must have so many rows each."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(ipc)) as reader:
            schema, batches = reader.schema, list(reader)
    except (ValueError, pa.ArrowException) as error:
        raise BusRefused(f"an entry of {table} on Redis cannot be read") from error
    if [batch.num_rows for batch in batches] != list(rows) or schema != _schema(table)[0]:
        raise BusRefused(
            f"an entry of {table} on Redis has other columns or rows than it should",
            hint="run the same version of tickflight on both machines",
        )
    return batches


@lru_cache
def _schema(table: str) -> tuple[pa.Schema, bytes]:
    """The plain schema without meanings, which every entry would repeat, and its message."""
    plain = TABLES[table].plain_schema
    schema = pa.schema([pa.field(f.name, f.type, f.nullable) for f in plain])
    return schema, schema.serialize().to_pybytes()


@lru_cache(SAME_TEXT_MAX)
def same_text(word: str) -> pa.Array:
    """A block's worth of rows that all have one word; for slices of it."""
    return pa.repeat(word, BLOCK_ROWS)


def live_trades(symbol: str, span: Span) -> list[list[bytes]]:
    """The commands that tell trades on the symbol's channel, without void ones and cancels."""
    rows = slice(span.first, span.end)
    values = span.block.values
    times_ns = np.multiply(values["ts_event"][rows], NS_PER_US, dtype=np.int64)
    columns: dict[str, NDArray[Any]] = {
        "seq": values["seq"][rows],
        "ts_event": np.add(times_ns, values["ts_ns"][rows], dtype=np.int64),
        **{name: values[name][rows] for name in ("price", "size", "side")},
    }
    if not values["valid"][rows].all() or values["kind"][rows].any():
        told = (values["valid"][rows] != 0) & (values["kind"][rows] != CANCEL)
        columns = {name: column[told] for name, column in columns.items()}
    commands = []
    for first in range(0, len(columns["seq"]), LIVE_ROWS_MAX):
        some = {name: column[first : first + LIVE_ROWS_MAX] for name, column in columns.items()}
        seqs = some["seq"]
        message = {"symbol": symbol, "first_seq": int(seqs[0]), "last_seq": int(seqs[-1]), **some}
        text = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
        commands.append([b"PUBLISH", live_channel(symbol), text])
    return commands


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A gamma snapshot: its venue time, by which it replaces another, and what tells it."""

    time_ns: int
    command: list[bytes]


def snapshots(batch: pa.RecordBatch) -> Mapping[tuple[bytes, bytes], Snapshot]:
    """The newest snapshot of each ticker, package and category, by (key, field)."""
    found: dict[tuple[bytes, bytes], Snapshot] = {}
    for row in batch.to_pylist():
        key, field = gex_key(row["symbol"]), f"{row['package']}/{row['category']}".encode()
        time_ns = int(np.datetime64(row["ts_event"], "us").astype(np.int64)) * NS_PER_US
        time_ns += row["ts_ns"]
        if (key, field) not in found or found[key, field].time_ns <= time_ns:
            text = orjson.dumps({name: value for name, value in row.items() if name != "ts_ns"})
            found[key, field] = Snapshot(time_ns, [b"HSET", key, field, text])
    return found
