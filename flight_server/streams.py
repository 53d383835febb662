"""Batches on their way out: counted, limited, ended when nobody wants them or the server stops."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from core.errors import TooMuch, Unavailable
from flight_server.auth import Call
from flight_server.edge import Cancelled

LOOK_EVERY = 8  # batches between two looks at whether the caller is still there


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one answer may be."""

    rows: int
    bytes: int


class Drain:
    """Said once, when the server is about to stop; every stream looks at it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def start(self) -> None:
        """No new calls, and streams end."""
        self._event.set()

    @property
    def is_on(self) -> bool:
        """Whether the server is stopping."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise Unavailable where the server is stopping."""
        if self.is_on:
            raise Unavailable("the server is stopping", hint="ask again in a few seconds")


def counted(
    call: Call, batches: Iterable[pa.RecordBatch], *, limits: Limits | None, drain: Drain
) -> Iterator[pa.RecordBatch]:
    """Pass batches on and count them; raise TooMuch at a limit, Cancelled when told to."""
    row_bytes: float | None = None
    for number, batch in enumerate(batches):
        if row_bytes is None:
            row_bytes = fixed_row_bytes(batch.schema)
        if limits is None or number % LOOK_EVERY == 0:
            if call.is_gone():
                raise Cancelled("the call was cancelled", hint="ask again")
            if limits is not None:
                drain.check()
        call.rows += batch.num_rows
        call.bytes += int(row_bytes * batch.num_rows) if row_bytes else batch.nbytes
        if limits is not None and (call.rows > limits.rows or call.bytes > limits.bytes):
            raise TooMuch(
                f"the answer is larger than {limits.rows} rows or {limits.bytes} bytes",
                hint="ask for a shorter range, fewer columns, or an aggregate",
            )
        yield batch


def fixed_row_bytes(schema: pa.Schema) -> float:
    """Bytes of a row whose columns all have one width; 0 where some have not.

    Asking Arrow what a batch weighs takes longer than sending it. Dictionaries are not counted.
    """
    bits = 0
    for field in schema:
        kind = field.type.index_type if pa.types.is_dictionary(field.type) else field.type
        if not (pa.types.is_primitive(kind) or pa.types.is_boolean(kind)):
            return 0.0
        bits += kind.bit_width + (1 if field.nullable else 0)
    return bits / 8


def is_over(call: Call, drain: Drain) -> Callable[[], bool]:
    """Whether an endless stream shall end; a stopping server ends it in order."""
    return lambda: drain.is_on or call.is_gone()
