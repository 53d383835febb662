"""Cuts a stream of JSON into its top-level records without reading them: an array, or lines. Pure.

A record that is no JSON inside spoils itself alone. Memory is bounded by the longest record.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from core.errors import FeedGarbled

RECORD_BYTES_MAX = 4 * 2**20
# Inside an object only strings and braces matter; the group is empty where a string is not over.
_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*("?)|[{}]', re.DOTALL)
_PLAIN = re.compile(rb"[^,\]\s\[{][^,\]\n{]*")
_BETWEEN = b" \t\r\n,"
BOM = b"\xef\xbb\xbf"  # some programs begin every text so


def records(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Each record as it stands; raise FeedGarbled where the file is torn or is not such a file."""
    state = _State()
    for piece in pieces:
        state.waiting += piece
        yield from _whole_records(state)
        if len(state.waiting) > RECORD_BYTES_MAX:
            raise FeedGarbled(f"expected records of at most {RECORD_BYTES_MAX:,} bytes")
    state.is_last = True
    yield from _whole_records(state)
    if state.waiting.strip(_BETWEEN) or (state.is_array and not state.is_closed):
        raise FeedGarbled("the file ends in the middle of a record", hint="fetch it again")


@dataclass(slots=True)
class _State:
    waiting: bytearray = field(default_factory=bytearray)
    is_begun: bool = False
    is_array: bool = False
    is_closed: bool = False
    is_last: bool = False


def _whole_records(state: _State) -> Iterator[bytes]:
    """Records that are wholly here; the rest keeps waiting."""
    found = bytes(state.waiting)
    place = 0
    if not state.is_begun and found[: len(BOM)] == BOM[: len(found)]:
        place = len(BOM)
        if len(found) < place:
            return
    while True:
        place = _skip(found, place)
        if place == len(found):
            break
        mark = found[place : place + 1]
        if not state.is_begun:
            state.is_begun = True
            state.is_array = mark == b"["
            if not state.is_array and mark != b"{":
                raise FeedGarbled("expected a JSON array of snapshots, or one a line")
            place += state.is_array
            continue
        if state.is_closed:
            raise FeedGarbled("expected nothing after the array")
        if mark == b"]" and state.is_array:
            state.is_closed = True
            place += 1
            continue
        end = _object_end(found, place) if mark == b"{" else _plain_end(found, place, state)
        if end is None:
            break
        yield found[place:end]
        place = end
    state.waiting = bytearray(found[place:])


def _skip(found: bytes, place: int) -> int:
    while place < len(found) and found[place] in _BETWEEN:
        place += 1
    return place


def _object_end(found: bytes, place: int) -> int | None:
    """One past the brace that closes the object, None where it is not here."""
    end = found.find(b"}", place) + 1
    if end and _is_flat(found[place:end]):
        return end
    depth = 0
    for token in _TOKEN.finditer(found, place):
        mark = token[0][:1]
        if mark == b"{":
            depth += 1
        elif mark == b"}":
            depth -= 1
            if depth == 0:
                return token.end()
        elif not token[1]:
            return None
    return None


def _is_flat(piece: bytes) -> bool:
    """Whether something from one brace to the next is an object without another inside.

    Without escapes and with whole strings, neither brace can be in a string.
    """
    return piece.count(b"{") == 1 and piece.count(b'"') % 2 == 0 and b"\\" not in piece


def _plain_end(found: bytes, place: int, state: _State) -> int | None:
    """The end of something that is no object, such as null."""
    token = _PLAIN.match(found, place)
    if token is None:
        raise FeedGarbled("expected snapshots side by side, found a list in the list")
    return None if token.end() == len(found) and not state.is_last else token.end()
