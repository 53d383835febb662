"""The hand-off to the writer for programs on an event loop: the same requests, without a thread."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from core.batch import Rejected
from core.errors import Unavailable
from storage.intake import (
    REPLY_TIMEOUT_S,
    checked,
    reject_requests,
    request_bytes,
    short_address,
    split,
)
from storage.paths import Paths
from storage.prepared import Prepared


class LoopIntake(asyncio.Protocol):
    """Gives rows to the running writer; requests go out at once and are answered in their order.

    How many wait for their reply is for the caller to limit.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._raw = bytearray()
        self._waiting: deque[asyncio.Future[dict[str, Any]]] = deque()

    async def append_prepared(
        self, table: str, told: Sequence[Sequence[object]], ready: Prepared
    ) -> list[bool | None]:
        """Store rows of a gamma table and say of each whether it was new, None where refused."""
        header = {"op": "append_prepared", "table": table, "told": told, "seq_at": ready.seq_at}
        return list((await self.ask(header, ready.payload))["is_new"])

    async def reject(self, rejected: list[Rejected]) -> None:
        """Keep refused rows."""
        for request in reject_requests(rejected):
            await self.ask(request)

    async def ask(self, header: dict[str, Any], body: bytes = b"") -> dict[str, Any]:
        """One request and its reply; raise StoreError with the writer's own words."""
        if self._transport is None:
            raise _hung_up()
        reply = asyncio.get_running_loop().create_future()
        self._waiting.append(reply)
        self._transport.write(request_bytes(header, body))
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return checked(await reply)
        except TimeoutError as error:
            self.close()
            raise _hung_up() from error

    def close(self) -> None:
        """Hang up; who waits for a reply is told."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The writer has answered the call."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on the replies that are whole."""
        self._raw += data
        for reply, _ in split(self._raw):
            waiting = self._waiting.popleft()
            if not waiting.done():  # whoever asked may have gone
                waiting.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """The writer is gone."""
        self._transport = None
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(_hung_up())


async def open_intake(paths: Paths) -> LoopIntake:
    """Call the writer; raise Unavailable where nothing writes."""
    try:
        with short_address(paths.intake_socket) as address:
            loop = asyncio.get_running_loop()
            _, intake = await loop.create_unix_connection(LoopIntake, address)
            return intake
    except OSError as error:
        raise Unavailable(
            f"nothing is writing to {paths.root}", hint="start it with: tickflight up"
        ) from error


def _hung_up() -> Unavailable:
    return Unavailable("the writer hung up", hint="is it still running?")
