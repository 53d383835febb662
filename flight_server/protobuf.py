"""Protocol buffers as far as Flight SQL needs them: the wire format, without any schema. Pure.

Source of the format: https://protobuf.dev/programming-guides/encoding/.
"""

from typing import Final

from core.errors import BadTicket

FIELDS_MAX: Final = 10_000
_VARINT_BYTES_MAX: Final = 10
_FIXED: Final = {1: 8, 5: 4}  # bytes by wire type
Fields = dict[int, list[int | bytes]]


def parse_fields(raw: bytes) -> Fields:
    """Every field of a message by number, in order; raise BadTicket where it is none."""
    found: Fields = {}
    place = 0
    for _ in range(FIELDS_MAX):
        if place == len(raw):
            return found
        tag, place = _varint(raw, place)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value, place = _varint(raw, place)
        elif wire == 2 or wire in _FIXED:
            size, place = _varint(raw, place) if wire == 2 else (_FIXED[wire], place)
            value, place = raw[place : place + size], place + size
            if place > len(raw):
                raise _bad("it ends in the middle of a field")
        else:
            raise _bad(f"wire type {wire} is not read")
        if number == 0:
            raise _bad("a field has the number 0")
        found.setdefault(number, []).append(value)
    raise _bad(f"more than {FIELDS_MAX} fields")


def format_field(number: int, value: bytes) -> bytes:
    """One field of bytes, text or an embedded message."""
    return _format_varint(number << 3 | 2) + _format_varint(len(value)) + value


def text_in(fields: Fields, number: int) -> str | None:
    """The last value of a text field, or None where it is absent."""
    value = bytes_in(fields, number)
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(f"field {number} is not UTF-8") from None


def bytes_in(fields: Fields, number: int) -> bytes | None:
    """The last value of a bytes field, or None where it is absent."""
    values = fields.get(number)
    if values is None:
        return None
    if not isinstance(values[-1], bytes):
        raise _bad(f"field {number} is a number, not bytes")
    return values[-1]


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(raw[place : place + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place + count + 1
    raise _bad("a number does not end")


def _format_varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _bad(what: str) -> BadTicket:
    return BadTicket(
        f"expected a protocol buffer message, but {what}",
        hint="use a Flight SQL driver, or send the statement itself as the ticket",
    )
