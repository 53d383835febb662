"""What was posted to the webhook: frames of several senders, told apart and parsed. Pure, total.

Every item of a post becomes exactly one of: a row, something to ignore (heartbeats, join replies),
an unknown shape to keep raw, or a refusal that says what is wrong and where.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from ingest.gex_snapshot import TICKERS, About, Row, kind_of, parse_snapshot
from ingest.gex_uw import is_market_agg, is_option_trade, parse_market_agg, parse_option_trade
from ingest.gex_values import Fault, Faulty, Found

ITEMS_MAX = 500
_SNAPSHOTS = ("gex", "gexbot", "gex_snapshot")  # topics whose symbol is the snapshot's
_TOPICS = ("topic", "channel", "object", "type", "feed", "kind")
_CHANNEL = re.compile(r"([a-z0-9_\-]{1,40})(?:[:|]([a-z0-9_.\-]{1,16}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A row for a table, and what kind of thing it was."""

    kind: str
    table: str
    row: Row


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing worth keeping: a heartbeat, or the reply to a join."""

    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A shape nobody knows; kept as it came."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """A known shape with values that cannot be."""

    faults: tuple[Fault, ...]
    raw: bytes


Item = Parsed | Ignored | Unknown | Refused


def read_post(found: object, now_ns: int, raw: bytes = b"") -> list[Item]:
    """Every item of a post's JSON, in its order; `raw` is the post as it came."""
    try:
        return _read(found, About("uw", now_ns))
    except orjson.JSONEncodeError:  # nested too deeply to be written down again
        return [Unknown(raw)]


def _read(found: object, about: About) -> list[Item]:
    if not isinstance(found, list) or not is_batch(found):
        return list(_items(found, about, ""))
    if len(found) > ITEMS_MAX:
        fault = Fault("", f"expected at most {ITEMS_MAX} items, found {len(found)}; post in parts")
        return [Refused((fault,), b"")]
    return [item for place, part in enumerate(found) for item in _items(part, about, f"[{place}]")]


def is_batch(found: object) -> bool:
    """Whether a post holds several items: a list that is not itself a frame.

    Frames are Phoenix' [join, ref, topic, event, payload] and the official [channel, payload].
    """
    match found:
        case [_, _, str(), str(), dict()] | [str(), dict() | list()]:
            return False
        case _:
            return isinstance(found, list)


def _items(found: object, about: About, path: str) -> Iterator[Item]:
    """What one item of a post holds; a frame may carry several trades."""
    match found:
        case [_, _, str(topic), str(event), dict(payload)]:
            if event.startswith("phx_") or event in ("tick", "heartbeat"):
                yield Ignored(event)
                return
            yield from _told(found, topic, payload.get("data", payload), about, f"{path}[4].data")
        case [str(channel), dict() | list() as payload]:
            if isinstance(payload, dict) and "response" in payload and "status" in payload:
                yield Ignored("join reply")
                return
            yield from _told(found, channel, payload, about, f"{path}[1]")
        case dict():
            heading, body, name = _envelope(found)
            if heading is None:
                yield _told_one(found, "", found, about, path)
            else:
                yield from _told(found, heading, body, about, f"{path}.{name}" if path else name)
        case list():
            yield Unknown(_raw(found))
        case _:
            yield Refused((Fault(path, "expected an object or a list"),), _raw(found))


def _envelope(found: Found) -> tuple[str | None, object, str]:
    """Topic and body of an object that wraps another."""
    name = next((n for n in ("payload", "data") if isinstance(found.get(n), dict | list)), "")
    body = found.get(name)
    for holder in (found, body):
        if isinstance(holder, dict) and name:
            for key in _TOPICS:
                topic = holder.get(key)
                if isinstance(topic, str):
                    return topic, body, name
    return None, None, ""


def _told(whole: object, topic: str, body: object, about: About, path: str) -> Iterator[Item]:
    """What a topic carries: one object, or a list of them."""
    if topic.lower() in ("heartbeat", "ping"):
        yield Ignored(topic.lower())
    elif isinstance(body, list) and 0 < len(body) <= ITEMS_MAX:
        for place, part in enumerate(body):
            yield _told_one(part, topic, part, about, f"{path}[{place}]")
    else:
        yield _told_one(whole, topic, body, about, path)


def _told_one(whole: object, topic: str, body: object, about: About, path: str) -> Item:
    """One object; what it is shows in its own fields, the topic only names where it came from."""
    channel = _CHANNEL.fullmatch(topic)
    if not isinstance(body, dict) or (topic and channel is None):
        return Unknown(_raw(whole))
    name = channel[1].lower() if channel else ""
    symbol = (channel[2] or "").upper() if channel else ""
    try:
        if is_option_trade(body):
            row = parse_option_trade(name, body, about.now_ns, path)
            return Parsed("option_trade", "option_trades", row)
        if is_market_agg(body):
            row = parse_market_agg(name, symbol, body, about.now_ns, path)
            return Parsed("market_agg", "market_agg", row)
        if symbol and name in _SNAPSHOTS and not any(key in body for key in TICKERS):
            body = {"ticker": symbol, **body}
        kind = kind_of(body)
        if kind is None:
            return Unknown(_raw(whole))
        return Parsed(kind, "gex", parse_snapshot(kind, body, about, path))
    except Faulty as error:
        return Refused(error.faults, _raw(whole))


def _raw(found: object) -> bytes:
    return orjson.dumps(found)
