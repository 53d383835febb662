"""The socket of a tab below ASGI: a frame is written down once and its bytes go to every tab.

A task, a future and a message a tab and frame cost the server several times what the system's own
call does. So uvicorn's protocol hands itself to the endpoint, which writes to it and is told of
messages where they come in. Nothing waits: what does not fit into the system's buffer is not sent.
"""

import struct
from collections.abc import Callable

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

EXTENSION = "tickflight.wire"  # of the ASGI scope
WHOLE_TEXT = 0x81  # first byte of a message in one frame, RFC 6455 section 5.2
SHORT_MAX, MEDIUM_MAX = 125, 0xFFFF


class Wire(WebSocketsSansIOProtocol):
    """uvicorn's protocol; between accept and close frames may be written past it."""

    on_text: Callable[[bytes], None] | None = None

    async def run_asgi(self) -> None:
        """Serve the socket, which finds us in its scope."""
        self.scope["extensions"] = {**(self.scope["extensions"] or {}), EXTENSION: {"wire": self}}
        await super().run_asgi()

    def write(self, frame: bytes) -> bool:
        """Hand bytes to the system; False where the last ones wait there or the socket closes."""
        transport = self.transport
        if self.close_sent or transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.write(frame)
        return True

    def handle_text(self, event: Frame) -> None:
        """Tell at once what came; a message in pieces takes the long way."""
        if self.on_text is None or not event.fin:
            super().handle_text(event)
        else:
            self.on_text(bytes(event.data))


def text_frame(text: bytes) -> bytes:
    """A server's message as it goes over the wire."""
    size = len(text)
    if size <= SHORT_MAX:
        return bytes((WHOLE_TEXT, size)) + text
    if size <= MEDIUM_MAX:
        return struct.pack("!BBH", WHOLE_TEXT, 126, size) + text
    return struct.pack("!BBQ", WHOLE_TEXT, 127, size) + text
