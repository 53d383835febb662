"""What the venue says it did, held against the prints of one line: finds what got lost in silence.

Two witnesses speak beside the prints themselves. One-minute candles count the original prints and
their volume; Trade rows say what the day had summed up to at their print. Which prints they count
(invalid ones, legs of spreads) is not documented, so every rule that has always fitted is held
possible. A witness that history proves wrong again and again is heard but no longer acted on.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.clock import NS_PER_S
from ingest.dxlink_columns import Columns, Prints, index_of

MINUTE_MS = 60_000
PRINTS_MAX = 1_000_000
CLAIMS_MAX = 64
STRIKES_MAX = 3
FITS_MIN = 3  # as often a rule must have fitted before a lack is believed against history
RULES = ("all", "valid", "valid without legs")

Name = Literal["candle", "day volume"]
Outcome = Literal["match", "mismatch", "unverifiable"]


@dataclass(frozen=True, slots=True)
class Claim:
    """So much happened with after < index <= upto; `count` is -1 where nobody counted."""

    witness: Name
    after: int
    upto: int
    volume: float
    count: int
    due_ns: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a claim came out, and how many prints of ours it was held against."""

    claim: Claim
    outcome: Outcome
    stored: int
    is_acted_on: bool = False

    @property
    def reason(self) -> str:
        """For the ledger."""
        return f"the {self.claim.witness} counts more than was heard"


@dataclass(slots=True)
class Credit:
    """What one witness is worth by now."""

    rules: frozenset[int] = frozenset(range(len(RULES)))
    fits: int = 0
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What is remembered of prints stored together; `valid` None: all, `kinds` None: all new."""

    index: NDArray[np.int64]
    size: NDArray[np.int64]
    legs: NDArray[np.bool_]
    valid: NDArray[np.bool_] | None
    kinds: NDArray[Any] | None

    def counted(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """By rule, which of some rows it counts."""
        valid = rows if self.valid is None else rows & self.valid
        return np.stack([rows, valid, valid & ~self.legs])


@dataclass(slots=True)
class _Minute:
    volume: float
    count: int
    seen_ns: int


@dataclass(slots=True)
class Court:
    """The witnesses of one line; `grace_s` is how long a claim waits for prints under way."""

    grace_s: float = 5.0
    period_s: float = 10.0
    floor: int | None = None  # everything from this index on is at hand
    credits: dict[Name, Credit] = field(
        default_factory=lambda: {"candle": Credit(), "day volume": Credit()}
    )
    skipped: int = 0
    _chunks: deque[_Chunk] = field(default_factory=deque)
    _count: int = 0
    _claims: deque[Claim] = field(default_factory=deque)
    _minutes: dict[int, _Minute] = field(default_factory=dict)
    _base: tuple[int, int, float, int] | None = None  # index, day, volume, when heard

    def add(self, fresh: Prints, *, is_live: bool) -> None:
        """Prints that were stored."""
        if self.floor is None:
            if not is_live:
                return
            self.floor = int(fresh.index[0])
        columns = fresh.columns
        told = columns["size"], fresh.legs, columns.get("valid"), columns.get("kind")
        self._chunks.append(_Chunk(fresh.index, *told))
        self._count += len(fresh)
        while self._count > PRINTS_MAX:
            gone = self._chunks.popleft()
            self._count -= len(gone.index)
            self.floor = max(self.floor, int(gone.index.max()) + 1)

    def hear_day_volume(self, rows: Columns, now_ns: int) -> None:
        """Trade rows: each says what its day had summed up to."""
        known = np.flatnonzero(~np.isnan(rows["volume"]))
        if not len(known):
            self._base = None  # a new day begins, or the source does not say
            return
        last = int(known[-1])
        index, day = int(rows["index"][last]), int(rows["day"][last])
        volume, base = float(rows["volume"][last]), self._base
        if base is None or base[1] != day or index < base[0] or volume < base[2]:
            self._base = (index, day, volume, now_ns)
        elif index > base[0] and now_ns - base[3] >= self.period_s * NS_PER_S:
            due_ns = now_ns + int(self.grace_s * NS_PER_S)
            self._claim(Claim("day volume", base[0], index, volume - base[2], -1, due_ns))
            self._base = (index, day, volume, now_ns)

    def hear_candles(self, rows: Columns, now_ns: int) -> None:
        """One-minute candles; the last row of a minute counts, once a later minute has begun."""
        columns = (rows["time_ms"].tolist(), rows["volume"].tolist(), rows["count"].tolist())
        for time_ms, volume, count in zip(*columns, strict=True):
            minute = self._minutes.get(time_ms)
            if minute is not None:
                minute.volume, minute.count = volume, count
            else:
                self._minutes[time_ms] = _Minute(volume, count, now_ns)
        while len(self._minutes) > CLAIMS_MAX:
            del self._minutes[min(self._minutes)]
            self.skipped += 1

    def judge(self, now_ns: int) -> list[Verdict]:
        """Hold what is due against the prints; prints no claim can ask for are let go of."""
        if len(self._minutes) > 1:
            self._end_minutes(now_ns)
        verdicts = []
        while self._claims and self._claims[0].due_ns <= now_ns:
            verdicts.append(self._verdict(self._claims.popleft()))
        if verdicts:
            self._forget()
        return verdicts

    def again(self, claim: Claim, added: int) -> bool:
        """Hear a claim once more after history was merged; whether it is believed to be unmet."""
        credit = self.credits[claim.witness]
        is_calibrated = credit.fits >= FITS_MIN and credit.strikes < STRIKES_MAX
        if self._verdict(claim).outcome != "mismatch":
            credit.strikes = 0
            return False
        credit.strikes += 0 if added else 1
        return is_calibrated

    def _claim(self, claim: Claim) -> None:
        self._claims.append(claim)
        if len(self._claims) > CLAIMS_MAX:
            self._claims.popleft()
            self.skipped += 1

    def _end_minutes(self, now_ns: int) -> None:
        *ended, newest = sorted(self._minutes)
        if now_ns - self._minutes[newest].seen_ns < self.grace_s * NS_PER_S:
            return
        for start_ms in ended:
            minute = self._minutes.pop(start_ms)
            start, end = _index_at(start_ms), _index_at(start_ms + MINUTE_MS)
            if np.isfinite(minute.volume):
                told = (minute.volume, minute.count)
                self._claim(Claim("candle", start - 1, end - 1, *told, now_ns))

    def _verdict(self, claim: Claim) -> Verdict:
        if self.floor is None or claim.after < self.floor - 1:
            return Verdict(claim, "unverifiable", 0)
        volumes, counts = np.zeros(len(RULES)), np.zeros(len(RULES), np.int64)
        for chunk in self._chunks:
            rows = (chunk.index > claim.after) & (chunk.index <= claim.upto)
            if chunk.kinds is not None and (chunk.kinds[rows] != "new").any():
                return Verdict(claim, "unverifiable", 0)
            counted = chunk.counted(rows)
            volumes += counted @ chunk.size
            counts += counted.sum(axis=1)
        credit = self.credits[claim.witness]
        is_fit = (volumes == claim.volume) & ((counts == claim.count) | (claim.count < 0))
        fitting = credit.rules & frozenset(np.flatnonzero(is_fit).tolist())
        if fitting:
            credit.rules, credit.fits, credit.strikes = fitting, credit.fits + 1, 0
            return Verdict(claim, "match", int(counts[min(fitting)]))
        is_heeded = credit.strikes < STRIKES_MAX
        return Verdict(claim, "mismatch", int(counts[list(credit.rules)].min()), is_heeded)

    def _forget(self) -> None:
        """Keep prints of the last minutes, and of whatever may still be asked for."""
        if not self._chunks or self.floor is None:
            return
        newest = int(self._chunks[-1].index.max())
        needed = [newest - (4 * 60 << 32), *(claim.after for claim in self._claims)]
        needed += [self._base[0]] if self._base else []
        needed += [_index_at(start_ms) for start_ms in self._minutes]
        while self._chunks and int(self._chunks[0].index.max()) < min(needed):
            gone = self._chunks.popleft()
            self._count -= len(gone.index)
            self.floor = max(self.floor, int(gone.index.max()) + 1)


def _index_at(time_ms: int) -> int:
    """The least index of a print at a time."""
    return int(index_of(np.array([time_ms]), np.array([0]))[0])
