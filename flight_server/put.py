"""`do_put`: rows a client gives for `trades`, `quotes` and `gex`, handed to the writer.

The writer guards and numbers them as it does those of a feed: every row is stored, or kept in table
`rejects` with its reason, or was there before. Nothing is answered before it is stored.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import flight

from core.batch import STORE_COLUMNS, TickBatch
from core.clock import NS_PER_US, Clock
from core.errors import BadTicket, StoreError, TooMuch, Unavailable
from core.schema import TABLES
from flight_server.access import check_scope, check_symbols
from flight_server.auth import Call

PUT_TABLES: Final = ("trades", "quotes", "gex")
PUTS_MAX: Final = 8
CHUNK_ROWS: Final = 65_536
GROUPS_MAX: Final = 1_024
_OURS: Final = ("seq", "ts_recv")
_NEEDED: Final = {
    "trades": ("symbol", "ts_event", "price", "size"),
    "quotes": ("symbol", "ts_event", "bid", "ask"),
    "gex": ("symbol", "ts_event", "ticker", "package", "category"),
}


class Intake(Protocol):
    """The way to the writer; one for each put."""

    def put(self, batch: TickBatch) -> tuple[int, int]:
        """Guard and store what is not known yet; give the rows stored and the known."""

    def append_rows(self, table: str, rows: pa.RecordBatch) -> list[bool | None]:
        """Store rows of a slow table; say of each whether it was new, None if it was refused."""

    def close(self) -> None:
        """Hang up."""


@dataclass(frozen=True)
class Puts:
    """Takes what clients give; `open_intake` raises Unavailable where nothing writes."""

    open_intake: Callable[[], Intake]
    clock: Clock
    slots: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(PUTS_MAX))

    def take(
        self,
        call: Call,
        table: str,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Store batch by batch; each is answered by JSON `{"stored": n, "rejected": n, ...}`."""
        agent = call.agent
        assert agent is not None, "the middleware let nobody in"
        check_scope(agent, "write")
        check_columns(table, reader.schema)
        if not self.slots.acquire(blocking=False):
            raise TooMuch(f"{PUTS_MAX} puts are running, the most there may be", hint="ask again")
        try:
            with closing(self.open_intake()) as intake:
                for chunk in reader:
                    if chunk.data is None:
                        continue
                    rows = as_table(table, chunk.data, f"put:{agent.name}")
                    check_symbols(agent, pc.unique(rows.column("symbol")).to_pylist())
                    told = self._store(intake, table, rows)
                    call.rows += rows.num_rows
                    call.bytes += rows.nbytes
                    writer.write(json.dumps(told).encode())
        except StoreError as error:
            raise Unavailable(
                f"the writer did not take the rows: {error.message}",
                hint=error.hint or "what was answered before is stored; send the rest again",
            ) from error
        finally:
            self.slots.release()

    def _store(self, intake: Intake, table: str, rows: pa.RecordBatch) -> dict[str, int]:
        stored = duplicates = 0
        for start in range(0, rows.num_rows, CHUNK_ROWS):
            part = rows.slice(start, CHUNK_ROWS)
            now_us = self.clock.now_ns() // NS_PER_US
            if table == "gex":
                times = pa.array(np.full(part.num_rows, now_us), pa.timestamp("us"))
                is_new = intake.append_rows(table, part.append_column("ts_recv", times))
                stored += is_new.count(True)
                # A snapshot that is there already is no fault of its row.
                duplicates += is_new.count(False)
            else:
                for batch in tick_batches(table, part, now_us):
                    fresh, known = intake.put(batch)
                    stored += fresh
                    duplicates += known
        rejected = rows.num_rows - stored - duplicates
        return {"stored": stored, "rejected": rejected, "duplicates": duplicates}


def table_of(descriptor: flight.FlightDescriptor) -> str:
    """The table a put is for: the one word of the descriptor's path, or its command."""
    if descriptor.descriptor_type == flight.DescriptorType.CMD:
        names = [bytes(descriptor.command)]
    else:
        names = [bytes(part) for part in descriptor.path or ()]
    name = names[0].decode("utf-8", "replace") if len(names) == 1 else ""
    if name not in PUT_TABLES:
        raise BadTicket(
            f"expected one of {', '.join(PUT_TABLES)} to put into, found {name[:40]!r}",
            hint='use FlightDescriptor.for_path("trades")',
        )
    return name


def check_columns(table: str, schema: pa.Schema) -> None:
    """Refuse a schema that lacks a column, or has one that is unknown, twice, or ours to give."""
    names = schema.names
    known = [name for name in TABLES[table].schema.names if name not in _OURS]
    faults = [f"{name} is given by the tape itself" for name in _OURS if name in names]
    faults += [f"{name} is missing" for name in _NEEDED[table] if name not in names]
    faults += [f"{name} is unknown" for name in names if name not in (*known, *_OURS)]
    faults += [f"{name} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
    if faults:
        raise BadTicket(
            f"{table}: {'; '.join(faults)[:400]}",
            hint=f"needed: {', '.join(_NEEDED[table])}; optional: "
            + ", ".join(name for name in known if name not in _NEEDED[table]),
        )


def as_table(table: str, rows: pa.RecordBatch, source: str) -> pa.RecordBatch:
    """The rows in the table's own types with plain text; absent contract and source are filled."""
    fields = TABLES[table].plain_schema
    columns = {}
    for name in rows.schema.names:
        wanted = fields.field(name)
        column = _as_type(table, name, rows.column(name), wanted.type)
        # A price that is not there is not a number, and the guard says so of its row.
        if column.null_count and not wanted.nullable and name != "price":
            raise BadTicket(f"{table}.{name}: {column.null_count} nulls", hint="fill or leave out")
        columns[name] = column
    columns.setdefault("source", pa.repeat(pa.scalar(source, pa.utf8()), rows.num_rows))
    if table != "gex":
        columns.setdefault("contract", columns["symbol"])
    return pa.RecordBatch.from_pydict(columns)


def _as_type(table: str, name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit))  # the same moment, in UTC
    try:
        return column.cast(wanted)
    except pa.ArrowException as error:
        raise BadTicket(
            f"{table}.{name}: expected {wanted}, found {column.type} that does not fit: "
            f"{str(error).splitlines()[0][:120]}",
            hint="times are UTC in microseconds, the rest below one goes into ts_ns",
        ) from None


def tick_batches(table: str, rows: pa.RecordBatch, now_us: int) -> Iterator[TickBatch]:
    """One batch a run of (symbol, contract, source); all rows of each in the order given."""
    for key, part in _groups(rows, ("symbol", "contract", "source")):
        columns = {
            name: _numpy(part.column(name))
            for name in part.schema.names
            if name not in STORE_COLUMNS
        }
        columns["ts_recv"] = np.full(part.num_rows, now_us, np.int64)
        yield TickBatch(table, *key, columns)


def _groups(
    rows: pa.RecordBatch, names: Sequence[str]
) -> Iterator[tuple[tuple[str, str, str], pa.RecordBatch]]:
    first = [pc.unique(rows.column(name)).to_pylist() for name in names]
    if all(len(values) == 1 for values in first):
        yield (first[0][0], first[1][0], first[2][0]), rows
        return
    keys = list(zip(*(rows.column(name).to_pylist() for name in names), strict=True))
    places: dict[tuple[str, str, str], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    if len(places) > GROUPS_MAX:
        raise TooMuch(
            f"{len(places)} kinds of symbol, contract and source in one batch, "
            f"at most {GROUPS_MAX}",
            hint="put them in several batches",
        )
    for key, taken in places.items():
        yield key, rows.take(pa.array(taken, pa.int64()))


def _numpy(column: pa.Array) -> NDArray[np.generic]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), object)
    if pa.types.is_floating(column.type):
        return np.asarray(column.fill_null(np.nan).to_numpy(zero_copy_only=False))
    return np.asarray(column.to_numpy(zero_copy_only=False))
