"""Raw DXLink values into typed columns, whole ones at a time.

Only where a column holds something of the wrong kind are its rows looked at one by one; what is
wrong with a row is then told among `faults`. Numbers may be the words "NaN", "Infinity" and
"-Infinity"; a missing text is null or a zero character.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBER_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
# Numbers told as text, which is not documented and not doubtful either.
_WHOLE = re.compile(r"-?\d{1,30}")
_DECIMAL = re.compile(r"-?\d{1,30}(\.\d{1,30})?")
_INT64 = 2**63


def read_flags(column: Sequence[Any] | None, count: int, *, default: bool) -> NDArray[np.bool_]:
    """A column of booleans; what is none counts as false."""
    if column is None:
        return np.full(count, default)
    return np.fromiter((flag is True for flag in column), np.bool_, count)


def read_real(
    values: dict[str, list[Any]], name: str, count: int, faults: dict[int, str]
) -> NDArray[np.float64]:
    """A column of numbers; NaN where there is none."""
    column = values.get(name)
    if column is None:
        return np.full(count, np.nan)
    if not set(map(type, column)) - {float, int}:
        return np.array(column, np.float64)
    out = np.full(count, np.nan)
    for row, value in enumerate(column):
        if type(value) in (float, int):
            out[row] = value
        elif isinstance(value, str) and value in _NUMBER_WORDS:
            out[row] = _NUMBER_WORDS[value]
        elif isinstance(value, str) and _DECIMAL.fullmatch(value):
            out[row] = float(value)
        elif value is not None:
            faults.setdefault(row, f"{name} is not a number")
    return out


def read_whole(
    values: dict[str, list[Any]],
    name: str,
    count: int,
    faults: dict[int, str],
    default: int | None = None,
) -> NDArray[np.int64]:
    """A column of whole numbers; 0 where it is left out, `default`, if given, for null and NaN."""
    column = values.get(name)
    if column is None:
        return np.zeros(count, np.int64)
    if set(map(type, column)) == {int}:
        with suppress(OverflowError):
            return np.array(column, np.int64)
    out = np.zeros(count, np.int64)
    for row, value in enumerate(column):
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)  # noqa: PLW2901 - a number told as text
        if (
            type(value) in (int, float)
            and abs(value) < _INT64
            and (type(value) is int or value.is_integer())
        ):
            out[row] = int(value)
        elif default is not None and (
            value is None or (isinstance(value, str) and value in _NUMBER_WORDS)
        ):
            out[row] = default
        else:
            faults.setdefault(row, f"{name} is not a whole number")
    return out


def read_sizes(
    values: dict[str, list[Any]], name: str, count: int, faults: dict[int, str]
) -> NDArray[np.int64]:
    """Sizes come as 1.0 and, where there is none, as NaN."""
    real = read_real(values, name, count, faults)
    with np.errstate(invalid="ignore"):
        whole = real.astype(np.int64)
    if (whole == real).all() and -(2**53) < whole.min(initial=0) <= whole.max(initial=0) < 2**53:
        return whole
    known = np.where(np.isfinite(real), real, 0.0)
    is_bad = (known != np.floor(known)) | (np.abs(known) >= _INT64)
    for row in np.flatnonzero(is_bad).tolist():
        faults.setdefault(row, f"{name} is not a whole number")
    return np.where(is_bad, 0, known).astype(np.int64)


def read_words(column: Sequence[Any]) -> list[str]:
    """A column of text; what is none, or a zero character, counts as absent."""
    return [word if isinstance(word, str) and word != "\u0000" else "" for word in column]


def as_texts(words: list[str]) -> NDArray[Any]:
    """Words as an array of str objects."""
    out = np.empty(len(words), object)
    out[:] = words
    return out
