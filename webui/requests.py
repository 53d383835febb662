"""How requests are read and answered.

A compiled parser reads them, which takes a third of what a Python one does. It does not say how
long the head of a request may be nor how many may come before the first is answered, so both are
counted here. Head and body of an answer go out together: each call to the system wakes whoever
waits for it.
"""

import asyncio
from functools import partial
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from core.log import Log
from webui.edge import error_answer

HEAD_BYTES_MAX: Final = 64 * 1024  # request line and headers
HEAD_S_MAX: Final = 10  # to send them in
WAITING_MAX: Final = 16  # requests behind the one being answered
WHY: Final = {
    400: "expected a request of HTTP/1.1",
    408: f"expected the whole head of a request within {HEAD_S_MAX} s",
    429: f"expected at most {WAITING_MAX} requests to wait behind one that is being answered",
    431: f"expected a head of at most {HEAD_BYTES_MAX} bytes",
}
log = Log("web")


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
            asyncio.get_running_loop().call_soon(self.hand_on)

    def close(self) -> None:
        """Hand on what waits and close."""
        self.hand_on()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is at its end."""
        return self._transport.is_closing()

    def hand_on(self) -> None:
        """Let a head wait no longer."""
        head, self._head = self._head, b""
        if head:
            self._transport.write(head)


class Requests(HttpToolsProtocol):
    """uvicorn's protocol, and an end to heads, to waiting for them and to what is read ahead.

    What cannot be read is refused behind the answers that are due, and the connection closed.
    """

    _is_in_head = False
    _head_bytes = 0  # of names and values
    _unended_bytes = 0  # read since a head or a piece of a body ended
    _has_ended = False  # one of these did, in the bytes being read
    _too_much = 0  # the status of what the parser was made to stop for
    _due = 0  # answers
    _refused = 0  # the status with which it ends
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, but not for ever."""
        super().connection_made(transport)
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless it is over already."""
        self._unset_keepalive_if_required()
        self._has_ended = False
        rest: bytes | None = data
        while rest and not self._refused:
            rest = self._read(rest)
        self._unended_bytes = 0 if self._has_ended else self._unended_bytes + len(data)
        if self._refused or self.transport.get_protocol() is not self:
            return
        if self._unended_bytes > HEAD_BYTES_MAX:
            self._refuse(431)
        elif (self._is_in_head or not self._due) and self._patience is None:
            self._begin_to_wait()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what comes behind a body is counted and not looked at."""
        self._count(len(name) + len(value))
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._is_in_head, self._has_ended = False, True
        self._wait_no_more()
        if self._asks_in_vain():
            return
        if self._due > WAITING_MAX:
            self._stop(429)
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # no socket was asked for
            answer = Answer(self.transport)
            self.cycle.transport = cast("asyncio.Transport", answer)
            self.cycle.on_response = partial(self._answered, answer)
            self._due += 1

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._has_ended = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has ended."""
        if not self._asks_in_vain():
            super().on_message_complete()

    def _read(self, data: bytes) -> bytes | None:
        """Have bytes parsed; what is still to be read of them.

        Who asks for a protocol we do not speak is answered in this one. The parser takes a body
        for what is said in the other, so it reads the head again without the question.
        """
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            if self._asks_in_vain() and self.parser.get_method() != b"CONNECT":
                return self._head_without_question() + data[upgrade.args[0] :]
            if self._asks_in_vain() or self._due or self._has_body():
                self._refuse(400)
            else:
                self.handle_websocket_upgrade()
        except HttpParserError:
            self._refuse(self._too_much or 400)
        return None

    def _asks_in_vain(self) -> bool:
        return self.parser.should_upgrade() and not self._should_upgrade()

    def _head_without_question(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % pair for pair in self.headers if pair[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _has_body(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            self._stop(431)

    def _stop(self, status: int) -> None:
        """Make the parser stop; called by it."""
        self._too_much = status
        raise ValueError(WHY[status])

    def _answered(self, answer: Answer) -> None:
        answer.hand_on()
        self._due -= 1
        self.on_response_complete()
        if self._refused and not self._due:
            self._hang_up()

    def _refuse(self, status: int) -> None:
        """Read no more, and end behind the answers that are due."""
        log.info("request.unreadable", status=status, why=WHY[status])
        self._refused = status
        self._wait_no_more()
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            # It is this one that cannot be read.
            self._due -= 1
            if self.pipeline:
                self.pipeline.popleft()
            else:
                cycle.disconnected = True
                cycle.message_event.set()
                if cycle.response_started:
                    cycle.transport.close()
        if not self._due:
            self._hang_up()

    def _hang_up(self) -> None:
        if self.transport.is_closing():
            return
        code = "too_much" if self._refused == 429 else "bad_request"
        answer = error_answer(self._refused, code, WHY[self._refused])
        headers = [*answer.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(b"%s%s\r\n%s" % (STATUS_LINE[self._refused], head, answer.body))
        self.transport.close()

    def _begin_to_wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_S_MAX, self._lose_patience)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self._is_in_head:
            self._refuse(408)
        elif not self._due:
            self.transport.close()
