"""The hand-off to the writer: other processes give it rows through a local socket.

One request is a JSON header and an optional Arrow body, one reply a JSON object. Replies come in
the order of the requests, and nothing is accepted that is not stored. A caller may send several
before the first reply: all that have come are answered in one go, since the thread that serves a
caller has to queue for the interpreter whenever it comes back from the kernel. The socket lies in a
folder only its owner may enter.
"""

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.batch import Rejected, TickBatch
from core.errors import PipelineError, StoreError, Unavailable
from core.log import Log
from storage.arrow_stream import arrow_bytes
from storage.paths import Paths

log = Log("intake")
LENGTHS = struct.Struct("<II")
HEADER_BYTES_MAX = 1 << 20
BODY_BYTES_MAX = 256 << 20
RECEIVE_BYTES, RECEIVE_BYTES_MAX = 64 << 10, 1 << 20
RAW_BYTES_MAX = HEADER_BYTES_MAX // 4  # of refused rows in one header, where they are hex
REJECTS_MAX = 256
CALLERS_MAX = 32
REPLY_TIMEOUT_S = 600.0
Handler = Callable[[dict[str, Any], bytes], dict[str, Any]]


class IntakeServer:
    """Listens on the data folder's socket; a thread a caller, bounded."""

    def __init__(self, paths: Paths, handler: Handler) -> None:
        self._paths = paths
        self._handler = handler
        self._callers = threading.BoundedSemaphore(CALLERS_MAX)
        self._open: set[socket.socket] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._accept, name="intake", daemon=True)

    def start(self) -> None:
        """Listen; a socket left by a killed writer is replaced (the writer's lock is held)."""
        self._paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._paths.intake_socket.unlink(missing_ok=True)
        with short_address(self._paths.intake_socket) as address:
            self._socket.bind(address)
        self._socket.listen(CALLERS_MAX)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and hang up on callers."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for caller in list(self._open):
            with suppress(OSError):
                caller.shutdown(socket.SHUT_RDWR)
        self._paths.intake_socket.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return  # stopped
            self._callers.acquire()
            self._open.add(caller)
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            raw = bytearray()
            while part := caller.recv(_missing(raw)):
                raw += part
                replies = [self._answer(*request) for request in split(raw)]
                if replies:
                    caller.sendall(b"".join(map(request_bytes, replies)))
        except (OSError, ValueError) as error:
            log.warning("caller.lost", error=error)
        finally:
            self._open.discard(caller)
            caller.close()
            self._callers.release()

    def _answer(self, header: dict[str, Any], body: bytes) -> dict[str, Any]:
        try:
            return self._handler(header, body)
        except PipelineError as error:
            return {"error": error.message, "code": error.code, "hint": error.hint}
        except Exception as error:
            log.exception("request.failed", op=header.get("op"))
            return {"error": f"internal error: {type(error).__name__}", "code": "internal"}


class IntakeClient:
    """Gives rows to the running writer. Not shared between threads."""

    def __init__(self, paths: Paths) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(REPLY_TIMEOUT_S)
        try:
            with short_address(paths.intake_socket) as address:
                self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise Unavailable(
                f"nothing is writing to {paths.root}", hint="start it with: tickflight up"
            ) from error

    def append(self, batch: TickBatch) -> int:
        """Guard and store a batch of a fast table; give the rows stored."""
        return int(self.ask({"op": "append"}, arrow_bytes(batch.to_arrow()))["rows"])

    def put(self, batch: TickBatch) -> tuple[int, int]:
        """Guard and store what of a batch is not known yet; give the rows stored and the known."""
        reply = self.ask({"op": "put"}, arrow_bytes(batch.to_arrow()))
        return int(reply["rows"]), int(reply["duplicates"])

    def append_rows(self, table: str, rows: pa.RecordBatch) -> list[bool | None]:
        """Store rows of a slow table.

        Say of each, where rows have identity, whether it was new; None if the guard refused it.
        """
        reply = self.ask({"op": "append_rows", "table": table}, arrow_bytes(rows))
        return list(reply.get("is_new", ()))

    def publish_gex(self, folder: str, symbol: str) -> int:
        """Seal the snapshots that wait in a spool folder and are not stored yet; count them."""
        return int(self.ask({"op": "publish_gex", "folder": folder, "symbol": symbol})["added"])

    def reject(self, rejected: list[Rejected]) -> None:
        """Keep refused rows."""
        for request in reject_requests(rejected):
            self.ask(request)

    @property
    def seals_apart(self) -> bool:
        """Another process is the writer, and feeds may be writing with it."""
        return False

    def seal_apart(
        self, table: str, symbol: str, parts: Iterable[TickBatch | pa.RecordBatch]
    ) -> None:
        """Only the writer can."""
        raise AssertionError(f"rows of {table} {symbol} go through the hot hour")

    def seal(self, symbols: list[str]) -> None:
        """Seal all rows of these symbols now."""
        self.ask({"op": "seal", "symbols": symbols})

    def ask(self, header: dict[str, Any], body: bytes = b"") -> dict[str, Any]:
        """One request and its reply; raise StoreError with the writer's own words."""
        try:
            self._socket.sendall(request_bytes(header, body))
            answer = _receive(self._socket)
        except OSError as error:
            raise Unavailable("the writer hung up", hint="is it still running?") from error
        if answer is None:
            raise Unavailable("the writer hung up", hint="is it still running?")
        return checked(answer)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def reject_requests(rejected: Sequence[Rejected]) -> Iterator[dict[str, Any]]:
    """Refused rows as they are sent: as many at once as a header has room for."""
    rows: list[dict[str, Any]] = []
    raw_bytes = 0
    for row in rejected:
        if rows and (raw_bytes + len(row.raw) > RAW_BYTES_MAX or len(rows) == REJECTS_MAX):
            yield {"op": "reject", "rows": rows}
            rows, raw_bytes = [], 0
        rows.append(_as_sent(row))
        raw_bytes += len(row.raw)
    if rows:
        yield {"op": "reject", "rows": rows}


def _as_sent(r: Rejected) -> dict[str, Any]:
    return {
        "table": r.table,
        "symbol": r.symbol,
        "source": r.source,
        "reason": r.reason,
        "raw": r.raw.hex(),
        "ts_recv": r.ts_recv,
        "ts_event": r.ts_event,
    }


def rejected_from(rows: list[dict[str, Any]]) -> list[Rejected]:
    """Refused rows as `reject_requests` made them."""
    return [Rejected(**{**row, "raw": bytes.fromhex(row["raw"])}) for row in rows]


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """A socket address that stays short: paths of sockets end at 107 bytes."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def request_bytes(header: dict[str, Any], body: bytes = b"") -> bytes:
    """One request or reply as it is sent.

    In one piece: each call gives the interpreter away, and getting it back may take a while.
    """
    raw = json.dumps(header).encode()
    return b"".join((LENGTHS.pack(len(raw), len(body)), raw, body))


def size_of(raw: bytearray) -> int:
    """How many bytes a request or reply has that begins so, as far as that is known."""
    if len(raw) < LENGTHS.size:
        return LENGTHS.size
    header_bytes, body_bytes = LENGTHS.unpack_from(raw)
    if header_bytes > HEADER_BYTES_MAX or body_bytes > BODY_BYTES_MAX:
        raise ValueError(f"request of {header_bytes}+{body_bytes} bytes is too large")
    return LENGTHS.size + int(header_bytes) + int(body_bytes)


def split(raw: bytearray) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Take the whole requests or replies off the bytes that have come; raise ValueError."""
    while len(raw) >= (end := size_of(raw)):
        header_bytes, _ = LENGTHS.unpack_from(raw)
        body_start = LENGTHS.size + header_bytes
        parsed = json.loads(raw[LENGTHS.size : body_start])
        if not isinstance(parsed, dict):
            raise ValueError("request header is not an object")
        with memoryview(raw) as view:
            body = bytes(view[body_start:end])
        del raw[:end]
        yield parsed, body


def checked(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply that is no error; raise StoreError with the writer's own words."""
    if "error" in reply:
        raise StoreError(str(reply["error"]), hint=str(reply.get("hint", "")))
    return reply


def _receive(peer: socket.socket) -> dict[str, Any] | None:
    """One reply; None where the peer hung up. Nothing else was asked, so nothing follows."""
    raw = bytearray()
    while part := peer.recv(_missing(raw)):
        raw += part
        for reply, _ in split(raw):
            return reply
    return None


def _missing(raw: bytearray) -> int:
    """How many bytes to ask for."""
    return min(max(size_of(raw) - len(raw), RECEIVE_BYTES), RECEIVE_BYTES_MAX)
