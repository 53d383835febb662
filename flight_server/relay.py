"""Asks the Flight server on behalf of others, from another process of the same machine.

The credentials of whoever asked go along with each call, so the server judges, counts and records
it as it does a call of their own; nothing is decided here. Its errors come back as ours.

Sets gRPC's switches for itself, so import it before anything else uses gRPC.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from core.errors import (
    BadSql,
    BadTicket,
    Forbidden,
    GapInRange,
    OutsideRetention,
    PipelineError,
    TooMuch,
    TooSlow,
    Unauthenticated,
    Unavailable,
    UnknownInstrument,
)
from flight_server.answers import last_rows
from flight_server.edge import Cancelled
from flight_server.grpc_flags import set_grpc_flags

set_grpc_flags(is_client=True)

from pyarrow import flight  # noqa: E402  after the switches

READ_ROWS_MAX: Final = 1_000_000  # of an answer of which only the end is wanted

Credentials = Sequence[tuple[bytes, bytes]]

_KINDS: Final[tuple[type[PipelineError], ...]] = (
    BadTicket, BadSql, UnknownInstrument, OutsideRetention, GapInRange, TooMuch, TooSlow,
    Unavailable, Cancelled, Unauthenticated, Forbidden,
)  # fmt: skip
_BY_CODE: Final = {kind.code: kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class Rows:
    """Part of an answer, with the metadata of the whole; `is_cut` where there are more rows."""

    table: pa.Table
    is_cut: bool

    @property
    def metadata(self) -> Mapping[bytes, bytes]:
        """Watermarks and gaps of the answer."""
        return self.table.schema.metadata or {}


class Relay:
    """Calls from any thread; `find_url` is asked before each, as the server may have moved.

    A call that takes longer than `seconds` is given up.
    """

    def __init__(
        self, find_url: Callable[[], str], seconds: float, *, read_rows_max: int = READ_ROWS_MAX
    ) -> None:
        self._find_url = find_url
        self._seconds = seconds
        self._read_rows_max = read_rows_max
        self._lock = threading.Lock()
        self._url = ""
        self._opened: flight.FlightClient | None = None

    def first(self, credentials: Credentials, ticket: bytes, rows_max: int) -> Rows:
        """The first rows of an answer; the rest is called off."""
        with _translated():
            reader = self._read(credentials, ticket)
            batches: list[pa.RecordBatch] = []
            rows = 0
            for chunk in reader:
                batches.append(chunk.data)
                rows += chunk.data.num_rows
                if rows > rows_max:
                    reader.cancel()
                    break
            table = pa.Table.from_batches(batches, reader.schema)
        return Rows(table.slice(0, rows_max), rows > rows_max)

    def last(self, credentials: Credentials, ticket: bytes, rows_max: int) -> Rows:
        """The last rows of an answer, which is read to its end; raise TooMuch where it is long."""
        with _translated():
            reader = self._read(credentials, ticket)
            counted = _Counted((chunk.data for chunk in reader), self._read_rows_max)
            batches = last_rows(counted, rows_max)
            table = pa.Table.from_batches(batches, reader.schema)
        return Rows(table, counted.rows > rows_max)

    def act(self, credentials: Credentials, action: str, body: bytes = b"") -> object:
        """The JSON an action answers."""
        with _translated():
            found = self._client().do_action(
                flight.Action(action, body), self._options(credentials)
            )
            answer: object = json.loads(next(iter(found)).body.to_pybytes())
        return answer

    def _read(self, credentials: Credentials, ticket: bytes) -> flight.FlightStreamReader:
        return self._client().do_get(flight.Ticket(ticket), self._options(credentials))

    def _options(self, credentials: Credentials) -> flight.FlightCallOptions:
        return flight.FlightCallOptions(headers=list(credentials), timeout=self._seconds)

    def _client(self) -> flight.FlightClient:
        url = self._find_url()
        with self._lock:
            if self._opened is None or url != self._url:
                # The server is on this machine, at the address it wrote into a folder that is ours
                # alone; its certificate need not have a name for that address.
                options = {"disable_server_verification": True} if "+tls:" in url else {}
                self._opened, self._url = flight.FlightClient(url, **options), url
            return self._opened


class _Counted:
    """Passes batches on and counts their rows."""

    def __init__(self, batches: Iterator[pa.RecordBatch], rows_max: int) -> None:
        self._batches = batches
        self._rows_max = rows_max
        self.rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            if self.rows > self._rows_max:
                raise TooMuch(
                    f"the range has more than {self._rows_max} rows", hint="ask for a shorter one"
                )
            yield batch


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (flight.FlightError, pa.ArrowException, OSError) as error:
        raise from_flight(error) from None


def from_flight(error: BaseException) -> PipelineError:
    """The error of ours that `edge.to_flight` dressed, or what the transport's own one means."""
    try:
        told = json.loads(getattr(error, "extra_info", b""))
        code, message, hint = (str(told[name]) for name in ("code", "message", "hint"))
    except (ValueError, TypeError, KeyError):
        if isinstance(error, flight.FlightTimedOutError):
            return TooSlow("the answer took too long", hint="ask for less")
        return Unavailable("the Flight server does not answer", hint="ask again in a moment")
    return _BY_CODE.get(code, PipelineError)(message, hint=hint)
