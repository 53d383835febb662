"""Gamma exposure snapshots: JSON objects in every known spelling become rows of table `gex`. Pure.

GEXBot's chain, majors, maxchange, orderflow and greek profile, what was pushed to earlier programs,
and Unusual Whales' exposures. Times are taken as they came: none is repaired, none is made up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import pyarrow as pa

from core.clock import NS_PER_US
from core.schema import GEX
from core.symbol import GEX_TICKERS
from ingest.gex_columns import flat_columns
from ingest.gex_ladder import WINDOWS, ladders_array, parse_ladder, parse_windows
from ingest.gex_values import (
    Fault,
    Faulty,
    Found,
    extra_json,
    first_present,
    number,
    shown,
    ticker,
    time_ns,
    whole,
)

Kind = Literal["gex_chain", "gex_majors", "gex_maxchange", "gex_orderflow", "gex_greeks", "uw_gex"]
Row = dict[str, object]
T = TypeVar("T")

PACKAGES: Final = ("classic", "state", "orderflow")
CATEGORIES: Final = frozenset(
    {"gex_zero", "gex_one", "gex_full", "orderflow"}
    | {f"{greek}_{of}" for greek in ("delta", "gamma", "vanna", "charm") for of in ("zero", "one")}
)
GREEKS: Final = "greeks"  # the category of a profile that does not say of which greek it is
_SHORT = {"zero": "gex_zero", "one": "gex_one", "full": "gex_full"}
TICKERS: Final = ("ticker", "symbol", "underlying")
_TIME = ("timestamp", "ts_event", "time")
_SPOT = ("spot", "spot_price", "price")
_CATEGORY = ("category", "endpoint", "gex_type")
_WINDOWS = ("change_windows", "max_change", "maxchange", "max_priors")
_NUMBERS: Final = {
    "spot": _SPOT,
    "zero_gamma": ("zero_gamma",),
    "sum_gex_vol": ("sum_gex_vol", "net_gex_vol", "net_gex"),
    "sum_gex_oi": ("sum_gex_oi", "net_gex_oi"),
    "major_pos_vol": ("major_pos_vol", "mpos_vol"),
    "major_pos_oi": ("major_pos_oi", "mpos_oi"),
    "major_neg_vol": ("major_neg_vol", "mneg_vol"),
    "major_neg_oi": ("major_neg_oi", "mneg_oi"),
    "delta_risk_reversal": ("delta_risk_reversal",),
}
_NOT_IN_STATE = ("zero_gamma", "major_pos_oi", "major_neg_oi")  # 0 there: not applicable
_CHAIN = frozenset(
    {"strikes", "zero_gamma", "sum_gex_vol", "sum_gex_oi", "major_pos_vol", "net_gex", *_WINDOWS}
)
_HEAD = frozenset({*TICKERS, *_TIME, *_SPOT, *_CATEGORY, "package", "min_dte", "sec_min_dte"})
_KNOWN: Final = _HEAD | {"strikes", *_WINDOWS} | {n for names in _NUMBERS.values() for n in names}
_PARTS: dict[Kind, str] = {"gex_majors": "/majors", "gex_maxchange": "/maxchange"}


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a snapshot beside its own words: how and when it came, and its series.

    `ticker`, `package` and `category` are what was asked for, "" where the snapshot must say.
    """

    via: str
    now_ns: int
    ticker: str = ""
    package: str = ""
    category: str = ""


def kind_of(found: Found) -> Kind | None:
    """Which kind of snapshot an object is, None where it is none."""
    if not (_has(found, TICKERS) and _has(found, _TIME)):
        return None
    if any(name.endswith(("_one_percent_move_oi", "_one_percent_move_vol")) for name in found):
        return None if "strike" in found else "uw_gex"
    marks: tuple[tuple[Kind, bool], ...] = (
        ("gex_greeks", "mini_contracts" in found),
        ("gex_orderflow", _has(found, ("zcvr", "dexoflow"))),
        ("gex_majors", _has(found, ("mpos_vol", "net_gex_vol")) and "strikes" not in found),
        ("gex_maxchange", "current" in found and "thirty" in found),
        ("gex_chain", not _CHAIN.isdisjoint(found)),
    )
    return next((kind for kind, is_it in marks if is_it), None)


def parse_snapshot(kind: Kind, found: Found, about: About, path: str = "") -> Row:
    """One row of table `gex` without its seq; raise Faulty with everything that is wrong."""
    reader = _Reader(path)
    name = reader.read(first_present(found, TICKERS), ticker)
    if about.ticker and name not in (None, about.ticker):
        reader.fault("ticker", f"expected {about.ticker}, found {name}")
    event_ns = reader.read(first_present(found, _TIME), time_ns, about.now_ns)
    package, category, defaulted = _series(kind, found, about, reader)
    row: Row = {
        column: reader.read(first_present(found, names), number)
        for column, names in _NUMBERS.items()
    }
    for column in ("min_dte", "sec_min_dte"):
        row[column] = reader.read((column, found.get(column)), whole, 32_767)
    row["strikes"] = reader.read(("strikes", found.get("strikes")), parse_ladder)
    windows = {n: found[n] for n in WINDOWS if n in found} if kind == "gex_maxchange" else None
    row["change_windows"] = reader.read(
        (_WINDOWS[0], windows) if windows else first_present(found, _WINDOWS), parse_windows
    )
    _check_spot(kind, row["spot"], reader)
    reader.finish()
    assert name is not None
    assert event_ns is not None
    if package == "state":
        row |= {column: row[column] or None for column in _NOT_IN_STATE}
    known = _KNOWN | set(WINDOWS) if kind == "gex_maxchange" else _KNOWN
    symbol = GEX_TICKERS.get(name, name)
    more: Row = {"sent_ticker": name} if symbol != name else {}
    more |= {"defaulted": defaulted} if defaulted else {}
    return row | {
        "symbol": symbol,
        "ts_event": event_ns // NS_PER_US,
        "ts_ns": event_ns % NS_PER_US,
        "ts_recv": about.now_ns // NS_PER_US,
        "source": "unusualwhales" if kind == "uw_gex" else "gexbot",
        "ticker": symbol,
        "package": package,
        "category": category,
        "net_gex": row["sum_gex_vol"],
        "via": about.via,
        "extra": extra_json(found, known, more),
    }


def _series(
    kind: Kind, found: Found, about: About, reader: "_Reader"
) -> tuple[str, str, list[str]]:
    """Package and category, and which of them nobody said."""
    if kind == "uw_gex":
        return "uw", "exposures", []
    path, value = first_present(found, _CATEGORY)
    words = value.strip().lower().split("/") if isinstance(value, str) else []
    category = about.category or (words[-1] if words else "")
    category = _SHORT.get(category, category)
    said = found.get("package")
    package = about.package or (words[-2] if len(words) > 1 else "")
    package = package or (said.strip().lower() if isinstance(said, str) else "")
    if category and category not in CATEGORIES:
        reader.fault(path, f"expected a category like gex_zero, found {shown(value)}")
    if package and package not in PACKAGES:
        reader.fault("package", f"expected one of {', '.join(PACKAGES)}, found {shown(said)}")
    natural = {"gex_orderflow": ("orderflow", "orderflow"), "gex_greeks": ("state", GREEKS)}
    usual_package, usual_category = natural.get(kind, ("classic", "gex_zero"))
    defaulted = [] if package or kind in natural else ["package"]
    defaulted += [] if category or kind == "gex_orderflow" else ["category"]
    return (
        package or usual_package,
        (category or usual_category) + _PARTS.get(kind, ""),
        defaulted,
    )


def _check_spot(kind: Kind, spot: object, reader: "_Reader") -> None:
    if spot is None and kind == "gex_maxchange":
        return
    if spot is None:
        reader.fault("spot", "expected a price, found null")
    elif isinstance(spot, float) and spot <= 0:
        reader.fault("spot", f"expected a price above 0, found {spot:g}")


def gex_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows as table `gex` takes them, in its plain schema without seq."""
    return pa.RecordBatch.from_arrays(gex_columns(rows), schema=GEX.unnumbered_schema)


def gex_columns(rows: Sequence[Row]) -> list[pa.Array]:
    """The columns of that batch."""
    columns = flat_columns("gex", rows, without="strikes")
    ladders = ladders_array([row["strikes"] for row in rows])  # type: ignore[misc]
    columns.insert(GEX.unnumbered_schema.get_field_index("strikes"), ladders)
    return columns


def _has(found: Found, names: Sequence[str]) -> bool:
    return any(name in found for name in names)


class _Reader:
    """Reads values one by one and gathers what is wrong with them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._faults: list[Fault] = []

    def read(
        self, named: tuple[str, object], parse: Callable[..., T | None], *more: int
    ) -> T | None:
        """A value by its name, None where it is faulty."""
        name, value = named
        try:
            return parse(self._at(name), value, *more)
        except Faulty as error:
            self._faults += error.faults
            return None

    def fault(self, name: str, msg: str) -> None:
        """One more thing that is wrong, unless this place has a fault already."""
        path = self._at(name)
        if all(fault.path != path for fault in self._faults):
            self._faults.append(Fault(path, msg))

    def finish(self) -> None:
        """Raise Faulty where anything was wrong."""
        if self._faults:
            raise Faulty(*self._faults)

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name
