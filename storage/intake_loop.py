"""The hand-off to the writer for programs on an event loop: the same requests, without a thread."""

from typing import Any

import anyio
import pyarrow as pa
from anyio.abc import SocketStream

from core.batch import Rejected
from core.errors import Unavailable
from storage.arrow_stream import arrow_bytes
from storage.intake import (
    RECEIVE_BYTES,
    REPLY_TIMEOUT_S,
    checked,
    parse_whole,
    rejected_rows,
    request_bytes,
    short_address,
    size_of,
)
from storage.paths import Paths

_LOST = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class LoopIntake:
    """Gives rows to the running writer; one request at a time."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def append_rows(self, table: str, rows: pa.RecordBatch) -> list[bool | None]:
        """See `IntakeClient.append_rows`."""
        reply = await self._ask({"op": "append_rows", "table": table}, arrow_bytes(rows))
        return list(reply.get("is_new", ()))

    async def reject(self, rejected: list[Rejected]) -> None:
        """Keep refused rows."""
        await self._ask({"op": "reject", "rows": rejected_rows(rejected)})

    async def close(self) -> None:
        """Hang up."""
        await self._stream.aclose()

    async def _ask(self, header: dict[str, Any], body: bytes = b"") -> dict[str, Any]:
        """One request and its reply; raise StoreError with the writer's own words."""
        try:
            with anyio.fail_after(REPLY_TIMEOUT_S):
                await self._stream.send(request_bytes(header, body))
                raw = bytearray()
                while len(raw) < size_of(raw):
                    raw += await self._stream.receive(RECEIVE_BYTES)
        except _LOST as error:  # TimeoutError is an OSError
            raise Unavailable("the writer hung up", hint="is it still running?") from error
        return checked(parse_whole(raw)[0])


async def open_intake(paths: Paths) -> LoopIntake:
    """Call the writer; raise Unavailable where nothing writes."""
    try:
        with short_address(paths.intake_socket) as address:
            return LoopIntake(await anyio.connect_unix(address))
    except OSError as error:
        raise Unavailable(
            f"nothing is writing to {paths.root}", hint="start it with: tickflight up"
        ) from error
