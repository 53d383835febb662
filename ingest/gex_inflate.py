"""Reads a file that may be compressed, twice or not at all, whatever it says, within limits. Pure.

Pieces are never longer than `PIECE_BYTES`, whatever is fed in: what would inflate to gigabytes is
given up at its limit and never held in memory.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from core.errors import FeedGarbled

PIECE_BYTES = 2**20
GZIP = b"\x1f\x8b"
LAYERS_MAX = 2
_WINDOW = 31  # gzip with the largest window


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read. Real files inflate to about twenty times their size."""

    compressed_bytes: int = 256 * 2**20
    inflated_bytes: int = 2 * 2**30
    ratio: int = 200
    ratio_free_bytes: int = 2**20  # so much may come of next to nothing


@dataclass(slots=True)
class _Count:
    read: int = 0
    inflated: int = 0


def inflate(pieces: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """The plain bytes of a file; raise FeedGarbled where it is torn, or is too much."""
    count = _Count()
    found = _counted(pieces, limits, count)
    for _ in range(LAYERS_MAX):
        head, found = _peeked(found)
        if not head.startswith(GZIP):
            yield from found
            return
        count.inflated = 0
        found = _gunzipped(found, limits, count)
    head, found = _peeked(found)
    if head.startswith(GZIP):
        raise FeedGarbled(f"expected a file compressed at most {LAYERS_MAX} times")
    yield from found


def _counted(pieces: Iterable[bytes], limits: Limits, count: _Count) -> Iterator[bytes]:
    for piece in pieces:
        count.read += len(piece)
        if count.read > limits.compressed_bytes:
            raise FeedGarbled(f"expected at most {limits.compressed_bytes:,} bytes, found more")
        for at in range(0, len(piece), PIECE_BYTES):
            yield piece[at : at + PIECE_BYTES]


def _peeked(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes of a stream, and the stream."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(GZIP):
            break
    return head, chain((head,), pieces) if head else iter(())


def _gunzipped(pieces: Iterator[bytes], limits: Limits, count: _Count) -> Iterator[bytes]:
    """One layer taken off; members may follow one another."""
    inflater = zlib.decompressobj(_WINDOW)
    for piece in pieces:
        rest = piece
        while rest:
            if inflater.eof:
                if not rest.strip(b"\0"):  # padding after the last member
                    rest = b""
                    continue
                inflater = zlib.decompressobj(_WINDOW)
            plain = _step(inflater, rest)
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if plain:
                count.inflated += len(plain)
                _check(limits, count)
                yield plain
            elif rest == piece:
                raise FeedGarbled("the file does not inflate")
    while not inflater.eof:
        plain = _step(inflater, b"")
        if not plain:
            raise FeedGarbled("the file ends in the middle", hint="fetch it again")
        count.inflated += len(plain)
        _check(limits, count)
        yield plain


def _step(inflater: "zlib._Decompress", piece: bytes) -> bytes:
    try:
        return inflater.decompress(piece, PIECE_BYTES)
    except zlib.error as error:
        raise FeedGarbled(f"the file does not inflate: {error}") from error


def _check(limits: Limits, count: _Count) -> None:
    if count.inflated > limits.inflated_bytes:
        raise FeedGarbled(f"expected at most {limits.inflated_bytes:,} bytes inside, found more")
    if count.inflated > max(limits.ratio_free_bytes, limits.ratio * count.read):
        raise FeedGarbled(
            f"{count.read:,} bytes inflate to more than {limits.ratio} times as many: "
            "no history file does that"
        )
