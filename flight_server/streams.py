"""Batches on their way out: counted, limited, ended when nobody wants them or the server stops."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import pyarrow as pa

from core.errors import TooMuch, Unavailable
from flight_server.auth import Call
from flight_server.edge import Cancelled
from storage.scan import Scan

RUN_BATCHES = 16  # go out between two looks at whether the caller is still there
ROWS = attrgetter("num_rows")
BYTES = attrgetter("nbytes")


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


def runs_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Sequence[pa.RecordBatch]]:
    """Batches as they come: many at a time where they are at hand, else one by one."""
    if isinstance(batches, Scan):
        return batches.runs()
    return ([batch] for batch in batches)


def counted(
    call: Call, batches: Iterable[pa.RecordBatch], *, limits: Limits | None, drain: Drain
) -> Iterator[Sequence[pa.RecordBatch]]:
    """Pass batches on, some at a time, and count them.

    Raise TooMuch at a limit, Cancelled when told to.
    """
    row_bytes: float | None = None
    for run in runs_of(batches):
        for first in range(0, len(run), RUN_BATCHES):
            some = run[first : first + RUN_BATCHES]
            if call.is_gone():
                raise Cancelled("the call was cancelled", hint="ask again")
            if row_bytes is None:
                row_bytes = fixed_row_bytes(some[0].schema)
            rows = sum(map(ROWS, some))
            call.rows += rows
            call.bytes += int(row_bytes * rows) if row_bytes else sum(map(BYTES, some))
            if limits is not None:
                drain.check()
                if call.rows > limits.rows or call.bytes > limits.bytes:
                    raise TooMuch(
                        f"the answer is larger than {limits.rows} rows or {limits.bytes} bytes",
                        hint="ask for a shorter range, fewer columns, or an aggregate",
                    )
            yield some


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
