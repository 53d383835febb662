"""Frames of one connection into columns, by the layout the server last announced.

Never by the layout we asked for: servers trim it and say so late. A frame that cannot be read whole
is a value with its reason; nothing is guessed. Frames of one layout that came together are decoded
together, for slicing many rows costs hardly more than slicing one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from ingest.dxlink_wire import CONTRACTS, FIELDS, Event, Message

if TYPE_CHECKING:
    from ingest.dxlink_scan import Layout, Scan, Scanner

Strings = list[Any]
SYMBOL_FIELD = "eventSymbol"
PRINTS: Literal["TimeAndSale"] = "TimeAndSale"
_EVENTS = frozenset(FIELDS)


class Frame(NamedTuple):
    """Bytes as they came, when (wall nanoseconds), and by which connection."""

    ts_recv_ns: int
    payload: bytes
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Garbled:
    """A frame, or a part of one, that cannot be read; `channel` is -1 where even that is not."""

    channel: int
    reason: str
    frame: Frame


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one event type from one channel, in the order they came, as raw value lists."""

    channel: int
    event: Event
    values: dict[str, Strings]
    ts_recv_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ts_recv_ns)

    @property
    def last_ns(self) -> int:
        """When the last of them came."""
        return int(self.ts_recv_ns[-1])

    def grouped(self, keep: NDArray[np.bool_] | None = None) -> "Grouping":
        """The rows lined up by symbol, each symbol's as they came; only those a mask keeps."""
        names = self.values[SYMBOL_FIELD]
        codes_of = {name: code for code, name in enumerate(dict.fromkeys(names))}
        if len(codes_of) == 1 and keep is None:
            return Grouping(None, [(names[0], slice(0, len(names)))])
        # Short codes are sorted by their digits, which takes a fraction of the time.
        kind = np.int16 if len(codes_of) < 2**15 else np.int64
        codes = np.fromiter(map(codes_of.__getitem__, names), kind, len(names))
        order = np.argsort(codes, kind="stable")
        if keep is not None:
            order = order[keep[order]]
        ends = np.searchsorted(codes[order], np.arange(len(codes_of)), "right").tolist()
        spans = zip(codes_of, map(slice, [0, *ends], ends), strict=False)
        return Grouping(order, [span for span in spans if span[1].start < span[1].stop])


@dataclass(frozen=True, slots=True)
class Scanned:
    """TimeAndSale rows that a scanner read, lined up by symbol, each symbol's as they came.

    `values` are typed columns by the wire's names; sides are -1, 0, +1, types are places in
    `core.schema.KINDS`, conditions places in `words`, -1 for null, -2 for a zero character.
    """

    channel: int
    values: dict[str, NDArray[Any]]
    ts_recv_ns: NDArray[np.int64]
    last_ns: int
    spans: list[tuple[str, slice]]
    words: Sequence[str]
    event: Literal["TimeAndSale"] = "TimeAndSale"

    def __len__(self) -> int:
        return len(self.ts_recv_ns)


class Grouping(NamedTuple):
    """`order` lines rows up (None: they are); `spans` says where each symbol's then are."""

    order: NDArray[np.intp] | None
    spans: list[tuple[str, slice]]


@dataclass(slots=True)
class _Pending:
    """Values of frames of one layout, waiting to be sliced together."""

    fields: tuple[str, ...]
    values: Strings = field(default_factory=list)
    frames: list[tuple[int, Frame]] = field(default_factory=list)  # and how many rows each brought


Decoded = Rows | Scanned | Garbled | Message


class Decoder:
    """Knows the layouts of one connection; a new connection begins with a new decoder.

    Given a scanner it leaves to that what it can read.
    """

    def __init__(self, scanner: "Scanner | None" = None) -> None:
        self._scanner = scanner
        self._layouts: dict[tuple[int, Event], tuple[str, ...]] = {}
        self._scan: Scan | None = None
        self._scannable: dict[int, Layout] = {}
        self._pending: dict[tuple[int, Event], _Pending] = {}
        self._objects: dict[tuple[int, Event], list[tuple[dict[str, Any], int]]] = {}
        self.aggregation_s: dict[int, float] = {}

    def decode(self, frames: Sequence[Frame]) -> list[Decoded]:
        """Rows, control messages and what cannot be read, in an order that keeps each channel's."""
        out: list[Decoded] = []
        self._scan = self._scanner.over(frames) if self._scanner else None
        place = 0
        while place < len(frames):
            after = self._skim(frames[place].payload, place)
            if after == place:
                out += self._parse(frames[place])
                after += 1
            place = after
        out += self._flush()
        self._scan = None
        return out

    def _skim(self, payload: bytes, place: int) -> int:
        """Leave this frame and what follows to the scanner; give the first it does not read."""
        if self._scan is None or self._objects:
            return place
        for channel, layout in self._scannable.items():
            # Rows that wait to be sliced come before those that would be scanned now.
            if payload.startswith(layout.head) and (channel, PRINTS) not in self._pending:
                return self._scan.read(place, channel, layout)
        return place

    def _parse(self, frame: Frame) -> list[Decoded]:
        try:
            message = orjson.loads(frame.payload)
        except orjson.JSONDecodeError:
            return [Garbled(-1, "not JSON", frame)]
        if not isinstance(message, dict) or not isinstance(message.get("channel"), int):
            return [Garbled(-1, "not a DXLink message", frame)]
        match message.get("type"):
            case "FEED_DATA":
                return self._data(message["channel"], message.get("data"), frame)
            case "FEED_CONFIG":
                return self._flush() + self._configure(message, frame)
            case str():
                return [*self._flush(), message]
            case _:
                return [Garbled(message["channel"], "message without a type", frame)]

    def _configure(self, message: Message, frame: Frame) -> list[Decoded]:
        channel = message["channel"]
        fields = message.get("eventFields") or {}
        period = message.get("aggregationPeriod")
        if isinstance(period, (int, float)):
            self.aggregation_s[channel] = float(period)
        if not isinstance(fields, dict):
            return [Garbled(channel, "eventFields is not an object", frame)]
        garbled: list[Decoded] = []
        for event, names in fields.items():
            if event not in _EVENTS:
                continue
            if not _is_layout(names):
                self._layouts.pop((channel, event), None)
                self._announce(channel, event, ())
                garbled.append(Garbled(channel, f"layout of {event} lacks eventSymbol", frame))
                continue
            self._layouts[channel, event] = tuple(names)
            self._announce(channel, event, names)
        return garbled

    def _announce(self, channel: int, event: Event, names: Sequence[str]) -> None:
        """Tell the scanner's part of a layout, that of prints on one of our channels."""
        if self._scanner is None or event != PRINTS or channel not in CONTRACTS:
            return
        layout = self._scanner.layout_of(channel, names)
        if layout is None:
            self._scannable.pop(channel, None)
        else:
            self._scannable[channel] = layout

    def _data(self, channel: int, data: Any, frame: Frame) -> list[Decoded]:
        if not isinstance(data, list) or not data:
            return [Garbled(channel, "data is not a list with values", frame)]
        if isinstance(data[0], dict):
            return self._full(channel, data, frame)
        if len(data) % 2:
            return [Garbled(channel, "data is not pairs of type and values", frame)]
        out = self._flush() if self._objects else []
        if len(data) == 2:  # nearly always
            reason = self._compact(channel, data[0], data[1], frame)
            return [*out, Garbled(channel, reason, frame)] if reason else out
        for event, values in zip(data[::2], data[1::2], strict=True):
            reason = self._compact(channel, event, values, frame)
            if reason:
                out.append(Garbled(channel, reason, frame))
        return out

    def _compact(self, channel: int, event: Any, values: Any, frame: Frame) -> str:
        """Keep the values for slicing; give the reason why that cannot be."""
        if not isinstance(event, str) or event not in _EVENTS:
            return "unknown event type"
        fields = self._layouts.get((channel, event))
        if fields is None:
            return f"{event} before its layout was announced"
        if not isinstance(values, list) or len(values) % len(fields):
            return f"{event} values are not a multiple of {len(fields)} fields"
        if values:
            pending = self._pending.get((channel, event))
            if pending is None:
                pending = self._pending[channel, event] = _Pending(fields)
            pending.values += values
            pending.frames.append((len(values) // len(fields), frame))
            if self._scanner is not None and event == PRINTS:
                self._scanner.learn_from(fields, values)
        return ""

    def _full(self, channel: int, data: Sequence[Any], frame: Frame) -> list[Decoded]:
        """Keep rows that are objects, which a server may send although we ask for lists."""
        out = self._flush() if self._pending else []
        is_whole = True
        for row in data:
            event = row.get("eventType") if isinstance(row, dict) else None
            if isinstance(event, str) and event in _EVENTS and _has_symbol(row):
                waiting = self._objects.setdefault((channel, event), [])
                waiting.append((row, frame.ts_recv_ns))
            else:
                is_whole = False
        if not is_whole:
            out.append(Garbled(channel, "row without a known eventType and a symbol", frame))
        return out

    def _flush(self) -> list[Decoded]:
        """What was scanned, and what waits sliced into columns."""
        out: list[Decoded] = [*self._scan.take()] if self._scan is not None else []
        for (channel, event), pending in self._pending.items():
            out += _sliced(channel, event, pending)
        for (channel, event), told in self._objects.items():
            rows, stamps = zip(*told, strict=True)
            names = {name: None for row in rows for name in row if name != "eventType"}
            values = {name: [row.get(name) for row in rows] for name in names}
            out.append(Rows(channel, event, values, np.array(stamps, np.int64)))
        self._pending.clear()
        self._objects.clear()
        return out


def _sliced(channel: int, event: Event, pending: _Pending) -> list[Decoded]:
    """The rows of what waits; where a symbol is no text, the frame it came in is garbled."""
    width = len(pending.fields)
    values = {name: pending.values[place::width] for place, name in enumerate(pending.fields)}
    if set(map(type, values[SYMBOL_FIELD])) == {str}:
        counts, frames = zip(*pending.frames, strict=True)
        stamps = np.array([frame.ts_recv_ns for frame in frames], np.int64)
        return [Rows(channel, event, values, np.repeat(stamps, counts))]
    if len(pending.frames) == 1:
        return [Garbled(channel, f"{event} symbol is not text", pending.frames[0][1])]
    out: list[Decoded] = []
    start = 0
    for count, frame in pending.frames:
        end = start + count * width
        own = _Pending(pending.fields, pending.values[start:end], [(count, frame)])
        out += _sliced(channel, event, own)
        start = end
    return out


def _has_symbol(row: dict[str, Any]) -> bool:
    return isinstance(row.get(SYMBOL_FIELD), str)


def _is_layout(names: Any) -> bool:
    return (
        isinstance(names, list)
        and SYMBOL_FIELD in names
        and all(isinstance(name, str) for name in names)
        and len(set(names)) == len(names)
    )
