"""How rows look on Redis: stream entries, live trades, snapshots; and entries read back.

An entry's `ipc` field is an Arrow IPC stream of one batch with plain text, in the columns of the
table's schema. It is put together from the schema's message, made once, and the batch's: that
takes a fraction of what a stream writer takes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import NS_PER_US
from core.errors import BusRefused
from core.schema import KINDS, LOGGED_TABLES
from storage.arrow_stream import END
from storage.bus_ipc import Messages, plain_schema, stream_of
from storage.bus_keys import NewEntry, gex_key, live_channel, new_entry, stream_key
from storage.mapped import Span
from storage.words import Words

LIVE_ROWS_MAX: Final = 1_000  # in one message
CANCEL: Final = KINDS.index("cancel")


class Entries:
    """Makes stream entries of fast tables."""

    def __init__(self, words: Words) -> None:
        self._messages = {t.name: Messages(t.name, words) for t in LOGGED_TABLES if t.is_fast}

    def add(self, table: str, symbol: str, span: Span) -> NewEntry:
        """The entry of some rows of a fast table."""
        block, first, end = span
        seqs = block.seqs[first], block.seqs[end - 1]
        return new_entry(
            stream_key(table, symbol), seqs, self._messages[table].stream(span), end - first
        )


def add_plain(table: str, batch: pa.RecordBatch) -> NewEntry:
    """The entry of some rows of a slow table, whose seqs follow each other."""
    seqs = batch.column("seq")
    rows = pa.RecordBatch.from_arrays(batch.columns, schema=plain_schema(table)[0])
    return _logged(table, (seqs[0].as_py(), seqs[-1].as_py()), rows)


def set_aside(table: str, first_seq: int, last_seq: int) -> NewEntry:
    """The entry that says of a slow table's seqs that their rows are in the lake alone."""
    nothing = pa.RecordBatch.from_pylist([], schema=plain_schema(table)[0])
    return _logged(table, (first_seq, last_seq), nothing)


def _logged(table: str, seqs: tuple[int, int], rows: pa.RecordBatch) -> NewEntry:
    return new_entry(stream_key(table, ""), seqs, stream_of(table, rows), rows.num_rows)


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
    head = plain_schema(table)[1]
    if all(ipc.startswith(head) and ipc.endswith(END) for *_, ipc in told):
        bodies = [memoryview(ipc)[len(head) : -len(END)] for *_, ipc in told]
        whole = b"".join((head, *bodies, END))
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
    if [batch.num_rows for batch in batches] != list(rows) or schema != plain_schema(table)[0]:
        raise BusRefused(
            f"an entry of {table} on Redis has other columns or rows than it should",
            hint="run the same version of tickflight on both machines",
        )
    return batches


def live_commands(
    lives: Iterable[tuple[str, Span]], channels: frozenset[bytes]
) -> list[Sequence[bytes]]:
    """The commands that tell trades of symbols on some of the channels."""
    return [
        (b"PUBLISH", live_channel(symbol), text)
        for symbol, span in lives
        if live_channel(symbol) in channels
        for text in live_trades(symbol, span)
    ]


def live_trades(symbol: str, span: Span) -> list[bytes]:
    """What is told of trades on the symbol's channel, without void ones and cancels."""
    rows = slice(span.first, span.end)
    values = span.block.values
    times_ns = np.multiply(values["ts_event"][rows], NS_PER_US, dtype=np.int64)
    columns: dict[str, NDArray[Any]] = {
        "seq": values["seq"][rows],
        "ts_event": np.add(times_ns, values["ts_ns"][rows], dtype=np.int64),
        **{name: values[name][rows] for name in ("price", "size", "side")},
    }
    if 0 in values["valid"][rows].tobytes() or any(values["kind"][rows].tobytes()):
        told = (values["valid"][rows] != 0) & (values["kind"][rows] != CANCEL)
        columns = {name: column[told] for name, column in columns.items()}
    messages = []
    for first in range(0, len(columns["seq"]), LIVE_ROWS_MAX):
        some = {name: column[first : first + LIVE_ROWS_MAX] for name, column in columns.items()}
        seqs = some["seq"]
        message = {"symbol": symbol, "first_seq": int(seqs[0]), "last_seq": int(seqs[-1]), **some}
        messages.append(orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY))
    return messages


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A gamma snapshot: its venue time, by which it replaces another, and what tells it."""

    time_ns: int
    command: Sequence[bytes]


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
