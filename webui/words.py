"""Numbers, ages and times as people read them; an unknown value is an en dash, never 0."""

from datetime import UTC, datetime
from math import isnan

from core.clock import NS_PER_S
from core.session import NEW_YORK

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
UP, DOWN = "\N{BLACK UP-POINTING TRIANGLE}", "\N{BLACK DOWN-POINTING TRIANGLE}"
MILLION = 1e6
_THOUSANDS = ((1e12, "T"), (1e9, "G"), (MILLION, "M"))
_BINARY = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def format_number(value: float | None) -> str:
    """Group thousands: 24,916.25."""
    if value is None:
        return DASH
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def format_price(value: float | None) -> str:
    """A price on any tick grid: two decimals, more where it needs them."""
    if value is None or isnan(value):
        return DASH
    short = f"{value:,.2f}"
    return short if abs(value - round(value, 2)) < 1e-9 else f"{value:,.4f}"


def format_signed(value: float | None, unit: str = "") -> str:
    """A change with its sign as a triangle, so that colour is not all that tells."""
    if value is None or isnan(value):
        return DASH
    mark = UP if value > 0 else DOWN if value < 0 else "\N{MIDDLE DOT}"
    return f"{mark} {abs(value):,.2f}{unit}"


def format_count(value: float | None) -> str:
    """12,345 below a million, then 31.2 M."""
    if value is None:
        return DASH
    for size, mark in _THOUSANDS:
        if value >= size:
            return f"{value / size:.1f} {mark}"
    return f"{value:,.0f}"


def format_short(value: float) -> str:
    """A count where there is little room: 228 k."""
    return f"{value / 1_000:,.0f} k" if 10_000 <= value < MILLION else format_count(value)


def format_rate(per_s: float | None) -> str:
    """3,100/s; below ten with one decimal."""
    if per_s is None:
        return DASH
    return f"{per_s:,.0f}/s" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}/s"


def format_bytes(size: float | None) -> str:
    """Three digits and a binary unit: 412 MiB."""
    if size is None:
        return DASH
    for unit_bytes, unit in _BINARY:
        if size >= unit_bytes:
            return f"{_three(size / unit_bytes)} {unit}"
    return f"{size:.0f} B"


def format_ms(ms: float | None) -> str:
    """A duration given in milliseconds: 0.84 ms, 38 ms, 1.2 s."""
    if ms is None or isnan(ms):
        return DASH
    return format_age(ms / 1000) if ms >= 1000 else f"{_three(ms)} ms"


def format_age(seconds: float | None) -> str:
    """One unit, about three digits: 84 ms, 7.2 s, 74 s, 2 h 11 m."""
    if seconds is None:
        return DASH
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} m"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} m" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def format_clock(ts_ms: float | None) -> str:
    """HH:MM:SS in New York, as pages show it until the reader asks for UTC."""
    if ts_ms is None:
        return DASH
    return f"{_moment(ts_ms).astimezone(NEW_YORK):%H:%M:%S}"


def format_millis(ts_ms: float) -> str:
    """HH:MM:SS.mmm in New York, for tables of ticks."""
    return f"{format_clock(ts_ms)}.{int(ts_ms % 1_000):03d}"


def format_day_clock(ts_ms: float | None) -> str:
    """Day and time in New York."""
    if ts_ms is None:
        return DASH
    return f"{_moment(ts_ms).astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}"


def format_percent(part: float, whole: float) -> str:
    """Two decimals, rounded down: 99.9 is only said where it is reached."""
    if whole <= 0:
        return DASH
    return f"{int(part / whole * 10_000) / 100:.2f} %"


def iso_utc(ts_ns: int | None) -> str:
    """ISO-8601 to the second, for titles and files."""
    if ts_ns is None:
        return DASH
    return f"{datetime.fromtimestamp(ts_ns // NS_PER_S, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _moment(ts_ms: float) -> datetime:
    return datetime.fromtimestamp(ts_ms / 1000, UTC)


def _three(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
