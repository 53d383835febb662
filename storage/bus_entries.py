"""How rows look on Redis: stream entries, the last trade, live trades and snapshots; and back.

An entry's `ipc` field is an Arrow IPC stream of one batch with plain text, in the columns of the
table's schema. It is put together from the schema's message, made once, and the batch's: that
takes a fraction of what a stream writer takes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from core.clock import NS_PER_US
from core.errors import BusRefused
from core.schema import TABLES
from storage.bus_keys import entry_id, gex_key, latest_key, live_channel, stream_key
from storage.layout import BLOCK_ROWS
from storage.reader import HotSlice

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
LIVE_ROWS_MAX: Final = 1_000  # in one message
SAME_TEXT_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry read back; `batch` has plain text."""

    first_seq: int
    last_seq: int
    batch: pa.RecordBatch


def add_entry(table: str, symbol: str, part: HotSlice) -> list[bytes]:
    """The command that adds rows of one symbol ("" for all) to their stream."""
    schema, head = _schema(table)
    batch = pa.RecordBatch.from_arrays(
        [_plain(column) for column in part.batch.columns], schema=schema
    )
    ipc = head + batch.serialize().to_pybytes() + END_OF_STREAM
    return [
        b"XADD",
        stream_key(table, symbol),
        entry_id(part.last_seq),
        b"first_seq",
        b"%d" % part.first_seq,
        b"last_seq",
        b"%d" % part.last_seq,
        b"rows",
        b"%d" % batch.num_rows,
        b"ipc",
        ipc,
    ]


def read_entry(table: str, fields: Sequence[bytes]) -> Entry:
    """Read an entry's fields back; raise BusRefused where they are not ours."""
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        with pa.ipc.open_stream(pa.py_buffer(found[b"ipc"])) as reader:
            batch = reader.read_next_batch()
        entry = Entry(int(found[b"first_seq"]), int(found[b"last_seq"]), batch)
        is_whole = batch.num_rows == int(found[b"rows"])
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise BusRefused(f"an entry of {table} on Redis cannot be read") from error
    if not is_whole or batch.schema.names != TABLES[table].schema.names:
        raise BusRefused(
            f"an entry of {table} on Redis has other columns or rows than it says",
            hint="run the same version of tickflight on both machines",
        )
    return entry


@lru_cache
def _schema(table: str) -> tuple[pa.Schema, bytes]:
    """The plain schema without meanings, which every entry would repeat, and its message."""
    plain = TABLES[table].plain_schema
    schema = pa.schema([pa.field(f.name, f.type, f.nullable) for f in plain])
    return schema, schema.serialize().to_pybytes()


def _plain(column: pa.Array) -> pa.Array:
    """A dictionary column as text; the usual case is one word in all rows."""
    if not pa.types.is_dictionary(column.type):
        return column
    codes = column.indices.to_numpy()
    if len(codes) <= BLOCK_ROWS and (codes == codes[0]).all():
        return _same(column.dictionary[int(codes[0])].as_py()).slice(0, len(codes))
    return column.dictionary_decode()


@lru_cache(SAME_TEXT_MAX)
def _same(word: str) -> pa.Array:
    return pa.repeat(word, BLOCK_ROWS)


# -- trades ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest of something: its venue time, by which it replaces another, and its command."""

    time_ns: int
    command: list[bytes]


def newest_trade(symbol: str, part: HotSlice) -> Newest | None:
    """The newest valid trade of some rows, by venue time and then seq."""
    batch = part.batch
    row = batch.num_rows - 1
    if not (part.is_sorted and part.all_valid):
        valid = np.flatnonzero(numbers(batch, "valid"))
        if not len(valid):
            return None
        times = _times_ns(batch)[valid]
        row = int(valid[len(times) - 1 - np.argmax(times[::-1])])
    return last_trade(symbol, batch, row)


def last_trade(symbol: str, batch: pa.RecordBatch, row: int) -> Newest:
    """One row as what the hash of last trades says."""
    value = {name: batch.column(name)[row].as_py() for name in ("price", "size", "bid", "ask")}
    time_us, rest = batch.column("ts_event")[row].value, batch.column("ts_ns")[row].as_py()
    time_ns, seq = int(time_us * NS_PER_US + rest), batch.column("seq")[row].as_py()
    command = [b"HSET", latest_key(symbol), b"symbol", symbol.encode()]
    command += [b"ts_event", b"%d" % time_ns, b"seq", b"%d" % seq]
    for name, found in value.items():
        command += [name.encode(), repr(math.nan if found is None else found).encode()]
    return Newest(time_ns, command)


def live_trades(symbol: str, part: HotSlice) -> list[list[bytes]]:
    """The commands that tell valid trades on the symbol's channel."""
    batch = part.batch
    columns: dict[str, NDArray[Any]] = {"seq": numbers(batch, "seq"), "ts_event": _times_ns(batch)}
    columns |= {name: numbers(batch, name) for name in ("price", "size", "side")}
    if not part.all_valid:
        valid = numbers(batch, "valid").astype(bool)
        columns = {name: column[valid] for name, column in columns.items()}
    commands = []
    for first in range(0, len(columns["seq"]), LIVE_ROWS_MAX):
        some = {name: column[first : first + LIVE_ROWS_MAX] for name, column in columns.items()}
        told = {"symbol": symbol, "first_seq": some["seq"][0], "last_seq": some["seq"][-1], **some}
        text = orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY)
        commands.append([b"PUBLISH", live_channel(symbol), text])
    return commands


def numbers(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """A column as numpy: without a copy where it may be; null is NaN; times are microseconds."""
    column = batch.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    found: NDArray[Any] = np.ascontiguousarray(column.to_numpy(zero_copy_only=False))
    return found


def _times_ns(batch: pa.RecordBatch) -> NDArray[np.int64]:
    times: NDArray[np.int64] = numbers(batch, "ts_event") * NS_PER_US + numbers(batch, "ts_ns")
    return times


# -- gamma exposure --------------------------------------------------------------------------------


def snapshots(part: HotSlice) -> Mapping[tuple[bytes, bytes], Newest]:
    """The newest snapshot of each ticker, package and category: (key, field) to its command."""
    found: dict[tuple[bytes, bytes], Newest] = {}
    for row in part.batch.to_pylist():
        key, field = gex_key(row["symbol"]), f"{row['package']}/{row['category']}".encode()
        time_ns = int(np.datetime64(row["ts_event"], "us").astype(np.int64)) * NS_PER_US
        time_ns += row["ts_ns"]
        if (key, field) not in found or found[key, field].time_ns <= time_ns:
            text = orjson.dumps({name: value for name, value in row.items() if name != "ts_ns"})
            found[key, field] = Newest(time_ns, [b"HSET", key, field, text])
    return found
