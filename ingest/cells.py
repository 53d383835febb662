"""Cells of foreign tables to the tape's types; what cannot be read becomes an impossible value.

The guard refuses impossible values by their own rules: a price that is not a number, a time before
1990, a negative size. Every function takes text as well as the type itself.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NO_TIME_US = 0
NO_SIDE = 2

# An epoch time below one of these is in seconds, milliseconds, microseconds; else nanoseconds.
_SECONDS_MAX, _MILLIS_MAX, _MICROS_MAX = 10**11, 10**14, 10**17
_SIDES = {"": 0, "b": 1, "buy": 1, "buyer": 1, "s": -1, "sell": -1, "seller": -1}
_EPOCH = r"^[+-]?[0-9]+$"
_ZONE = r"([zZ]|[+-][0-9]{2}:?[0-9]{2})$"


def to_numbers(cells: pa.Array) -> NDArray[np.float64]:
    """Floats; NaN where a cell is empty or no number."""
    return _filled(_cast(cells, pa.float64()), np.nan, np.float64)


def to_whole_numbers(cells: pa.Array, bad: int, *, empty: int | None = None) -> NDArray[np.int64]:
    """Whole numbers; `bad` where a cell is none, `empty` (or `bad`) where there is no cell."""
    whole = _cast(cells, pa.int64())
    values = _filled(whole, bad, np.int64).copy()
    left = _mask(pc.is_null(whole))
    if left.any():
        floats = to_numbers(cells)
        with np.errstate(invalid="ignore"):
            is_whole = left & (np.floor(floats) == floats) & (np.abs(floats) < 2**53)
        values[is_whole] = floats[is_whole].astype(np.int64)
        values[_is_empty(cells)] = bad if empty is None else empty
    return values


def to_sides(cells: pa.Array) -> NDArray[np.int8]:
    """+1, -1, 0 from numbers or from words such as buy and S; `NO_SIDE` from anything else."""
    sides = to_whole_numbers(cells, NO_SIDE, empty=0).clip(-NO_SIDE, NO_SIDE).astype(np.int8)
    if _is_text(cells.type):
        for place in np.flatnonzero(sides == NO_SIDE).tolist():
            sides[place] = _SIDES.get(str(cells[place].as_py()).strip().lower(), NO_SIDE)
    return sides


def to_texts(cells: pa.Array) -> NDArray[np.object_]:
    """Texts; empty where there is no cell."""
    return np.asarray(pc.fill_null(_cast(cells, pa.utf8()), "").to_numpy(zero_copy_only=False))


def to_flags(cells: pa.Array) -> NDArray[np.bool_]:
    """Booleans; false where a cell is none, so that doubtful rows count as void."""
    return _mask(pc.fill_null(_cast(cells, pa.bool_()), False))


def to_times(cells: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Microseconds since 1970 and the nanoseconds left over; `NO_TIME_US` where unreadable.

    Takes timestamps, dates as ISO 8601 text, and epoch numbers of any usual unit.
    """
    if pa.types.is_timestamp(cells.type):
        return _from_timestamps(cells)
    if not _is_text(cells.type):
        return _from_epoch(_cast(cells, pa.int64()))
    text = pc.utf8_trim_whitespace(_cast(cells, pa.utf8()))
    is_epoch = pc.fill_null(pc.match_substring_regex(text, _EPOCH), False)
    epoch_us, epoch_ns = _from_epoch(_cast(_only(text, is_epoch), pa.int64()))
    iso_us, iso_ns = _from_timestamps(_parse_iso(_only(text, pc.invert(is_epoch))))
    took = _mask(is_epoch)
    return np.where(took, epoch_us, iso_us), np.where(took, epoch_ns, iso_ns)


def _from_timestamps(cells: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    if cells.type.unit == "ns":
        ns = _filled(cells.cast(pa.int64()), NO_TIME_US, np.int64)
        return ns // 1_000, (ns % 1_000).astype(np.int16)
    in_us = _cast(cells, pa.timestamp("us", cells.type.tz))
    us = _filled(in_us.cast(pa.int64()), NO_TIME_US, np.int64)
    return us, np.zeros(len(us), np.int16)


def _from_epoch(cells: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    raw = _filled(cells, NO_TIME_US, np.int64)
    size = np.abs(raw)
    us = np.select(
        [size < _SECONDS_MAX, size < _MILLIS_MAX, size < _MICROS_MAX],
        [raw * 1_000_000, raw * 1_000, raw],
        raw // 1_000,
    )
    ns = np.where(size < _MICROS_MAX, 0, raw % 1_000)
    return us, ns.astype(np.int16)


def _parse_iso(text: pa.Array) -> pa.Array:
    has_zone = pc.fill_null(pc.match_substring_regex(text, _ZONE), False)
    zoned = _cast(_only(text, has_zone), pa.timestamp("ns", "UTC"))
    plain = _cast(_only(text, pc.invert(has_zone)), pa.timestamp("ns"))
    return pc.coalesce(zoned.cast(pa.timestamp("ns")), plain)


def _only(text: pa.Array, mask: pa.Array) -> pa.Array:
    """The texts a mask selects, null for the others."""
    return pc.if_else(mask, text, pa.scalar(None, pa.utf8()))


def _cast(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast a column; where it does not go as a whole, cell by cell, null for the bad ones."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if _is_text(cells.type) and not _is_text(kind):
        cells = pc.utf8_trim_whitespace(cells.cast(pa.utf8()))
        cells = _only(cells, pc.not_equal(cells, ""))
    try:
        return cells.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([_cast_one(cell, kind) for cell in cells], kind)


def _cast_one(cell: Any, kind: pa.DataType) -> Any:
    try:
        return cell.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _filled(cells: pa.Array, value: float, kind: type[Any]) -> NDArray[Any]:
    return np.asarray(pc.fill_null(cells, value).to_numpy(zero_copy_only=False), kind)


def _mask(cells: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(cells.to_numpy(zero_copy_only=False), np.bool_)


def _is_empty(cells: pa.Array) -> NDArray[np.bool_]:
    empty = _mask(pc.is_null(cells))
    if _is_text(cells.type):
        empty |= to_texts(cells) == ""
    return empty


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
