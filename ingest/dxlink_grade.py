"""How much of each instrument this token is given: every print, single-trade candles, or less.

The service answers what one is not entitled to with silence. So every instrument begins unproven;
its last trades are held back. Prints prove grade tns. Where last trades move and no print comes,
single-trade candles are asked for; where those stay away too, last trades are all there is, and
they are stored as what they are. Below tns a gap stays open, for nobody knows what is missing.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from core.batch import TickBatch
from core.clock import NS_PER_S, NS_PER_US, Clock
from core.log import Log
from ingest import dxlink_wire as wire
from ingest.dxlink_columns import SOURCE, Columns, event_us
from ingest.dxlink_continuity import Continuity
from ingest.dxlink_wire import HISTORY, REMOVE, TICKS, Item, Message
from ingest.gapbook import GapBook
from ingest.rolls import Instrument

log = Log("dxlink")
HELD_MAX = 1_000
Grade = Literal["unproven", "tns", "asking for ticks", "tick-candle", "conflated"]
GRADES: tuple[Grade, ...] = get_args(Grade)
_LACKS: dict[str, str] = {
    "tick-candle": "tick-candle: the source gives candles of one trade, not the prints themselves",
    "conflated": "conflated: the source gives last values, not every print",
}


@dataclass(slots=True)
class Capture:
    """One instrument and what comes of it."""

    instrument: Instrument
    grade: Grade
    held: deque[TickBatch] = field(default_factory=lambda: deque(maxlen=HELD_MAX))
    last_us: int = 0  # of the newest last trade
    last_index: int = 0  # of the newest single-trade candle
    since_ns: int | None = None  # when last trades began to move without prints


class Captures:
    """Every instrument of a feed; one thread calls it."""

    def __init__(
        self,
        keep: Callable[[TickBatch], None],
        book: GapBook,
        continuity: Continuity,
        ask: Callable[[int, Sequence[Message]], None],
        clock: Clock,
        probe_s: float,
    ) -> None:
        self._keep = keep
        self._book = book
        self._continuity = continuity
        self._ask = ask
        self._clock = clock
        self._probe_ns = int(probe_s * NS_PER_S)
        self._captures: dict[str, Capture] = {}

    def live(self, instruments: Sequence[Instrument]) -> None:
        """A connection delivers these; what was learned of them before still holds."""
        wanted = {instrument.streamer_symbol: instrument for instrument in instruments}
        for symbol in [s for s in self._captures if s not in wanted]:
            del self._captures[symbol]
        for symbol, instrument in wanted.items():
            capture = self._captures.get(symbol)
            if capture is None:
                grade: Grade = "unproven" if instrument.has_prints else "conflated"
                self._captures[symbol] = Capture(instrument, grade)
                self._tell_lack(self._captures[symbol])
            elif capture.grade in _LACKS:
                self._continuity.leave(symbol, "the source gives no prints")
                self._tell_lack(capture)

    def grades(self) -> list[tuple[Instrument, Grade]]:
        """Every instrument with its present grade."""
        return [(capture.instrument, capture.grade) for capture in self._captures.values()]

    def hear_prints(self, symbol: str) -> None:
        """Prints came: nothing proves more."""
        capture = self._captures.get(symbol)
        if capture is None or capture.grade == "tns":
            return
        if capture.grade in _LACKS:
            gap = self._book.open_gap(capture.instrument.contract)
            if gap is not None:
                now_us = self._clock.now_ns() // NS_PER_US
                reason = "from here on every print comes"
                self._book.close(gap, "unrepairable", to_us=now_us, rows=0, reason=reason)
            self._continuity.join(capture.instrument)
        self._set(capture, "tns")
        capture.held.clear()

    def hear_last_trades(self, symbol: str, batch: TickBatch) -> None:
        """A new connection repeats the last value; only later ones are news."""
        capture = self._captures[symbol]
        times = np.asarray(batch.columns["ts_event"], np.int64)
        news = times > capture.last_us
        if not news.any():
            return
        has_moved = capture.last_us > 0
        capture.last_us = int(times.max())
        if capture.grade == "conflated":
            self._keep(batch.take(news))
        elif capture.grade in ("unproven", "asking for ticks"):
            capture.held.append(batch.take(news))
            if has_moved and capture.since_ns is None:
                capture.since_ns = self._clock.monotonic_ns()

    def hear_ticks(self, symbol: str, rows: Columns) -> None:
        """Candles of one trade each."""
        capture = self._captures.get(symbol)
        if capture is None or capture.grade not in ("asking for ticks", "tick-candle"):
            return
        news = ((rows["flags"] & REMOVE) == 0) & (rows["index"] > capture.last_index)
        news &= ~np.isnan(rows["close"]) & np.isfinite(rows["volume"])
        if not news.any():
            return
        if capture.grade == "asking for ticks":
            self._degrade(capture, "tick-candle")
        order = np.flatnonzero(news)[np.argsort(rows["index"][news], kind="stable")]
        index = rows["index"][order]
        capture.last_index = int(index[-1])
        about = capture.instrument
        columns = {
            "ts_event": np.array([event_us(i) for i in index.tolist()], np.int64),
            "ts_recv": rows["ts_recv"][order],
            "price": rows["close"][order],
            "size": rows["volume"][order].astype(np.int64),
            "source_seq": index,
            "grade": np.full(len(order), "tick-candle", object),
        }
        self._keep(TickBatch("trades", about.symbol, about.contract, SOURCE, columns))

    def tick(self) -> None:
        """Give up waiting for what does not come."""
        now_ns = self._clock.monotonic_ns()
        connection = self._continuity.connection
        for symbol, capture in self._captures.items():
            since_ns = capture.since_ns
            if connection is None or since_ns is None or now_ns - since_ns <= self._probe_ns:
                continue
            if capture.grade == "unproven":
                self._set(capture, "asking for ticks")
                capture.since_ns = now_ns
                from_ms = self._clock.now_ns() // 1_000_000
                item = Item("Candle", symbol + TICKS, from_ms)
                self._ask(connection, wire.subscribe(HISTORY, [item]))
            elif capture.grade == "asking for ticks":
                self._degrade(capture, "conflated")
                while capture.held:
                    self._keep(capture.held.popleft())

    def _degrade(self, capture: Capture, grade: Grade) -> None:
        self._continuity.leave(capture.instrument.streamer_symbol, "the source gives no prints")
        self._set(capture, grade)
        self._tell_lack(capture)

    def _set(self, capture: Capture, grade: Grade) -> None:
        capture.grade = grade
        capture.since_ns = None if grade in _LACKS or grade == "tns" else capture.since_ns
        log.info("capture.graded", contract=capture.instrument.contract, grade=grade)

    def _tell_lack(self, capture: Capture) -> None:
        """Keep a gap open while less than every print comes."""
        about = capture.instrument
        if capture.grade in _LACKS and self._book.open_gap(about.contract) is None:
            now_us = self._clock.now_ns() // NS_PER_US
            self._book.open(about.symbol, about.contract, now_us, _LACKS[capture.grade])
