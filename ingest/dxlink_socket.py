"""A websocket that hands messages on at the moment their last byte is read.

No queue and no task lie between the socket and whoever hears it: what the event loop has read is
cut into messages and handed on before the loop does anything else. Opening, closing, control frames
and whatever is wrong are the library's.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from core.errors import FeedLost
from ingest.dxlink_cut import Cutter

MESSAGE_BYTES_MAX = 64 << 20
UNSENT_BYTES_MAX = 1 << 20
CLOSE_S = 1.0
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

Hear = Callable[[Sequence[bytes]], None]


class Socket(asyncio.Protocol):
    """One connection, made by `open`. `hear` gets all messages read at once.

    What it raises ends the connection. It may be called before `open` returns: what a server says
    may come with the end of its handshake.
    """

    def __init__(self, url: str, hear: Hear, *, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._uri = parse_uri(url)
        self._protocol = ClientProtocol(self._uri, max_size=message_bytes_max)
        self._hear = hear
        self._cutter = Cutter(message_bytes_max)
        self._heard: list[bytes] = []  # and not yet handed on
        self._parts: list[bytes] = []
        self.date: str | None = None  # what the server says the time is
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[None] = loop.create_future()

    async def open(self) -> None:
        """Connect and shake hands; raise OSError, SSLError or WebSocketException."""
        loop, uri = asyncio.get_running_loop(), self._uri
        context = ssl.create_default_context() if uri.secure else None
        await loop.create_connection(lambda: self, uri.host, uri.port, ssl=context)
        try:
            await self._opened
        except BaseException:
            self.abort()
            raise

    def say(self, text: bytes) -> None:
        """Send a text message; raise FeedLost where the other side takes none."""
        if self._over.done() or self._protocol.state is not State.OPEN:
            raise FeedLost("the connection is over")
        assert self._transport is not None
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
        for future in (self._opened, self._over):
            if future.done() and not future.cancelled():
                future.exception()  # looked at, so that nobody is told it was not

    # -- what the event loop calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The faster loop's transports are no subclass of what they do.
        self._transport = cast("asyncio.Transport", transport)
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        at = 0
        while self._protocol.state is State.CONNECTING and at < len(data):
            # Byte by byte, for the first frame may come with the last of the handshake.
            self._read(data[at : at + 1])
            at += 1
        for messages, other in self._cutter.cut(data[at:] if at else data):
            if other:
                self._read(other)
            elif self._is_listening():
                self._heard += messages
        self._hand_on()
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

    def _read(self, data: bytes) -> None:
        """Let the library read."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self.date = event.headers.get("Date")
                self._shake(self._protocol.handshake_exc)
            elif isinstance(event, Frame) and event.opcode in _DATA and self._is_listening():
                self._parts.append(bytes(event.data))
                if event.fin:
                    self._heard.append(b"".join(self._parts))
                    self._parts = []

    def _is_listening(self) -> bool:
        """What follows a failure, or the other side's goodbye, is not heard any more."""
        protocol = self._protocol
        is_well = protocol.close_rcvd is None and protocol.parser_exc is None
        return is_well and not self._over.done()

    def _hand_on(self) -> None:
        messages, self._heard = self._heard, []
        try:
            if messages:
                self._hear(messages)
        except Exception as error:  # noqa: BLE001 - whoever waits for the end is given it
            self._end(error)
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1011)

    def _shake(self, failure: Exception | None) -> None:
        if not self._opened.done():
            if failure is None:
                self._opened.set_result(None)
            else:
                self._opened.set_exception(failure)

    def _has_opened(self) -> bool:
        opened = self._opened
        return opened.done() and not opened.cancelled() and opened.exception() is None

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
