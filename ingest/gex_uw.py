"""Unusual Whales' option trades and market totals as rows of `option_trades` and `market_agg`.

Pure. Its decimals are text, its times ISO-8601 or milliseconds; what has no column goes to `extra`.
"""

import re
from typing import Final

from core.clock import NS_PER_US
from ingest.gex_values import (
    Fault,
    Faulty,
    Found,
    day_us,
    extra_json,
    first_present,
    number,
    shown,
    time_ns,
    whole,
    word,
)

Row = dict[str, object]
OCC = re.compile(r"([A-Z]{1,6}) *(\d\d)(\d\d)(\d\d)([CP])(\d{8})")
TRADE_ID_CHARS_MAX = 64
EVERYONE: Final = "MARKET"  # the symbol of totals that belong to no single one
_TIME = ("executed_at", "timestamp")
_OCC = ("option_chain_id", "option_symbol")
_NUMBERS: Final = {
    "price": "price",
    "premium": "premium",
    "underlying_price": "underlying_price",
    "bid": "ewma_nbbo_bid",
    "ask": "ewma_nbbo_ask",
    **{name: name for name in ("delta", "gamma", "theta", "vega", "rho", "theo")},
    "implied_volatility": "implied_volatility",
}
_COUNTS: Final = ("size", "volume", "open_interest")
_WORDS: Final = {"exchange": "exchange", "conditions": "upstream_condition_detail"}
_KNOWN: Final = frozenset(
    {"id", "tags", *_TIME, *_OCC, *_NUMBERS.values(), *_COUNTS, *_WORDS.values()}
)
_MARKET_NUMBERS: Final = ("call_premium", "put_premium", "put_call_ratio")
_MARKET_COUNTS: Final = ("call_volume", "put_volume")
_MARKET_KNOWN: Final = frozenset({"date", *_MARKET_NUMBERS, *_MARKET_COUNTS})


def is_option_trade(found: Found) -> bool:
    """Whether an object tells of one option trade."""
    return any(name in found for name in _OCC) and any(name in found for name in _TIME)


def is_market_agg(found: Found) -> bool:
    """Whether an object tells the market's totals."""
    return "date" in found and "call_premium" in found and "put_premium" in found


def parse_option_trade(channel: str, found: Found, now_ns: int, path: str = "") -> Row:
    """One row of `option_trades` without its seq; raise Faulty."""
    at = f"{path}." if path else ""
    time_name, time_value = first_present(found, _TIME)
    event_ns = time_ns(at + time_name, time_value, now_ns)
    occ_name, occ_value = first_present(found, _OCC)
    row = _contract(at + occ_name, occ_value)
    row |= {column: number(at + name, found.get(name)) for column, name in _NUMBERS.items()}
    row |= {name: whole(at + name, found.get(name)) for name in _COUNTS}
    row |= {column: word(at + name, found.get(name)) for column, name in _WORDS.items()}
    price = row["price"]
    if not isinstance(price, float) or price < 0:
        raise Faulty(Fault(at + "price", f"expected a price, found {shown(found.get('price'))}"))
    return row | {
        "ts_event": event_ns // NS_PER_US,
        "ts_ns": event_ns % NS_PER_US,
        "ts_recv": now_ns // NS_PER_US,
        "source": "unusualwhales",
        "trade_id": _trade_id(at + "id", found.get("id")),
        "channel": channel,
        "tags": _tags(at + "tags", found.get("tags")),
        "extra": extra_json(found, _KNOWN),
    }


def parse_market_agg(channel: str, symbol: str, found: Found, now_ns: int, path: str = "") -> Row:
    """One row of `market_agg` without its seq; raise Faulty.

    These frames name a day and no time, so `ts_event` is when they arrived.
    """
    at = f"{path}." if path else ""
    row: Row = {name: number(at + name, found.get(name)) for name in _MARKET_NUMBERS}
    row |= {name: whole(at + name, found.get(name)) for name in _MARKET_COUNTS}
    return row | {
        "symbol": symbol or EVERYONE,
        "ts_event": now_ns // NS_PER_US,
        "ts_ns": now_ns % NS_PER_US,
        "ts_recv": now_ns // NS_PER_US,
        "source": "unusualwhales",
        "channel": channel,
        "date": day_us(at + "date", found.get("date")),
        "extra": extra_json(found, _MARKET_KNOWN),
    }


def _contract(path: str, value: object) -> Row:
    """What an OCC symbol says: root, day, call or put, thousandths of the strike."""
    occ = OCC.fullmatch(value.strip().upper()) if isinstance(value, str) else None
    if occ is None:
        raise Faulty(Fault(path, f"expected an OCC symbol, found {shown(value)}"))
    root, year, month, day, side, strike = occ.groups()
    return {
        "symbol": root,
        "option_symbol": occ[0],
        "expiry": day_us(path, f"20{year}-{month}-{day}"),
        "option_kind": "call" if side == "C" else "put",
        "strike": int(strike) / 1000,
    }


def _trade_id(path: str, value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not text.isprintable():
        raise Faulty(Fault(path, f"expected an id, found {shown(value)}"))
    if len(text) > TRADE_ID_CHARS_MAX:
        raise Faulty(Fault(path, f"expected at most {TRADE_ID_CHARS_MAX} characters"))
    return text


def _tags(path: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise Faulty(Fault(path, f"expected a list of words, found {shown(value)}"))
    return ",".join(value)
