"""Prints out of the bytes of frames, without a Python object for each value.

Only the common case is read here: a frame that is nothing but TimeAndSale rows in a layout that was
announced, written without spaces, its words met before. Whatever else comes is left to the
decoder, whose words are learnt, so that the next such frame is read here. Importing this loads the
kernel's library, which takes half a second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.log import Log
from ingest import dxlink_scan_kernel as kernel
from ingest.dxlink_decode import SYMBOL_FIELD, Frame, Scanned
from ingest.dxlink_scan_kernel import NO_WORD, SLOTS, WORD_BYTES_MAX, WORDS_MAX

log = Log("dxlink")
Ints = NDArray[np.int64]

_WORDS = {word: place for place, word in enumerate(kernel.SEEDS)}
_ANY = (0, WORDS_MAX)
_NONE = (WORDS_MAX, NO_WORD)  # no word is in there
_NUMBER = (_WORDS["NaN"], _WORDS["-Infinity"])
_NAN = (_WORDS["NaN"], _WORDS["NaN"])
_SIDE = (_WORDS["SELL"], _WORDS["BUY"])
_KIND = (_WORDS["NEW"], _WORDS["CANCEL"])
# Of each field: what its values are, which words may stand there, and what it is where not told.
_WHOLES: dict[str, tuple[int, tuple[int, int], int]] = {
    "index": (kernel.WHOLE, _NONE, 0),
    "eventFlags": (kernel.WHOLE, _NONE, 0),
    "timeNanoPart": (kernel.WHOLE, _NONE, 0),
    "size": (kernel.SIZE, _NAN, 0),
    "aggressorSide": (kernel.TEXT, _SIDE, _WORDS["UNDEFINED"]),
    "spreadLeg": (kernel.FLAG, _NONE, False),
    "validTick": (kernel.FLAG, _NONE, True),
    "type": (kernel.TEXT, _KIND, _WORDS["NEW"]),
    "exchangeSaleConditions": (kernel.TEXT_OR_NULL, _ANY, NO_WORD),
    SYMBOL_FIELD: (kernel.TEXT, _ANY, NO_WORD),
}
_REALS = ("price", "bidPrice", "askPrice")
_NEEDED = {SYMBOL_FIELD, "index", "price"}
_TAUGHT = (SYMBOL_FIELD, "exchangeSaleConditions")
# Places in the kernel's answer.
_PLACES = {name: place for place, name in enumerate(_WHOLES, kernel.RECV + 1)}
_REAL_PLACES = {name: place for place, name in enumerate(_REALS)}


@dataclass(frozen=True, slots=True)
class Layout:
    """How frames of a channel begin, and what their values are, as the kernel takes it."""

    head: bytes
    told: kernel.Layout
    missing: tuple[str, ...]


class Scanner:
    """The words met so far. One thread uses it, for all its connections."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._is_full = False
        self.words: list[str] = []
        # As the kernel reads them; a word's number is its place in `words`.
        self.slots = np.zeros((SLOTS, 3), np.int64)
        self.slots[:, 2] = NO_WORD
        self.learn(kernel.SEEDS)
        self._warm_up()

    def learn(self, words: Iterable[str]) -> None:
        """Know words from now on; no more than WORDS_MAX, and none that is long or not plain."""
        for word in words:
            if word in self._known or not _is_plain(word):
                continue
            if len(self.words) == WORDS_MAX:
                self._tell_full(word)
                return
            raw = np.frombuffer(word.encode() + b'"', np.uint8)
            slot, _ = kernel.read_word(raw, 0, self.slots)
            key = word.encode().rjust(WORD_BYTES_MAX, b"\0")
            self.slots[slot] = int.from_bytes(key[8:]), int.from_bytes(key[:8]), len(self.words)
            self.words.append(word)
            self._known.add(word)

    def _tell_full(self, word: str) -> None:
        """Say once that there is no room for a word; frames with it are parsed as ever."""
        if not self._is_full:
            self._is_full = True
            cost = "frames with other words are parsed, which is slower"
            log.warning("words.full", words=WORDS_MAX, first_without=word, cost=cost)

    def learn_from(self, names: Sequence[str], values: Sequence[Any]) -> None:
        """Know the words of a frame of prints."""
        for name in _TAUGHT:
            if name in names:
                column = values[names.index(name) :: len(names)]
                self.learn({word for word in column if isinstance(word, str)})

    @staticmethod
    def layout_of(channel: int, names: Sequence[str]) -> Layout | None:
        """The layout of a channel's prints; None for one that is not read here."""
        if not _NEEDED <= set(names) <= {*_WHOLES, *_REALS}:
            return None
        head = b'{"type":"FEED_DATA","channel":%d,"data":["TimeAndSale",[' % channel
        fields = [
            (kernel.REAL, _REAL_PLACES[name], *_NUMBER)
            if name in _REALS
            else (_WHOLES[name][0], _PLACES[name], *_WHOLES[name][1])
            for name in names
        ]
        missing = tuple(name for name in (*_WHOLES, *_REALS) if name not in names)
        told = kernel.Layout(np.frombuffer(head, np.uint8), np.array(fields, np.int64))
        return Layout(head, told, missing)

    def over(self, frames: Sequence[Frame]) -> "Scan":
        """Begin with frames that came together."""
        return Scan(self, frames)

    def _warm_up(self) -> None:
        """Load the compiled kernel, or compile it once for this machine, before frames wait."""
        layout = self.layout_of(1, [SYMBOL_FIELD, "index", "price"])
        assert layout is not None
        scan = self.over([Frame(0, layout.head + b'"NEW",1,1.5]]}')])
        assert scan.read(0, 1, layout) == 1
        assert len(scan.take()) == 1


@dataclass(slots=True)
class _Waiting:
    """Rows of one channel, not taken yet."""

    layout: Layout
    out: kernel.Out
    rows: int = 0


class Scan:
    """A pass over frames that came together; the decoder says where to read on."""

    def __init__(self, scanner: Scanner, frames: Sequence[Frame]) -> None:
        self._scanner = scanner
        payloads = [frame.payload for frame in frames]
        sizes = list(map(len, payloads))
        raw = np.frombuffer(b"".join([*payloads, kernel.PADDING]), np.uint8)
        told = np.array([sizes, [frame.ts_recv_ns for frame in frames]], np.int64)
        self._text = kernel.Text(raw, *told)
        self._starts = [0, *accumulate(sizes)]
        self._waiting: dict[int, _Waiting] = {}

    def read(self, frame: int, channel: int, layout: Layout) -> int:
        """Keep the rows of a frame and those after it; give the first that is not of this kind."""
        at = self._starts[frame]
        waiting = self._waiting.get(channel)
        if waiting is None:
            waiting = self._waiting[channel] = self._opened(at, layout)
        cursor = frame, at, waiting.rows
        words, out = self._scanner.slots, waiting.out
        frame, _, waiting.rows = kernel.scan(self._text, layout.told, words, out, cursor)
        return frame

    def take(self) -> list[Scanned]:
        """What was kept since the last call, by channel."""
        taken = [
            self._lined_up(channel, waiting)
            for channel, waiting in self._waiting.items()
            if waiting.rows
        ]
        self._waiting.clear()
        return taken

    def _opened(self, at: int, layout: Layout) -> _Waiting:
        """Room for as many rows as the bytes that are left can hold; no memory until written."""
        room = (len(self._text.raw) - at) // (2 * len(layout.told.fields)) + 1
        ints = np.empty((1 + len(_WHOLES), room), np.int64)
        return _Waiting(layout, kernel.Out(ints, np.empty((len(_REALS), room))))

    def _lined_up(self, channel: int, waiting: _Waiting) -> Scanned:
        rows, words = waiting.rows, self._scanner.words
        ints, reals = waiting.out.ints[:, :rows], waiting.out.reals[:, :rows]
        for name in waiting.layout.missing:
            if name in _REALS:
                reals[_REAL_PLACES[name]] = np.nan
            else:
                ints[_PLACES[name]] = _WHOLES[name][2]
        order, spans = np.empty(rows, np.int64), np.empty((len(words), 2), np.int64)
        places = np.full(len(words), NO_WORD)
        count = kernel.line_up(ints[_PLACES[SYMBOL_FIELD]], places, order, spans)
        last_ns = int(ints[kernel.RECV, -1])
        # Each its own: some columns are remembered for minutes, and shall not keep the others.
        values: dict[str, NDArray[Any]] = {n: ints[at].take(order) for n, at in _PLACES.items()}
        values |= {name: reals[at].take(order) for name, at in _REAL_PLACES.items()}
        values["aggressorSide"] = (values["aggressorSide"] - _WORDS["UNDEFINED"]).astype(np.int8)
        values["type"] = values["type"] - _WORDS["NEW"]
        for name in ("spreadLeg", "validTick"):
            values[name] = values[name].astype(np.bool_)
        ends = spans[:count].tolist()
        starts = [0, *[end for _, end in ends]]
        named = [
            (words[word], slice(start, end))
            for (word, end), start in zip(ends, starts, strict=False)
        ]
        stamps_ns = ints[kernel.RECV].take(order)
        return Scanned(channel, values, stamps_ns, last_ns, named, words)


def _is_plain(word: str) -> bool:
    return (
        len(word) <= WORD_BYTES_MAX
        and word.isascii()
        and word.isprintable()
        and not {'"', "\\"} & {*word}
    )
