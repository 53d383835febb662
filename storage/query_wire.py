"""How results travel from a query worker to the process that asked, without a copy on arrival.

Each lane between the two is one stream socket for short frames and a few shared memory slots for
the rows. The worker writes a batch as a small Arrow IPC stream into a free slot and says which; the
asker reads arrays straight out of the slot and says when the last of them is gone. A worker without
a free slot waits, so memory stays flat however slow the consumer is.

Nothing here knows SQL.
"""

import json
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

import pyarrow as pa
from pyarrow import ipc

from core.errors import BadSql, Forbidden, PipelineError, TooMuch, TooSlow, Unavailable

SLOTS = 6
# Sparse: only the pages a batch touches take memory.
SLOT_BYTES = 256 << 20
BATCH_BYTES_MAX = 8 << 20
FRAME_BYTES_MAX = 16 << 20
FREE_SLOTS_MIN = 2
GRACE_S = 3.0  # for a statement to heed an interrupt
_HEADER = struct.Struct("<BI")
_BATCH = struct.Struct("<BQ")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the process is told when it is started."""

    root: str
    lake: str  # the folder; nothing of a bucket is told to a process that runs SQL
    is_partial: bool  # files may have to be asked for
    seconds: float
    rows: int
    bytes: int
    memory_bytes: int
    threads: int
    lanes: list[tuple[int, list[int]]]  # socket and slot descriptors of each lane


def parse_options(text: str) -> WorkerOptions:
    """Read the process's only argument."""
    facts = json.loads(text)
    facts["lanes"] = [(int(fd), [int(slot) for slot in slots]) for fd, slots in facts["lanes"]]
    return WorkerOptions(**facts)


ERRORS: dict[str, type[PipelineError]] = {
    kind.code: kind for kind in (BadSql, Forbidden, TooMuch, TooSlow, Unavailable)
}


def facts_of(error: PipelineError) -> dict[str, object]:
    """An error as it travels."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


def error_of(facts: Mapping[str, object]) -> PipelineError:
    """The error that travelled."""
    kind = ERRORS.get(str(facts["code"]), Unavailable)
    return kind(str(facts["message"]), hint=str(facts["hint"]))


class Kind(IntEnum):
    """What a frame is."""

    QUESTION = 1  # asker: JSON
    FREE = 2  # asker: a slot may be written again
    CANCEL = 3  # asker: nobody wants the rest
    SCHEMA = 4  # worker: Arrow schema message
    BATCH = 5  # worker: slot and length
    END = 6  # worker: JSON, all rows sent
    ERROR = 7  # worker: JSON with code, message, hint
    READY = 8  # worker: the process is up
    WANT = 9  # worker: JSON, sealed files that are not on this machine; it waits
    HAVE = 10  # asker: JSON, they are there; or code, message and hint of what went wrong


@dataclass(frozen=True, slots=True)
class Frame:
    """One message on a lane's socket."""

    kind: Kind
    payload: bytes

    def facts(self) -> dict[str, object]:
        """The payload as the JSON object it is."""
        found = json.loads(self.payload)
        assert isinstance(found, dict)
        return found


class Channel:
    """Frames over a stream socket; sending is safe from several threads."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        # Re-entrant: a slot may be let go by a finalizer while the same thread is sending.
        self._sending = threading.RLock()

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send one frame; OSError where the other side is gone."""
        assert len(payload) <= FRAME_BYTES_MAX, len(payload)
        with self._sending:
            self.sock.sendall(_HEADER.pack(kind, len(payload)) + payload)

    def send_facts(self, kind: Kind, facts: dict[str, object]) -> None:
        """Send one frame with a JSON object."""
        self.send(kind, json.dumps(facts).encode())

    def receive(self) -> Frame | None:
        """Wait for the next frame; None where the other side is gone."""
        header = self._exactly(_HEADER.size)
        if header is None:
            return None
        kind, size = _HEADER.unpack(header)
        payload = self._exactly(size) if size else b""
        return None if payload is None else Frame(Kind(kind), payload)

    def close(self) -> None:
        """Close the socket; whoever waits on either side wakes up."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def _exactly(self, size: int) -> bytes | None:
        parts: list[bytes] = []
        missing = size
        while missing:
            try:
                part = self.sock.recv(missing)
            except OSError:
                return None
            if not part:
                return None
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def create_slots() -> list[int]:
    """Descriptors of fresh slots that cannot shrink under a reader; made by the asker."""
    fds = []
    for number in range(SLOTS):
        fd = os.memfd_create(f"tickflight-slot-{number}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, SLOT_BYTES)
        fds.append(fd)
    return fds


class SlotWriter:
    """The worker's side of the slots: waits for a free one and writes batches into it."""

    def __init__(self, fds: list[int], channel: Channel) -> None:
        self._maps = [mmap.mmap(fd, SLOT_BYTES) for fd in fds]
        self._buffers = [pa.py_buffer(map_) for map_ in self._maps]
        self._used_bytes = [0] * len(fds)
        self._free = list(range(len(fds)))
        self._changed = threading.Condition()
        self._channel = channel

    def free(self, slot: int) -> None:
        """The asker is done with a slot; pages of an unusually large batch are given back."""
        if self._used_bytes[slot] > 2 * BATCH_BYTES_MAX:
            self._maps[slot].madvise(mmap.MADV_REMOVE)
        with self._changed:
            self._free.append(slot)
            self._changed.notify()

    def wake(self) -> None:
        """Let a waiting writer look at `should_stop` again."""
        with self._changed:
            self._changed.notify_all()

    def write(self, batch: pa.RecordBatch, should_stop: Callable[[], bool], seconds: float) -> bool:
        """Send a batch, in pieces if large; False where nobody took rows for `seconds`."""
        if batch.nbytes > BATCH_BYTES_MAX and batch.num_rows > 1:
            half = batch.num_rows // 2
            return self.write(batch.slice(0, half), should_stop, seconds) and self.write(
                batch.slice(half), should_stop, seconds
            )
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._free) or should_stop(), seconds):
                return False
            if should_stop():
                return True
            # The slot freed last is the one still warm in the cache.
            slot = self._free.pop()
        try:
            length = _write_stream(self._buffers[slot], batch)
        except OSError as error:
            self.free(slot)
            raise TooMuch(
                f"one row of the answer is larger than {SLOT_BYTES} bytes",
                hint="do not gather the whole table into one list or text",
            ) from error
        self._used_bytes[slot] = length
        self._channel.send(Kind.BATCH, _BATCH.pack(slot, length))
        return True


def _write_stream(buffer: pa.Buffer, batch: pa.RecordBatch) -> int:
    sink = pa.FixedSizeBufferWriter(buffer)
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
        length = sink.tell()
    assert isinstance(length, int)
    return length


class _Lease:
    """Keeps a slot from being written again while an array looks into it."""

    __slots__ = ("_map", "_release", "_slot")

    def __init__(self, slot: int, map_: mmap.mmap, release: Callable[[int], None]) -> None:
        self._slot = slot
        self._map = map_
        self._release = release

    def __del__(self) -> None:
        self._release(self._slot)


class SlotReader:
    """The asker's side of the slots: batches whose buffers are the slots themselves."""

    def __init__(self, fds: list[int], channel: Channel) -> None:
        self._maps = [mmap.mmap(fd, SLOT_BYTES, access=mmap.ACCESS_READ) for fd in fds]
        self._addresses = [pa.py_buffer(map_).address for map_ in self._maps]
        self._channel = channel
        self._held = 0
        self._counting = threading.RLock()

    def read(self, frame: Frame) -> pa.RecordBatch:
        """The batch a frame announces; copied only where the consumer hoards earlier ones."""
        slot, length = _BATCH.unpack(frame.payload)
        with self._counting:
            self._held += 1
            is_hoarding = self._held > SLOTS - FREE_SLOTS_MIN
        lease = _Lease(slot, self._maps[slot], self._release)
        buffer = pa.foreign_buffer(self._addresses[slot], length, lease)
        del lease
        if is_hoarding:
            buffer = pa.py_buffer(buffer.to_pybytes())
        with ipc.open_stream(buffer) as stream:
            return stream.read_next_batch()

    def _release(self, slot: int) -> None:
        with self._counting:
            self._held -= 1
        try:
            self._channel.send(Kind.FREE, bytes([slot]))
        except OSError:
            return  # the worker is gone, and its slots with it
