"""How requests are read and answered.

A compiled parser reads them, which takes a third of what a Python one does. It does not say how
long the head of a request may be, so that is counted here. Head and body of an answer go out
together: each call to the system wakes whoever waits for it.
"""

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES_MAX: Final = 64 * 1024  # request line and headers


class Answer:
    """The transport as one answer uses it: what is written first waits for what follows."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._has_begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        """Hand on, but the head at the end of this round of the loop where no body came in it."""
        if self._has_begun:
            self._transport.write(self._head + data if self._head else data)
            self._head = b""
        else:
            self._has_begun = True
            self._head = data
            asyncio.get_running_loop().call_soon(self._hand_on)

    def close(self) -> None:
        """Hand on what waits and close."""
        self._hand_on()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is at its end."""
        return self._transport.is_closing()

    def _hand_on(self) -> None:
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)


class Requests(HttpToolsProtocol):
    """uvicorn's protocol; a head without an end is answered 431, and the connection closed."""

    _is_in_head = True
    _has_ended = False  # a head, in the bytes being read
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Read on; bytes count as long as they belong to one head and nothing else."""
        was_in_head, self._has_ended = self._is_in_head, False
        super().data_received(data)
        is_one_head = was_in_head and not self._has_ended
        self._head_bytes = self._head_bytes + len(data) if is_one_head else 0
        if self._head_bytes > HEAD_BYTES_MAX:
            self.transport.write(
                STATUS_LINE[431] + b"connection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.transport.close()

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._is_in_head, self._has_ended = False, True
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # no socket was asked for
            self.cycle.transport = cast("asyncio.Transport", Answer(self.transport))

    def on_message_complete(self) -> None:
        """What follows is another head."""
        self._is_in_head = True
        super().on_message_complete()
