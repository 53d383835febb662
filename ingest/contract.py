"""Names of contracts as Sierra Chart writes them, and which contract is the front one.

`ESH24_FUT_CME`, `NQM26-CME`, `MNQZ6.CME` and `SPY` become a root and a contract with a two-digit
year. Volume decides the real roll; the front contract here is by date alone.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta

from core.errors import FeedGarbled

MONTH_CODES = "FGHJKMNQUVXZ"
# Equity index futures: quarterly, last traded on the third Friday, rolled eight days before it.
_QUARTER_MONTHS = (3, 6, 9, 12)
_ROLL_BEFORE_EXPIRY = timedelta(days=8)

_FUTURE = re.compile(r"([A-Z0-9]+?)([FGHJKMNQUVXZ])(\d{1,2})([._-].*)?")
_STOCK = re.compile(r"[$^]?([A-Z][A-Z0-9]*)([._-].*)?")


@dataclass(frozen=True, slots=True)
class Contract:
    """A root such as ES and the contract, ESH24; both are the ticker where nothing expires."""

    root: str
    contract: str

    @property
    def is_future(self) -> bool:
        return self.root != self.contract


def parse_stem(stem: str, on: date) -> Contract:
    """Read a file's stem; a one-digit year is the one nearest to `on`, a day in the file."""
    if future := parse_future(stem, on):
        return future
    if match := _STOCK.fullmatch(stem.upper()):
        return Contract(match.group(1), match.group(1))
    raise FeedGarbled(
        f"expected a file name that starts with a contract or ticker, found {stem[:80]!r}",
        hint="rename the file like ESH24_FUT_CME or SPY, or name it with --symbol",
    )


def parse_future(name: str, on: date) -> Contract | None:
    """Read a future's name; None where it is none."""
    match = _FUTURE.fullmatch(name.upper())
    if match is None:
        return None
    root, month, year = match.group(1, 2, 3)
    return Contract(root, f"{root}{month}{_two_digit_year(year, on)}")


def front_contract(root: str, on: date) -> Contract:
    """The quarterly equity index contract most people trade on a day."""
    year = on.year
    for years_ahead in (0, 1):
        for month in _QUARTER_MONTHS:
            expiry = third_friday(year + years_ahead, month)
            if on < expiry - _ROLL_BEFORE_EXPIRY:
                code = MONTH_CODES[month - 1]
                return Contract(root, f"{root}{code}{(year + years_ahead) % 100:02d}")
    raise AssertionError("a year has a quarterly contract")


def third_friday(year: int, month: int) -> date:
    """The day quarterly equity index contracts expire."""
    first = date(year, month, 1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 14)


def _two_digit_year(digits: str, on: date) -> str:
    if len(digits) == 2:
        return digits
    last = int(digits)
    nearest = min(
        (year for year in range(on.year - 5, on.year + 6) if year % 10 == last),
        key=lambda year: (abs(year - on.year), -year),
    )
    return f"{nearest % 100:02d}"
