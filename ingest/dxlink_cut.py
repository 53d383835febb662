"""Cuts messages out of the bytes of a websocket. Pure.

Nearly every frame is one whole message, and cutting it out takes a fraction of what a parser for
every kind of frame takes. Whatever else there is (control frames, fragments, anything wrong) is
given whole and unread, for the library's parser to judge.
"""

import struct
from typing import NamedTuple

_HEAD = struct.Struct("!BBH")  # kind of frame, its size or how it is told, the size where told so
_HEAD_BYTES = 2
_DATA = (0x81, 0x82)  # an unfragmented text or binary frame, no extension
_LENGTH_2, _LENGTH_8, _MASKED = 126, 127, 128
_IS_FINAL, _IS_CONTROL = 0x80, 0x08
_NO_SIZE = 1 << 64  # a server masks nothing: beyond every bound


class Piece(NamedTuple):
    """Payloads of messages that follow each other, or bytes somebody else must read."""

    messages: list[bytes]
    other: bytes = b""


class Cutter:
    """Takes the bytes of one connection as they come, from a frame's first byte on."""

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._rest = bytearray()  # of a frame that is not whole
        self._wanted = 0  # bytes until it is
        self._is_fragmented = False  # the frames of a message are under way
        self._is_lost = False  # nobody knows where a frame begins any more

    def cut(self, data: bytes) -> list[Piece]:
        """Every frame that is whole by now, in order."""
        if self._is_lost:
            return [Piece([], data)]
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        self._wanted = 0
        pieces: list[Piece] = []
        at = self._plain(data, 0, pieces)
        while (span := _payload(data, at)) is not None:
            start, after = span
            if after - start > self._message_bytes_max:
                # The library refuses it; where the next frame begins is no matter any more.
                self._is_lost = True
                return [*pieces, Piece([], data[at:])]
            if after > len(data):
                self._wanted = after - at
                break
            pieces.append(self._one(data[at:after], start - at))
            at = self._plain(data, after, pieces)
        self._rest += data[at:]
        return pieces

    def _plain(self, data: bytes, at: int, pieces: list[Piece]) -> int:
        """Cut as long as one short and whole message follows another; give where they end."""
        messages: list[bytes] = []
        end = len(data)
        while at + _HEAD.size <= end and not self._is_fragmented:
            kind, code, size = _HEAD.unpack_from(data, at)
            start = at + _HEAD.size
            if code < _LENGTH_2:
                start, size = at + _HEAD_BYTES, code
            after = start + size
            is_short = code <= _LENGTH_2 and size <= self._message_bytes_max
            if kind not in _DATA or not is_short or after > end:
                break
            messages.append(data[start:after])
            at = after
        if messages:
            pieces.append(Piece(messages))
        return at

    def _one(self, frame: bytes, head_bytes: int) -> Piece:
        """A frame that is long, or no plain message."""
        if frame[0] in _DATA and not self._is_fragmented:
            return Piece([frame[head_bytes:]])
        if not frame[0] & _IS_CONTROL:
            self._is_fragmented = not frame[0] & _IS_FINAL
        return Piece([], frame)


def _payload(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at a place begins and ends; None where its head is torn."""
    start = at + _HEAD_BYTES
    if start > len(data):
        return None
    size = data[at + 1]
    if size in (_LENGTH_2, _LENGTH_8):
        start += 2 if size == _LENGTH_2 else 8
        if start > len(data):
            return None
        size = int.from_bytes(data[at + _HEAD_BYTES : start], "big")
    elif size >= _MASKED:
        size = _NO_SIZE
    return start, start + size
