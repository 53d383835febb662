"""The decoder's side of the feed: entries of the intake into the tape and its ledger.

Nothing heard is thrown away: rows that cannot be read are kept among the rejects and make their
contracts suspect, rows that find the disk full wait until there is room.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

from core.batch import NOBODY, Rejected, TickBatch
from core.board import Board
from core.clock import NS_PER_US, Clock
from core.errors import PipelineError
from core.log import Log
from ingest.backfill import Backfills
from ingest.drift import Drift
from ingest.dxlink_board import show
from ingest.dxlink_client import PART
from ingest.dxlink_columns import (
    SOURCE,
    Columns,
    Read,
    event_us,
    read_candles,
    read_day_volumes,
    read_last_trades,
    read_prints,
    read_quotes,
)
from ingest.dxlink_continuity import Continuity
from ingest.dxlink_decode import Decoder, Frame, Garbled, Rows, Scanned
from ingest.dxlink_grade import Captures
from ingest.dxlink_intake import Entry, Mark
from ingest.dxlink_line import Patience, Tape
from ingest.dxlink_wire import CONTRACTS, HISTORY, MINUTES, REMOVE, STREAM, TICKS, Message
from ingest.dxlink_witness import Verdict
from ingest.gapbook import GapBook, Ledger
from ingest.guard import RAW_BYTES_MAX, are_sound
from ingest.patient import PatientStore, Take
from ingest.rolls import Instrument

log = Log("dxlink")
SHOW_TICKS = 25
QUOTES_LACK = "conflated: the source gives last values, not every quote"


class Wire(Protocol):
    """What the keeper asks of the connections."""

    def send(self, connection: int, messages: Sequence[Message]) -> None:
        """Say something on a connection."""

    def drop(self, connection: int) -> None:
        """Hang up on a connection."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of a feed goes: ticks, ledger, board; and what is there already."""

    take: Take
    ledger: Ledger
    tape: Tape
    board: Board
    backfills: Backfills = field(default_factory=Backfills)
    drift: Drift = field(default_factory=Drift)


class Keeper:
    """Decodes and keeps; one thread calls it."""

    def __init__(
        self,
        place: Place,
        wire: Wire,
        *,
        clock: Clock,
        patience: Patience,
        stopping: threading.Event,
    ) -> None:
        self._store = PatientStore(place.take, place.ledger, place.board, PART, stopping)
        self._wire = wire
        self._board = place.board
        self._backfills = place.backfills
        self._drift = place.drift
        self._clock = clock
        # The scanner's library takes half a second to load, and nobody else waits for it.
        from ingest.dxlink_scan import Scanner

        self._scanner = Scanner()
        self._decoders: dict[int, Decoder] = defaultdict(lambda: Decoder(self._scanner))
        self._instruments: dict[str, Instrument] = {}
        self._book = GapBook(self._store, clock, place.tape.open_gaps("trades"))
        self._continuity = Continuity(
            self._keep, self._book, place.tape, wire.send, clock, patience
        )
        self._captures = Captures(
            self._keep, self._book, self._continuity, wire.send, clock, patience.probe_s
        )
        self._quote_book = GapBook(
            self._store, clock, place.tape.open_gaps("quotes"), table="quotes"
        )
        self._counted_duplicates = 0
        self._ticks = 0

    def process(self, entries: Sequence[Entry]) -> None:
        """Everything in the order it came; frames of one connection are decoded together."""
        waiting: list[Frame] = []
        connection = 0
        for entry in entries:
            if waiting and (isinstance(entry, Mark) or entry.connection != connection):
                self._decode(connection, waiting)
                waiting = []
            connection = entry.connection
            if isinstance(entry, Mark):
                self._note(entry)
            else:
                waiting.append(entry)
        if waiting:
            self._decode(connection, waiting)

    def tick(self) -> None:
        """Look at what did not happen and at what is asked of us, and tell the board."""
        for request in self._backfills.take(PART):
            try:
                request.answer.set_result(self._continuity.try_again(request.gap))
            except PipelineError as error:
                request.answer.set_exception(error)
        self._continuity.tick()
        for connection in self._continuity.stale:
            log.warning("connection.stale", connection=connection)
            self._wire.drop(connection)
        self._continuity.stale.clear()
        fresh = self._continuity.duplicates - self._counted_duplicates
        self._counted_duplicates += fresh
        if fresh:
            self._board.count("dxlink.duplicates", fresh)
        self._captures.tick()
        for about, verdict in self._continuity.verdicts:
            self._write_down(about, verdict)
        self._continuity.verdicts.clear()
        self._ticks += 1
        if self._ticks % SHOW_TICKS == 1:
            self._show()

    def _show(self) -> None:
        self._drift.show(self._board)
        self._board.gauge("dxlink.words", len(self._scanner.words))
        show(
            self._board,
            self._captures.grades(),
            self._continuity.lines(),
            self._book,
            self._clock.now_ns(),
            self._clock.monotonic_ns(),
        )
        for decoder in self._decoders.values():
            for channel, period_s in decoder.aggregation_s.items():
                if channel in CONTRACTS:  # a server may speak of others
                    name = CONTRACTS[channel].lower()
                    self._board.gauge(f"dxlink.aggregation_s.{name}", period_s)

    def _write_down(self, about: Instrument, verdict: Verdict) -> None:
        """A candle's verdict is a spot check of its minute; every verdict is counted."""
        claim = verdict.claim
        self._board.count(f"dxlink.checks.{claim.witness.replace(' ', '_')}.{verdict.outcome}")
        if claim.witness != "candle" or verdict.outcome == "unverifiable":
            return
        now_us = self._clock.now_ns() // NS_PER_US
        is_match = verdict.outcome == "match"
        row: dict[str, object] = {
            "symbol": about.symbol,
            "ts_event": now_us,
            "ts_recv": now_us,
            "source": SOURCE,
            "table_name": "trades",
            "witness": claim.witness,
            "from_ts": event_us(claim.after + 1),
            "to_ts": event_us(claim.upto + 1),
            "outcome": verdict.outcome,
            "rows": claim.count,
            "matched": claim.count if is_match else min(verdict.stored, claim.count),
            "detail": "" if is_match else f"{about.contract}: {verdict.stored} of {claim.count}",
        }
        self._store.append_rows("spot_checks", [row])

    def _note(self, mark: Mark) -> None:
        if mark.what == "lost":
            self._decoders.pop(mark.connection, None)
            self._continuity.lost(mark.connection, mark.reason)
            return
        self._instruments = {i.streamer_symbol: i for i in mark.instruments}
        self._scanner.learn(self._instruments)  # before strangers take the room
        self._continuity.live(mark.connection, mark.instruments)
        self._captures.live(mark.instruments)
        wanted = {instrument.contract for instrument in mark.instruments}
        for book in (self._book, self._quote_book):
            book.leave(wanted, "no longer listened to")
        for about in mark.instruments:
            if self._quote_book.open_gap(about.contract) is None:
                now_us = self._clock.now_ns() // NS_PER_US
                self._quote_book.open(about.symbol, about.contract, now_us, QUOTES_LACK)

    def _decode(self, connection: int, frames: Sequence[Frame]) -> None:
        self._board.count("dxlink.frames", len(frames))
        for part in self._decoders[connection].decode(frames):
            if isinstance(part, Garbled):
                self._quarantine(connection, part)
            elif isinstance(part, Rows | Scanned):
                if isinstance(part, Scanned):
                    self._prints(connection, part)  # nothing scanned is refused
                else:
                    self._rows(connection, part)
                self._board.count(f"dxlink.rows.{part.event}", len(part))
            elif part["type"] == "CHANNEL_OPENED":
                self._reopened(connection, part["channel"])

    def _reopened(self, connection: int, channel: int) -> None:
        """A channel opened anew on a live connection was closed before."""
        if channel == STREAM:
            self._continuity.suspect(connection, "the server closed the channel")
        elif channel == HISTORY:
            self._continuity.history_lost(connection)

    def _rows(self, connection: int, rows: Rows) -> None:
        match rows.event:
            case "TimeAndSale":
                rejects = self._prints(connection, rows)
            case "Quote":
                read = read_quotes(rows)
                rejects = read.rejects
                for instrument, columns in self._asked(read, rows):
                    self._keep(_batch("quotes", instrument, columns))
            case "Trade" | "TradeETH":
                rejects = self._last_trades(rows)
            case "Candle":
                read = read_candles(rows)
                rejects = read.rejects
                for symbol, candles in read.by_symbol(rows):
                    self._candles(symbol, candles)
            case _ as never:
                assert_never(never)
        self._reject([replace(reject, symbol=self._root(reject.symbol)) for reject in rejects])

    def _prints(self, connection: int, rows: Rows | Scanned) -> list[Rejected]:
        prints, spans, rejects = read = read_prints(rows)
        now_us = self._clock.now_ns() // NS_PER_US
        if rows.channel == STREAM and spans:
            times = prints.columns["ts_event"]
            newest_us = max(times.item(span.stop - 1) for _, span in spans)
            self._drift.hear(newest_us - rows.last_ns // NS_PER_US)
        if spans and are_sound(prints.columns, now_us, self._drift.behind_us):
            # One look at all takes a fraction of one look for each symbol.
            read = read._replace(prints=replace(prints, is_sound=True))
        for symbol, prints in read.by_symbol():
            if rows.channel == STREAM:
                self._captures.hear_prints(symbol)
            if not self._continuity.prints(rows.channel, symbol, prints):
                self._board.count("dxlink.rows_unasked", len(prints))
        if rejects:
            # A refused row is kept, but it may hide a print that history has whole.
            self._continuity.suspect(connection, f"unreadable: {rejects[0].reason}")
        return rejects

    def _last_trades(self, rows: Rows) -> list[Rejected]:
        read = read_last_trades(rows)
        for about, columns in self._asked(read, rows):
            batch = _batch("trades", about, columns)
            self._captures.hear_last_trades(about.streamer_symbol, batch)
        if rows.event == "Trade":
            for symbol, told in read_day_volumes(rows).by_symbol(rows):
                self._continuity.hear_day_volumes(symbol, told)
        return read.rejects

    def _asked(self, read: Read, rows: Rows) -> Iterator[tuple[Instrument, Columns]]:
        """The good rows of each instrument; others are counted."""
        for symbol, columns in read.by_symbol(rows):
            instrument = self._instruments.get(symbol)
            if instrument is not None:
                yield instrument, columns
            else:
                self._board.count("dxlink.rows_unasked", len(columns["ts_recv"]))

    def _root(self, streamer_symbol: str) -> str:
        instrument = self._instruments.get(streamer_symbol)
        return streamer_symbol if instrument is None else instrument.symbol

    def _candles(self, symbol: str, candles: Columns) -> None:
        if symbol.endswith(TICKS):
            self._captures.hear_ticks(symbol.removesuffix(TICKS), candles)
            return
        kept = (candles["flags"] & REMOVE) == 0
        candles = {name: column[kept] for name, column in candles.items()}
        self._continuity.hear_candles(symbol.removesuffix(MINUTES), candles)

    def _quarantine(self, connection: int, garbled: Garbled) -> None:
        self._board.count("dxlink.garbled")
        log.warning("frame.garbled", channel=garbled.channel, reason=garbled.reason)
        ts_recv = garbled.frame.ts_recv_ns // NS_PER_US
        raw, reason = garbled.frame.payload, garbled.reason
        # A frame that is too long for one row is kept whole in several.
        starts = range(0, max(len(raw), 1), RAW_BYTES_MAX)
        parts = [raw[start : start + RAW_BYTES_MAX] for start in starts]
        self._reject(
            [
                Rejected("trades", NOBODY, SOURCE, _numbered(reason, n, len(parts)), part, ts_recv)
                for n, part in enumerate(parts, 1)
            ]
        )
        self._continuity.suspect(connection, f"unreadable: {reason}")

    def _reject(self, rejects: list[Rejected]) -> None:
        if rejects:
            self._board.count("rejects", len(rejects))
            self._store.reject(rejects)

    def _keep(self, batch: TickBatch) -> None:
        if batch.rows:
            self._store.take(batch)


def _batch(table: str, instrument: Instrument, columns: Columns) -> TickBatch:
    return TickBatch(table, instrument.symbol, instrument.contract, SOURCE, columns)


def _numbered(reason: str, number: int, count: int) -> str:
    return reason if count == 1 else f"{reason} (part {number} of {count})"
