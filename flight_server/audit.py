"""The record of every call, kept in table `queries`.

The hot path puts one tuple into a bounded queue; a thread turns what has gathered into one Arrow
batch, at least once a second. When the store does not take it, the calls go on and the loss is
counted: a question is never refused because it cannot be written down.
"""

import re
import threading
from collections import deque
from typing import Final, NamedTuple, Protocol

import pyarrow as pa

from core.log import Log
from core.schema import QUERIES

ROWS_WAITING_MAX: Final = 65_536
BATCH_ROWS_MAX: Final = 4_096
FLUSH_S: Final = 0.25
TICKET_BYTES_MAX: Final = 4_096

_KEY = re.compile(rb"tf_[a-z0-9]{8}_[A-Za-z0-9_-]{1,43}")
_log = Log("audit")


class RowSink(Protocol):
    """Where rows of a slow table go."""

    def append_rows(self, table: str, rows: pa.RecordBatch) -> object:
        """Store the rows; they carry every column but `seq`."""


class CallEntry(NamedTuple):
    """One finished call."""

    start_us: int
    end_us: int
    key_name: str
    method: str
    ticket: bytes
    rows: int
    bytes: int
    ms: float
    outcome: str
    peer: str


class Audit:
    """Gathers finished calls and writes them in batches."""

    def __init__(self, sink: RowSink) -> None:
        self._sink = sink
        self._waiting: deque[CallEntry] = deque()
        self._stopping = threading.Event()
        self._flushing = threading.Lock()
        self._thread = threading.Thread(target=self._flush_forever, name="audit", daemon=True)
        self.noted_count = 0
        self.written_count = 0
        self.lost_count = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is waiting and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()

    def note(self, entry: CallEntry) -> None:
        """Take down a finished call; never waits."""
        self.noted_count += 1
        if len(self._waiting) >= ROWS_WAITING_MAX:
            self.lost_count += 1
            return
        self._waiting.append(entry)

    def flush(self) -> None:
        """Write what is waiting now."""
        with self._flushing:
            while self._waiting:
                size = min(len(self._waiting), BATCH_ROWS_MAX)
                entries = [self._waiting[place] for place in range(size)]
                self._sink.append_rows("queries", to_batch(entries))
                # Only now are they let go, so a store that was down for a moment loses nothing.
                for _ in entries:
                    self._waiting.popleft()
                self.written_count += size

    def _flush_forever(self) -> None:
        is_failing = False
        while not self._stopping.wait(FLUSH_S):
            try:
                self.flush()
                is_failing = False
            except Exception:  # noqa: BLE001  the edge of this thread
                # Whatever it is, the next try may do better, and calls must go on.
                if not is_failing:
                    _log.exception("calls.unwritten", waiting=len(self._waiting))
                is_failing = True


def to_batch(entries: list[CallEntry]) -> pa.RecordBatch:
    """Finished calls as rows of `queries`; anything that looks like a key is taken out."""
    starts, ends, names, methods, tickets, rows, sizes, ms, outcomes, peers = zip(
        *entries, strict=True
    )
    values = {
        "symbol": [""] * len(entries),
        "ts_event": starts,
        "ts_ns": [0] * len(entries),
        "ts_recv": ends,
        "source": ["flight"] * len(entries),
        "key_name": names,
        "method": methods,
        "ticket": [_ticket_text(ticket) for ticket in tickets],
        "rows": rows,
        "bytes": sizes,
        "ms": ms,
        "outcome": outcomes,
        "peer": peers,
    }
    schema = QUERIES.unnumbered_schema
    arrays = [pa.array(values[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _ticket_text(ticket: bytes) -> str:
    # Cut after masking: a key must not survive by lying across the cut.
    shown = ticket[: 2 * TICKET_BYTES_MAX]
    if b"tf_" in shown:
        shown = _KEY.sub(b"tf_***", shown)
    return shown[:TICKET_BYTES_MAX].decode("utf-8", "replace").replace("\x00", "?")
