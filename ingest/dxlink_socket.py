"""A websocket that hands each message on at the moment its last byte is read.

No queue and no task lie between the socket and whoever hears it: the protocol's own parser is fed
from the event loop's callback, and what it gives is handed on before the loop does anything else.
"""

import asyncio
import ssl
from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from core.errors import FeedLost

MESSAGE_BYTES_MAX = 64 << 20
UNSENT_BYTES_MAX = 1 << 20
CLOSE_S = 1.0

Hear = Callable[[bytes], None]


class Socket(asyncio.Protocol):
    """One connection. `hear` gets every message; what it raises ends the connection."""

    def __init__(self, url: str, hear: Hear, message_bytes_max: int) -> None:
        self._protocol = ClientProtocol(parse_uri(url), max_size=message_bytes_max)
        self._hear = hear
        self._parts: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def open(
        cls, url: str, hear: Hear, *, message_bytes_max: int = MESSAGE_BYTES_MAX
    ) -> "Socket":
        """Connect and shake hands; raise OSError, SSLError or WebSocketException."""
        uri = parse_uri(url)
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if uri.secure else None
        _, socket = await loop.create_connection(
            lambda: cls(url, hear, message_bytes_max), uri.host, uri.port, ssl=context
        )
        try:
            await socket.opened
        except BaseException:
            socket.abort()
            raise
        return socket

    def say(self, text: bytes) -> None:
        """Send a text message; raise FeedLost where the other side takes none."""
        assert self._transport is not None
        if self._over.done():
            raise FeedLost("the connection is over")
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            raise FeedLost(f"over {UNSENT_BYTES_MAX} bytes could not be sent")
        self._protocol.send_text(text)
        self._flush()

    async def over(self) -> None:
        """Wait for the end, which is always raised."""
        await asyncio.shield(self._over)
        raise FeedLost("the server hung up")

    async def close(self) -> None:
        """Say goodbye, briefly wait for the answer, and let go."""
        if not self._over.done() and self._protocol.state.name == "OPEN":
            self._protocol.send_close(1000)
            self._flush()
            await asyncio.wait([self._over], timeout=CLOSE_S)
        self.abort()

    def abort(self) -> None:
        """Let go at once."""
        if self._transport is not None:
            self._transport.abort()
        for future in (self.opened, self._over):
            if future.done() and not future.cancelled():
                future.exception()  # looked at, so that nobody is told it was not

    # -- what the event loop calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        if self._over.done():
            return  # what follows a failure is not heard any more
        try:
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._take(event)
                elif isinstance(event, Response):
                    self._shake(self._protocol.handshake_exc)
        except Exception as error:  # noqa: BLE001 - whoever waits for the end is given it
            self._end(error)
            self._protocol.send_close(1011)
        self._flush()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._protocol.receive_eof()
        self._shake(exc or self._protocol.handshake_exc or ConnectionClosedError(None, None))
        self._end(exc or (self._protocol.close_exc if self._has_opened() else None))

    # -- inside ----------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY) and frame.fin:
            self._hear(bytes(frame.data))
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._parts.append(bytes(frame.data))
            if frame.fin:
                message, self._parts = b"".join(self._parts), []
                self._hear(message)

    def _shake(self, failure: Exception | None) -> None:
        if not self.opened.done():
            if failure is None:
                self.opened.set_result(None)
            else:
                self.opened.set_exception(failure)

    def _has_opened(self) -> bool:
        return self.opened.done() and self.opened.exception() is None

    def _end(self, failure: Exception | None) -> None:
        if self._over.done():
            return
        if failure is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(failure)

    def _flush(self) -> None:
        assert self._transport is not None
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            elif not self._transport.is_closing():
                self._transport.close()
