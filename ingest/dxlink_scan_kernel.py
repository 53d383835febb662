"""The kernel that reads prints out of frames: plain loops over bytes, compiled once and cached.

It reads what is common and gives up on a frame at the first byte that is anything else: it never
guesses, and takes nothing a JSON parser would refuse. Nothing is allocated here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled

WORD_BYTES_MAX = 16
WORDS_MAX = 512
SLOTS = 4 * WORDS_MAX
# Words of the protocol, the first of all that are met.
SEEDS = ("SELL", "UNDEFINED", "BUY", "NEW", "CORRECTION", "CANCEL", "NaN", "Infinity", "-Infinity")
NAN = SEEDS.index("NaN")
NO_WORD, NO_TEXT = -1, -2  # null, and a zero character, which says the same
RECV = 0  # the place of the time a row came
PADDING = bytes(64)  # no token runs through these, so that none is looked for past the end

# What a value must be; a size is told as a real number and kept as a whole one.
TEXT, TEXT_OR_NULL, FLAG, WHOLE, REAL, SIZE = range(6)

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Reals = NDArray[np.float64]


class Text(NamedTuple):
    """Frames one after another, then PADDING; of each its length and when it came."""

    raw: Bytes
    sizes: Ints
    stamps_ns: Ints


class Layout(NamedTuple):
    """How a frame begins; of each value what it must be, its place, first and last word."""

    head: Bytes
    fields: Ints


class Out(NamedTuple):
    """Where values go, by place and row."""

    ints: Ints
    reals: Reals


Cursor = tuple[int, int, int]  # next frame, where it begins, next row
Scan = Callable[[Text, Layout, Ints, Out, Cursor], Cursor]
ReadWord = Callable[[Bytes, int, Ints], tuple[int, int]]
LineUp = Callable[[Ints, Ints, Ints, Ints], int]

_QUOTE, _COMMA, _POINT, _MINUS, _ZERO, _NINE = (ord(letter) for letter in '",.-09')
_SPACE, _BACKSLASH, _DELETE = 0x20, 0x5C, 0x7F
_FALSE, _TRUE, _NULL, _NO_TEXT, _TAIL = (
    np.frombuffer(letters, np.uint8)
    for letters in (b"false", b"true", b"null", b'"\\u0000"', b"]]}")
)
_MIXER = 0x1E3779B97F4A7C15
_MANTISSA_MAX = 2**53
_DECIMALS_MAX = 22
_DIGITS_MAX = 19  # what runs over 2**63 with these is below 0
# Nothing is allocated, so nobody need count who holds an array: that alone is half the time.
_OPTIONS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}
_POWERS = np.array([float(10**n) for n in range(_DECIMALS_MAX + 1)])
_NUMBER_WORDS = np.array([float(word) for word in SEEDS[NAN:]])


def _read_word_plain(raw: Bytes, at: int, words: Ints) -> tuple[int, int]:
    """The slot of a word that begins here, or that it would have, and the place of its end quote.

    A slot holds a word's last eight bytes, those before, and its number or NO_WORD.
    The slot is NO_WORD for text that is too long or not plain.
    """
    low, high, start = 0, 0, at
    while raw[at] != _QUOTE:
        letter = raw[at]
        if letter < _SPACE or letter == _BACKSLASH or letter > _DELETE:
            return NO_WORD, at
        high = high << 8 | low >> 56
        low = low << 8 | letter
        at += 1
    if at - start > WORD_BYTES_MAX:
        return NO_WORD, at
    slot = ((low ^ high * _MIXER) * _MIXER >> 40) & (SLOTS - 1)
    while words[slot, 2] != NO_WORD and (words[slot, 0] != low or words[slot, 1] != high):
        slot = (slot + 1) & (SLOTS - 1)
    return slot, at


read_word: ReadWord = compiled(_read_word_plain, **_OPTIONS)


def _read_number_plain(raw: Bytes, at: int) -> tuple[int, int, int]:
    """Digits as a whole number, how many of them stand behind a point, and what comes next.

    The place of what comes next is -1 where the number is none, or more than we tell exactly.
    """
    is_negative = raw[at] == _MINUS
    if is_negative:
        at += 1
    start, mantissa, point = at, 0, -1
    while True:
        letter = raw[at]
        if _ZERO <= letter <= _NINE:
            mantissa = mantissa * 10 + (letter - _ZERO)
        elif letter == _POINT and point < 0:
            point = at
        else:
            break
        at += 1
    whole_digits = (at if point < 0 else point) - start
    has_leading_zero = whole_digits > 1 and raw[start] == _ZERO
    is_long = at - start > _DIGITS_MAX or mantissa < 0  # one that ran over is
    if whole_digits == 0 or at - 1 == point or has_leading_zero or is_long:
        return 0, 0, -1
    if is_negative and mantissa == 0:
        return 0, 0, -1
    return -mantissa if is_negative else mantissa, 0 if point < 0 else at - 1 - point, at


_read_number = compiled(_read_number_plain, **_OPTIONS)


def _read_literal_plain(raw: Bytes, at: int, how: int) -> tuple[int, int]:
    """false, true, null or none of text as a number, and what comes next; -1 where none fits."""
    if how == TEXT:
        return 0, -1
    if how == TEXT_OR_NULL and raw[at] == _QUOTE:
        value, letters = NO_TEXT, _NO_TEXT
    elif how == TEXT_OR_NULL:
        value, letters = NO_WORD, _NULL
    elif raw[at] == _FALSE[0]:
        value, letters = 0, _FALSE
    else:
        value, letters = 1, _TRUE
    for letter in letters:
        if raw[at] != letter:
            return 0, -1
        at += 1
    return value, at


_read_literal = compiled(_read_literal_plain, **_OPTIONS)


def _scan_plain(  # noqa: C901, PLR0911, PLR0912
    text: Text, layout: Layout, words: Ints, out: Out, cursor: Cursor
) -> Cursor:
    """Keep the rows of frames; give the cursor at the first frame that is not as we know."""
    raw, sizes, stamps = text
    head, fields = layout
    ints, reals = out
    frame, at, row = cursor
    while frame < len(sizes):
        place, new_row, field = at, row, 0
        for letter in head:
            if raw[place] != letter:
                return frame, at, row
            place += 1
        while True:
            how, column = fields[field, 0], fields[field, 1]
            if raw[place] == _QUOTE and raw[place + 1] != _BACKSLASH:
                slot, place = read_word(raw, place + 1, words)
                word = words[slot, 2] if slot != NO_WORD else NO_WORD
                if word == NO_WORD or not fields[field, 2] <= word <= fields[field, 3]:
                    return frame, at, row
                if how == REAL:
                    reals[column, new_row] = _NUMBER_WORDS[word - NAN]
                else:
                    ints[column, new_row] = 0 if how == SIZE else word
                place += 1
            elif how >= WHOLE:
                mantissa, decimals, place = _read_number(raw, place)
                if place < 0:
                    return frame, at, row
                if how == WHOLE:
                    ints[column, new_row] = mantissa
                    if decimals:
                        return frame, at, row
                else:
                    if abs(mantissa) > _MANTISSA_MAX or decimals > _DECIMALS_MAX:
                        return frame, at, row
                    # Both are exact, so their quotient is the right one: Clinger, "How to read
                    # floating point numbers accurately", PLDI 1990.
                    real = mantissa / _POWERS[decimals]
                    if how == REAL:
                        reals[column, new_row] = real
                    else:
                        ints[column, new_row] = int(real)
                        if int(real) != real:
                            return frame, at, row
            else:
                ints[column, new_row], place = _read_literal(raw, place, how)
                if place < 0:
                    return frame, at, row
            field += 1
            if field == len(fields):
                field = 0
                new_row += 1
                if raw[place] != _COMMA:
                    break
            elif raw[place] != _COMMA:
                return frame, at, row
            place += 1
        for letter in _TAIL:
            if raw[place] != letter:
                return frame, at, row
            place += 1
        if place != at + sizes[frame]:
            return frame, at, row
        ints[RECV, row:new_row] = stamps[frame]
        frame, at, row = frame + 1, place, new_row
    return frame, at, row


scan: Scan = compiled(_scan_plain, **_OPTIONS)


def _line_up_plain(words: Ints, places: Ints, order: Ints, spans: Ints) -> int:
    """Line rows up by symbol, symbols as they first come; give how many there are.

    `places` is NO_WORD for every word; `spans` becomes the word and the end of each symbol's rows.
    """
    count = 0
    for word in words:
        if places[word] == NO_WORD:
            places[word] = count
            spans[count, 0] = word
            spans[count, 1] = 0
            count += 1
        spans[places[word], 1] += 1
    start = 0
    for place in range(count):
        start, spans[place, 1] = start + spans[place, 1], start
    for row in range(len(words)):
        place = places[words[row]]
        order[spans[place, 1]] = row
        spans[place, 1] += 1
    return count


line_up: LineUp = compiled(_line_up_plain, **_OPTIONS)
