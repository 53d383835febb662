"""The bytes of a snapshot from those of one like it: of two posts of a ticker only numbers differ.

Making a row of 25 columns takes Arrow longer than reading the post does. So what rows share with
earlier ones is kept as Arrow made it, and numbers are written where Arrow had put marks in their
place. What comes out of a new mould is held against Arrow's own bytes once.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from struct import pack, pack_into, unpack
from typing import Final, cast

import pyarrow as pa

from core.log import Log
from core.schema import GEX
from ingest.gex_ladder import Ladder, Window, even_ladder
from ingest.gex_snapshot import Row, gex_columns
from storage.prepared import Prepared, prepare

log = Log("gex")
MOULDS_MAX: Final = 256
MOULD_BYTES_MAX: Final = 64 * 1024  # some 900 strikes; what is longer is made by Arrow
SEEN_MAX: Final = 4_096
NUMBER_BYTES: Final = 8
FEW_MAX: Final = 8  # numbers in 64 bytes, which Arrow writes out whole for each slice of them
_TIMES: Final = ("ts_event", "ts_recv")
_REALS: Final = tuple(f.name for f in GEX.unnumbered_schema if pa.types.is_float64(f.type))
# These are in a mould as they are.
_SHARED: Final = tuple(
    name
    for name in GEX.unnumbered_schema.names
    if name not in (*_TIMES, *_REALS, "strikes", "change_windows")
)
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Mould:
    """Where in the bytes of a row its numbers lie; `reals` are those that are not null."""

    ready: Prepared
    times: Sequence[int]
    reals: Sequence[tuple[str, int]]
    windows: Sequence[int]  # strikes, values
    ladder: Sequence[int]  # strikes, by volume, by interest, priors

    def filled(self, row: Row) -> Prepared:
        """A row of the same shape as bytes."""
        raw = bytearray(self.ready.payload)
        for name, at in zip(_TIMES, self.times, strict=True):
            pack_into("<q", raw, at, row[name])
        for name, at in self.reals:
            pack_into("<d", raw, at, row[name])
        for at, numbers in zip(self.windows, _told_windows(row), strict=True):
            pack_into(f"<{len(numbers)}d", raw, at, *numbers)
        for at, part in zip(self.ladder, _told_ladder(row), strict=True):
            raw[at : at + len(part)] = part
        return replace(self.ready, payload=bytes(raw))


class Moulds:
    """Moulds by what rows share, made when something comes for the second time."""

    def __init__(self) -> None:
        self._moulds: dict[Key, Mould | None] = {}
        self._seen: set[int] = set()  # hashes: a key may hold all that was posted

    def ready(self, row: Row) -> Prepared:
        """A row without seq, ready for the log of table `gex`."""
        key = _key_of(row)
        if key is None:
            return _made(row)
        mould = self._moulds.get(key)
        if mould is not None:
            return mould.filled(row)
        made = _made(row)
        if key not in self._moulds and len(made.payload) <= MOULD_BYTES_MAX:
            self._look(key, row, made)
        return made

    def _look(self, key: Key, row: Row, made: Prepared) -> None:
        """Make a mould of what comes again."""
        if hash(key) in self._seen:
            if len(self._moulds) == MOULDS_MAX:
                self._moulds.clear()
            self._moulds[key] = _tried(row, made)
        else:
            if len(self._seen) == SEEN_MAX:
                self._seen.clear()
            self._seen.add(hash(key))


def _made(row: Row) -> Prepared:
    return prepare("gex", gex_columns([row]))


def _key_of(row: Row) -> Key | None:
    """All that shapes a row's bytes; None where its ladder is of no plain shape."""
    ladder, windows = cast("Ladder | None", row["strikes"]), _windows(row)
    shape: Key = ()
    if ladder is not None:
        if ladder.numbers is None or len(ladder.numbers) <= FEW_MAX:
            return None
        shape = (len(ladder.strike), len(ladder.numbers))
    minutes = None if windows is None else tuple(window[0] for window in windows)
    nulls = [row[name] is None for name in _REALS]
    return (*[row[name] for name in _SHARED], *nulls, minutes, *shape)


def _tried(row: Row, made: Prepared) -> Mould | None:
    """A mould of rows like this one; None where it would not give what Arrow gives."""
    mould = _moulded(row)
    if mould is not None and mould.filled(row) == made:
        return mould
    log.error("mould.unfit", ticker=row["ticker"], category=row["category"])
    return None


def _moulded(row: Row) -> Mould | None:
    """Have Arrow make the row with a mark for each number and see where the marks are."""
    marks = _marks()
    marked = row | {name: next(marks) for name in _TIMES}
    reals = [name for name in _REALS if row[name] is not None]
    marked |= {name: _as_real(next(marks)) for name in reals}
    ladder, windows = cast("Ladder | None", row["strikes"]), _windows(row)
    if windows is not None:
        marked["change_windows"] = [
            (minutes, _as_real(next(marks)), _as_real(next(marks))) for minutes, *_ in windows
        ]
    if ladder is not None:
        assert ladder.numbers is not None
        numbers = [_as_real(next(marks)) for _ in range(len(ladder.numbers))]
        marked["strikes"] = even_ladder(pa.array(numbers, pa.float64()), len(ladder.strike))
    ready = _made(marked)

    def place(mark: bytes) -> int:
        return ready.payload.index(mark) if ready.payload.count(mark) == 1 else -1

    mould = Mould(
        ready,
        [place(pack("<q", marked[name])) for name in _TIMES],
        [(name, place(pack("<d", marked[name]))) for name in reals],
        [place(pack(f"<{len(told)}d", *told)) for told in _told_windows(marked)],
        [place(bytes(part)) for part in _told_ladder(marked)],
    )
    places = [*mould.times, *(at for _, at in mould.reals), *mould.windows, *mould.ladder]
    return mould if min(places) >= 0 else None


def _windows(row: Row) -> list[Window] | None:
    return cast("list[Window] | None", row["change_windows"])


def _told_windows(row: Row) -> list[list[float]]:
    """The numbers of its windows as they lie in a column, where it has any."""
    windows = _windows(row)
    return [[w[1] for w in windows], [w[2] for w in windows]] if windows else []


def _told_ladder(row: Row) -> list[memoryview]:
    """The numbers of its ladder as they lie in a column, where it has any."""
    ladder = cast("Ladder | None", row["strikes"])
    if ladder is None or ladder.numbers is None:
        return []
    strikes, total = NUMBER_BYTES * len(ladder.strike), NUMBER_BYTES * len(ladder.numbers)
    raw = memoryview(ladder.numbers.buffers()[1])
    ends = [0, strikes, 2 * strikes, 3 * strikes, total]
    parts = [raw[start:end] for start, end in pairwise(ends)]
    return [part for part in parts if len(part)]


def _marks() -> Iterator[int]:
    """Numbers that are nowhere else, also when read as reals."""
    mark = (0x5A << 56) | secrets.randbits(55)
    while True:
        yield mark
        mark += 1


def _as_real(mark: int) -> float:
    real: float = unpack("<d", pack("<q", mark))[0]
    return real
