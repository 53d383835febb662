"""What a client may ask for: one frozen type per kind of ticket. Values only."""

from dataclasses import dataclass
from typing import Literal

from core.clock import NS_PER_US


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of ts_event; None is open. Rows received after known_at are hidden."""

    start_ns: int | None = None
    end_ns: int | None = None
    known_at_ns: int | None = None
    is_strict: bool = False

    @property
    def start_us(self) -> int | None:
        """Start in the microseconds of the tables, floored."""
        return None if self.start_ns is None else self.start_ns // NS_PER_US

    @property
    def end_us(self) -> int | None:
        """End in the microseconds of the tables, floored, so that ranges side by side fit."""
        return None if self.end_ns is None else self.end_ns // NS_PER_US

    @property
    def known_at_us(self) -> int | None:
        """`known_at` in microseconds."""
        return None if self.known_at_ns is None else self.known_at_ns // NS_PER_US


@dataclass(frozen=True, slots=True)
class Latest:
    """Last valid trade of each symbol; None is every symbol."""

    symbols: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Tail:
    """Last n trades of a symbol, of those received by known_at."""

    symbol: str
    rows: int
    known_at_ns: int | None = None

    @property
    def known_at_us(self) -> int | None:
        """`known_at` in microseconds."""
        return None if self.known_at_ns is None else self.known_at_ns // NS_PER_US


@dataclass(frozen=True, slots=True)
class Range:
    """Rows of one table and symbol in a time range."""

    kind: Literal["ticks", "depth"]
    symbol: str
    span: Span


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of a symbol, `every_s` seconds each; a span without start is the last 24 hours."""

    symbol: str
    every_s: int
    span: Span


@dataclass(frozen=True, slots=True)
class State:
    """Latest gex snapshot or book ladder, or a range of them."""

    kind: Literal["gex", "book"]
    symbol: str
    span: Span

    @property
    def is_range(self) -> bool:
        """Whether a range was asked, rather than the latest."""
        return self.span.start_ns is not None or self.span.end_ns is not None


@dataclass(frozen=True, slots=True)
class BookAt:
    """The book just before a moment, so many levels a side."""

    symbol: str
    at_ns: int
    levels: int
    span: Span


@dataclass(frozen=True, slots=True)
class Live:
    """Rows as they arrive, from `from_seq` on, or from now."""

    symbols: tuple[str, ...]
    table: str
    from_seq: int | None


@dataclass(frozen=True, slots=True)
class Sql:
    """One read-only statement."""

    text: str
    params: tuple[object, ...] = ()
    known_at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """What Flight SQL's drivers ask about catalogs, tables and the server; patterns are LIKE's."""

    kind: str
    catalog: str | None = None
    schema_pattern: str | None = None
    table_pattern: str | None = None
    table_types: tuple[str, ...] | None = None
    has_schemas: bool = False
    numbers: tuple[int, ...] = ()


Ticket = Latest | Tail | Range | Bars | State | BookAt | Live | Sql | Catalog
