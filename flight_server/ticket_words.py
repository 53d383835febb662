"""The pieces tickets are made of: symbols, times, numbers, ranges. Pure.

Every fault says what was expected, what was found and what to do.
"""

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from core.clock import MINUTE_NS, NS_PER_S
from core.errors import BadTicket
from core.symbol import is_symbol
from flight_server.ticket_kinds import Span

SYMBOLS_MAX: Final = 64
FUTURE_NS: Final = 5 * MINUTE_NS
# Epoch numbers outside these are not nanoseconds of any market we know.
EPOCH_NS_MIN: Final = 315_532_800 * NS_PER_S  # 1980
EPOCH_NS_MAX: Final = 4_102_444_800 * NS_PER_S  # 2100

_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?)?"
    r"\s?(Z|z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_DIGITS = re.compile(r"-?\d{1,20}", re.ASCII)
_UNITS = ((10**9, "seconds"), (10**6, "milliseconds"), (10**3, "microseconds"))


def parse_time_ns(name: str, text: str) -> int:
    """A moment as epoch ns: ISO-8601 (without zone: UTC) or epoch nanoseconds."""
    text = text.strip()
    if _DIGITS.fullmatch(text):
        return _parse_epoch_ns(name, int(text))
    parts = _ISO.fullmatch(text)
    try:
        if parts is None:
            raise ValueError("not ISO-8601")
        day, clock, fraction, zone = parts.groups()
        zone = "+00:00" if zone in (None, "Z", "z") else zone
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone}")
        seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    except (ValueError, OverflowError):
        raise BadTicket(
            f"{name}: expected ISO-8601 or epoch nanoseconds, found {text[:40]!r}",
            hint=f"for example {name}=2026-11-20T14:30:00Z (without zone it is UTC)",
        ) from None
    return _check_epoch_ns(name, seconds * NS_PER_S + int((fraction or "0").ljust(9, "0")), text)


def _parse_epoch_ns(name: str, value: int) -> int:
    if not EPOCH_NS_MIN <= value <= EPOCH_NS_MAX:
        for factor, unit in _UNITS:
            if EPOCH_NS_MIN <= value * factor <= EPOCH_NS_MAX:
                raise BadTicket(
                    f"{name}: expected epoch nanoseconds, found {value}, which looks like {unit}",
                    hint=f"write {name}={value * factor}",
                )
    return _check_epoch_ns(name, value, str(value))


def _check_epoch_ns(name: str, value: int, found: str) -> int:
    if not EPOCH_NS_MIN <= value <= EPOCH_NS_MAX:
        raise BadTicket(
            f"{name}: expected a time between 1980 and 2100, found {found[:40]!r}",
            hint=f"for example {name}=2026-11-20T14:30:00Z",
        )
    return value


class Words:
    """The name=value words after the question mark; each is taken once, none may be left."""

    def __init__(self, kind: str, query: str, now_ns: int) -> None:
        self.kind = kind
        self.now_ns = now_ns
        self._words: dict[str, str] = {}
        for word in query.split("&") if query else ():
            name, equals, value = word.partition("=")
            if not equals or not name or not value:
                raise BadTicket(
                    f"expected name=value after the ?, found {word[:40]!r}",
                    hint=f"for example {kind}:MNQ?start=2026-11-20T14:30:00Z",
                )
            # unquote, not unquote_plus: a plus is the sign of a time zone.
            if name in self._words:
                raise BadTicket(f"{name} is given twice", hint="give it once")
            self._words[name] = unquote(value)

    def take(self, name: str) -> str | None:
        """The value of a word, or None."""
        return self._words.pop(name, None)

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number between two limits."""
        value = self.take(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?[0-9]{1,19}", value) or not low <= int(value) <= high:
            raise BadTicket(
                f"{name}: expected a whole number from {low} to {high}, found {value[:40]!r}",
                hint=f"for example {name}={min(max(low, 1), high)}",
            )
        return int(value)

    def time_ns(self, name: str) -> int | None:
        """A moment."""
        value = self.take(name)
        return None if value is None else parse_time_ns(name, value)

    def span(self) -> Span:
        """start, end, known_at and strict, checked against each other and against now."""
        span = Span(
            self.time_ns("start"),
            self.time_ns("end"),
            self.time_ns("known_at"),
            self.whole("strict", 0, 1) == 1,
        )
        return check_span(span, self.now_ns)

    def finish(self, *allowed: str) -> None:
        """Refuse what nobody took."""
        if self._words:
            known = ", ".join(allowed) or "no parameters"
            raise BadTicket(
                f"{self.kind}: does not know {', '.join(sorted(self._words))[:80]!r}",
                hint=f"it knows {known}",
            )


def check_span(span: Span, now_ns: int) -> Span:
    """Refuse a range that is empty, upside down or in the future."""
    start_ns, end_ns = span.start_ns, span.end_ns
    if start_ns is not None and end_ns is not None and end_ns <= start_ns:
        raise BadTicket(
            f"the range ends ({end_ns}) at or before its start ({start_ns})",
            hint="start is included, end is not; swap them or move end",
        )
    if start_ns is not None and start_ns > now_ns + FUTURE_NS:
        raise BadTicket(
            f"the range starts at {start_ns} ns, which is in the future (now {now_ns} ns)",
            hint="times are UTC; give a start in the past",
        )
    return span


def parse_symbol(kind: str, text: str) -> str:
    symbol = unquote(text).strip().upper()
    if not symbol:
        raise BadTicket(f"{kind}: names no symbol", hint=f"for example {kind}:MNQ")
    if not is_symbol(symbol):
        raise BadTicket(
            f"{kind}: expected one symbol, found {symbol[:40]!r}", hint=f"for example {kind}:MNQ"
        )
    return symbol


def parse_symbols(kind: str, text: str) -> tuple[str, ...]:
    words = text.split(",", SYMBOLS_MAX + 1)
    if len(words) > SYMBOLS_MAX:
        raise BadTicket(
            f"{kind}: more than {SYMBOLS_MAX} symbols", hint="ask for them in several calls"
        )
    return tuple(dict.fromkeys(parse_symbol(kind, word) for word in words))
