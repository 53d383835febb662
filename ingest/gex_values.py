"""Values as gamma exposure sources write them: numbers in any dress, times of any magnitude.

Pure. What is wrong with a value is a `Fault` that says where; nothing is repaired or guessed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isfinite

import orjson

from core.clock import NS_PER_S, NS_PER_US

Found = Mapping[str, object]
TICKER = re.compile(r"[A-Z]{1,5}(_[A-Z]{1,5})?")
WORD_CHARS_MAX = 40
AHEAD_NS_MAX = 120 * NS_PER_S
_TIME_NS_MIN = 1_577_836_800 * NS_PER_S  # 2020-01-01
_MAGNITUDES = ((10**11, NS_PER_S), (10**14, 1_000_000), (10**17, NS_PER_US), (10**20, 1))
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9})\d*)?)?(Z|[+-]\d\d:?\d\d)"
)
_DECIMAL = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: `path` is like strikes[3][1]."""

    path: str
    msg: str


class Faulty(ValueError):
    """One or more values cannot be read; never leaves a parser."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.path}: {fault.msg}" for fault in faults))
        self.faults = faults


def parse_json(raw: bytes) -> object:
    """Strict JSON: NaN and Infinity are refused. Raise ValueError that says where."""
    return orjson.loads(raw)


def first_present(found: Found, names: Sequence[str]) -> tuple[str, object]:
    """The first of several names the object has, and its value; a zero or null is a value."""
    for name in names:
        if name in found:
            return name, found[name]
    return names[0], None


def number(path: str, value: object) -> float | None:
    """A finite number, or None for null and empty text; raise Faulty."""
    match value:
        case None | "":
            return None
        case bool():
            raise Faulty(Fault(path, f"expected a number, found {str(value).lower()}"))
        case int() | float():
            read = float(value)
        case str() if _DECIMAL.fullmatch(value.strip()):
            read = float(value)
        case _:
            raise Faulty(Fault(path, f"expected a number, found {shown(value)}"))
    if not isfinite(read):
        raise Faulty(Fault(path, "expected a finite number"))
    return read


def whole(path: str, value: object, limit: int = 2**63 - 1) -> int | None:
    """A whole number whose size is at most `limit`, or None; raise Faulty."""
    read = value if isinstance(value, int) and not isinstance(value, bool) else number(path, value)
    if read is None:
        return None
    if int(read) != read or abs(read) > limit:
        raise Faulty(Fault(path, f"expected a whole number up to {limit}, found {shown(value)}"))
    return int(read)


def time_ns(path: str, value: object, now_ns: int) -> int:
    """Epoch nanoseconds of a number of any magnitude or of ISO-8601 text with a zone.

    Raise Faulty before 2020 and more than two minutes ahead of `now_ns`.
    """
    match value:
        case str() if iso := _ISO.fullmatch(value.strip()):
            read = _iso_ns(path, iso)
        case bool() | None:
            raise Faulty(Fault(path, f"expected a time, found {shown(value)}"))
        case int():
            read = value * _unit(abs(value))
        case float() if isfinite(value):
            read = int(Decimal(repr(value)) * _unit(abs(value)))
        case str() if _DECIMAL.fullmatch(value.strip()):
            given = Decimal(value.strip())
            read = int(given * _unit(abs(float(given))))
        case _:
            raise Faulty(
                Fault(path, f"expected epoch time or ISO-8601 with a zone, found {shown(value)}")
            )
    if not _TIME_NS_MIN <= read <= now_ns + AHEAD_NS_MAX:
        raise Faulty(Fault(path, f"expected a time from 2020 until now, found {shown(value)}"))
    return read


def day_us(path: str, value: object) -> int:
    """Midnight UTC of an ISO date, in epoch microseconds; raise Faulty."""
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        day = None
    if day is None or day.year < 1970:
        raise Faulty(Fault(path, f"expected a date like 2026-11-20, found {shown(value)}"))
    return (day - _EPOCH.date()) // timedelta(microseconds=1)


def ticker(path: str, value: object) -> str:
    """A ticker in capitals; raise Faulty."""
    text = value.strip().upper() if isinstance(value, str) else ""
    if not TICKER.fullmatch(text):
        raise Faulty(Fault(path, f"expected a ticker like NQ_NDX, found {shown(value)}"))
    return text


def word(path: str, value: object) -> str:
    """Short printable text that repeats, "" for null; raise Faulty."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > WORD_CHARS_MAX or not value.isprintable():
        raise Faulty(Fault(path, f"expected short text, found {shown(value)}"))
    return value


def shown(value: object) -> str:
    """A value as an error may quote it."""
    match value:
        case None:
            return "null"
        case str():
            return repr(value[:40])
        case bool() | int() | float():
            return str(value).lower()[:40]
        case _:
            return "a list" if isinstance(value, list) else "an object"


def extra_json(found: Found, known: frozenset[str], more: Found | None = None) -> str | None:
    """What has no column, as JSON; None where everything has."""
    rest = {key: value for key, value in found.items() if key not in known} | dict(more or {})
    return orjson.dumps(rest).decode() if rest else None


def _unit(size: float) -> int:
    for limit, unit in _MAGNITUDES:
        if size < limit:
            return unit
    return 1


def _iso_ns(path: str, iso: re.Match[str]) -> int:
    day, hour, minute, second, fraction, zone = iso.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{hour}:{minute}:{second or '00'}{zone}")
    except ValueError as error:
        raise Faulty(Fault(path, f"expected a time, found {shown(iso[0])}")) from error
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return seconds * NS_PER_S + int((fraction or "0").ljust(9, "0"))
