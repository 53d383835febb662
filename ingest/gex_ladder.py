"""Ladders and change windows of a snapshot, in the several forms they are written in. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import pyarrow as pa

from core.schema import GEX
from ingest.gex_values import Fault, Faulty, first_present, number, shown

STRIKES_MAX = 2_000
PRIORS_MAX = 30
WINDOWS = {"current": 0, "one": 1, "five": 5, "ten": 10, "fifteen": 15, "thirty": 30}
Window = tuple[int, float, float]  # minutes, strike, value
_PLAIN = {int, float}
_PRIORS = pa.list_(pa.float64())
_LADDERS = GEX.schema.field("strikes").type
_FIELDS: list[pa.Field] = list(_LADDERS.value_type)


@dataclass(frozen=True, slots=True)
class Ladder:
    """Four columns of equal length; `priors` is a list a strike, or null.

    `numbers` are all of them, column after column, where each is there and all lists are as long.
    """

    strike: pa.Array
    gex_vol: pa.Array
    gex_oi: pa.Array
    priors: pa.Array
    numbers: pa.Array | None = None


def parse_ladder(path: str, value: object) -> Ladder | None:
    """Rows `[strike, by volume, by open interest, [priors]]`, shorter rows, or objects.

    Raise Faulty with the first place that is wrong.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise Faulty(Fault(path, f"expected a list of strikes, found {shown(value)}"))
    if len(value) > STRIKES_MAX:
        raise Faulty(Fault(path, f"expected at most {STRIKES_MAX} strikes, found {len(value)}"))
    return _quickly(value) or _carefully(path, value)


def _quickly(rows: list[Any]) -> Ladder | None:
    """The form GEXBot sends, checked column by column; None where anything is unusual."""
    try:
        strike, by_volume, by_interest, priors = zip(*rows, strict=True)
        flat = list(chain.from_iterable(priors))
        if set(map(type, chain(strike, by_volume, by_interest, flat))) <= _PLAIN:
            lengths = set(map(len, priors))
            if len(lengths) == 1 and max(lengths) <= PRIORS_MAX:
                numbers = pa.array([*strike, *by_volume, *by_interest, *flat], pa.float64())
                return even_ladder(numbers, len(strike))
    except (TypeError, ValueError):
        pass  # the careful way says what is wrong and where
    return None


def even_ladder(numbers: pa.Array, strikes: int) -> Ladder:
    """All numbers of a ladder, column after column, as the ladder."""
    offsets = _even_offsets(strikes, len(numbers) // strikes - 3)
    return Ladder(
        numbers.slice(0, strikes),
        numbers.slice(strikes, strikes),
        numbers.slice(2 * strikes, strikes),
        pa.ListArray.from_arrays(offsets, numbers.slice(3 * strikes)),
        numbers,
    )


@lru_cache(maxsize=256)
def _even_offsets(rows: int, length: int) -> pa.Array:
    return pa.array([place * length for place in range(rows + 1)], pa.int32())


def _carefully(path: str, rows: list[object]) -> Ladder:
    parsed = [_row(f"{path}[{place}]", row) for place, row in enumerate(rows)]
    strike, by_volume, by_interest, priors = zip(*parsed, strict=True) if parsed else ((),) * 4
    return Ladder(
        pa.array(strike, pa.float64()),
        pa.array(by_volume, pa.float64()),
        pa.array(by_interest, pa.float64()),
        pa.array(priors, _PRIORS),
    )


def _row(
    path: str, row: object
) -> tuple[float, float | None, float | None, list[float | None] | None]:
    match row:
        case [strike, by_volume]:
            by_interest, priors = None, None
        case [strike, by_volume, by_interest]:
            priors = None
        case [strike, by_volume, by_interest, priors]:
            pass
        case {"strike": strike}:
            assert isinstance(row, dict)
            _, by_volume = first_present(row, ("gex_vol", "gamma"))
            _, by_interest = first_present(row, ("gex_oi", "oi_gamma"))
            priors = row.get("priors")
        case _:
            raise Faulty(
                Fault(path, f"expected [strike, by volume, by interest, priors]: {shown(row)}")
            )
    price = number(f"{path}[0]", strike)
    if price is None:
        raise Faulty(Fault(f"{path}[0]", "expected a strike, found null"))
    return (
        price,
        number(f"{path}[1]", by_volume),
        number(f"{path}[2]", by_interest),
        _priors(f"{path}[3]", priors),
    )


def _priors(path: str, value: object) -> list[float | None] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > PRIORS_MAX:
        raise Faulty(Fault(path, f"expected at most {PRIORS_MAX} numbers, found {shown(value)}"))
    return [number(f"{path}[{place}]", prior) for place, prior in enumerate(value)]


def parse_windows(path: str, value: object) -> list[Window] | None:
    """The largest change of each look-back window; raise Faulty.

    Six pairs in order, an object of pairs by the window's name or minutes, or a list of objects.
    """
    match value:
        case None:
            return None
        case dict():
            named = [(_minutes(f"{path}.{name}", name), pair) for name, pair in value.items()]
        case list() if all(isinstance(pair, dict) for pair in value):
            named = [(_minutes(path, pair.get("minutes")), pair) for pair in value]
        case list() if len(value) <= len(WINDOWS):
            named = list(zip(WINDOWS.values(), value, strict=False))
        case _:
            raise Faulty(Fault(path, f"expected six windows, found {shown(value)}"))
    windows = [_window(f"{path}[{minutes}m]", minutes, pair) for minutes, pair in named]
    return sorted(window for window in windows if window is not None)


def _minutes(path: str, name: object) -> int:
    text = str(name).strip().lower()
    digits = text.removesuffix("m")
    if text in WINDOWS:
        return WINDOWS[text]
    if digits.isascii() and digits.isdecimal() and len(digits) <= 4:
        return int(digits)
    raise Faulty(Fault(path, f"expected one of {', '.join(WINDOWS)}, found {shown(name)}"))


def _window(path: str, minutes: int, pair: object) -> Window | None:
    match pair:
        case None | []:
            return None
        case [strike, value]:
            pass
        case {"strike": strike, "value": value} | {"strike": strike, "delta": value}:
            pass
        case _:
            raise Faulty(Fault(path, f"expected [strike, value], found {shown(pair)}"))
    read = number(path, strike), number(path, value)
    if read[0] is None or read[1] is None:
        return None
    return minutes, read[0], read[1]


def ladders_array(ladders: Sequence[Ladder | None]) -> pa.Array:
    """Ladders as the column `strikes`."""
    known = [ladder for ladder in ladders if ladder is not None]
    if known:
        told = ([getattr(ladder, field.name) for ladder in known] for field in _FIELDS)
        columns = [pa.concat_arrays(one) if len(one) > 1 else one[0] for one in told]
    else:
        columns = [pa.array([], field.type) for field in _FIELDS]
    offsets: list[int | None] = []
    end = 0
    for ladder in ladders:
        offsets.append(None if ladder is None else end)  # a null offset is a null list
        end += 0 if ladder is None else len(ladder.strike)
    rows = pa.StructArray.from_arrays(columns, fields=_FIELDS)
    return pa.ListArray.from_arrays(pa.array([*offsets, end], pa.int32()), rows, type=_LADDERS)
