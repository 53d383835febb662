"""One batch as an Arrow IPC stream that stands alone, and back."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import pyarrow as pa

SCHEMAS_MAX: Final = 32
END: Final = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream
PREFIX_BYTES: Final = 8  # a marker, and the length of what follows


def arrow_bytes(batch: pa.RecordBatch) -> bytes:
    """A batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    raw: bytes = sink.getvalue().to_pybytes()
    return raw


def arrow_batch(raw: bytes | memoryview) -> pa.RecordBatch:
    """The batch of an Arrow IPC stream; raise ArrowInvalid.

    Of a batch of one row the schema is most of the work, so it is read once.
    """
    buffer = pa.py_buffer(raw)
    head = head_bytes(raw)
    schema = _schema_of(bytes(raw[:head]))
    if schema is not None:
        return pa.ipc.read_record_batch(buffer.slice(head), schema)
    with pa.ipc.open_stream(buffer) as reader:
        return reader.read_next_batch()


def arrow_batches(raws: Sequence[bytes | memoryview]) -> list[pa.RecordBatch]:
    """The batches of some streams; raise ArrowInvalid.

    Those that begin with the same head are read as one stream, which takes a fraction of what
    opening each takes.
    """
    if len(raws) > 1:
        head = raws[0][: head_bytes(raws[0])]
        size = len(head)
        if all(raw[:size] == head and raw[-len(END) :] == END for raw in raws):
            whole = b"".join((head, *(raw[size : -len(END)] for raw in raws), END))
            with pa.ipc.open_stream(whole) as reader:
                return list(reader)
    return [arrow_batch(raw) for raw in raws]


def head_bytes(raw: bytes | memoryview) -> int:
    """Length of the head of a stream's first message: of a whole stream its schema."""
    return PREFIX_BYTES + int.from_bytes(raw[4:PREFIX_BYTES], "little")


@lru_cache(maxsize=SCHEMAS_MAX)
def _schema_of(head: bytes) -> pa.Schema | None:
    """The schema a stream begins with; None where dictionaries follow it."""
    schema = pa.ipc.read_schema(pa.py_buffer(head))
    has_dictionaries = any(pa.types.is_dictionary(field.type) for field in schema)
    return None if has_dictionaries else schema
