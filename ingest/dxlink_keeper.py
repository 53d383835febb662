"""The decoder's side of the feed: entries of the intake into the tape and its ledger.

Nothing heard is thrown away: rows that cannot be read are kept among the rejects and make their
contracts suspect, rows that find the disk full wait until there is room.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from core.batch import Rejected, TickBatch
from core.board import Board
from core.clock import NS_PER_US, Clock
from core.log import Log
from ingest.dxlink_client import PART
from ingest.dxlink_columns import (
    SOURCE,
    Columns,
    Read,
    read_last_trades,
    read_prints,
    read_quotes,
)
from ingest.dxlink_continuity import Continuity, Patience, Tape
from ingest.dxlink_decode import Decoder, Frame, Garbled, Rows
from ingest.dxlink_intake import Entry, Mark
from ingest.dxlink_wire import HISTORY, STREAM, Message
from ingest.gapbook import GapBook, Ledger
from ingest.patient import PatientStore, Take
from ingest.rolls import Instrument

log = Log("dxlink")


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
        self._clock = clock
        self._decoders: dict[int, Decoder] = defaultdict(Decoder)
        self._instruments: dict[str, Instrument] = {}
        self._book = GapBook(self._store, clock, place.tape.open_gaps())
        self._continuity = Continuity(
            self._keep, self._book, place.tape, wire.send, clock, patience
        )
        self._last_trades: dict[str, int] = {}
        self._counted_duplicates = 0

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
                waiting.append(entry.frame)
        if waiting:
            self._decode(connection, waiting)

    def tick(self) -> None:
        """Look at what did not happen, and tell the board."""
        self._continuity.tick()
        for connection in self._continuity.stale:
            log.warning("connection.stale", connection=connection)
            self._wire.drop(connection)
        self._continuity.stale.clear()
        fresh = self._continuity.duplicates - self._counted_duplicates
        self._counted_duplicates += fresh
        if fresh:
            self._board.count("dxlink.duplicates", fresh)

    def _note(self, mark: Mark) -> None:
        if mark.what == "lost":
            self._decoders.pop(mark.connection, None)
            self._continuity.lost(mark.connection, mark.reason)
            return
        self._instruments = {i.streamer_symbol: i for i in mark.instruments}
        self._continuity.live(mark.connection, mark.instruments)
        for instrument in mark.instruments:
            contract = instrument.contract
            if not instrument.has_prints and self._book.open_gap(contract) is None:
                now_us = self._clock.now_ns() // NS_PER_US
                reason = "conflated: the source gives last values, not every print"
                self._book.open(instrument.symbol, contract, now_us, reason)

    def _decode(self, connection: int, frames: Sequence[Frame]) -> None:
        self._board.count("dxlink.frames", len(frames))
        for part in self._decoders[connection].decode(frames):
            if isinstance(part, Garbled):
                self._quarantine(connection, part)
            elif isinstance(part, Rows):
                self._board.count(f"dxlink.rows.{part.event}", len(part))
                self._rows(connection, part)
            elif part["type"] == "CHANNEL_OPENED":
                self._reopened(connection, part["channel"])

    def _reopened(self, connection: int, channel: int) -> None:
        """A channel opened anew on a live connection was closed before."""
        if channel == STREAM:
            self._continuity.suspect(connection, "the server closed the channel")
        elif channel == HISTORY:
            self._continuity.history_lost(connection)

    def _rows(self, connection: int, rows: Rows) -> None:
        rejects: list[Rejected] = []
        match rows.event:
            case "TimeAndSale":
                split, rejects = read_prints(rows)
                for symbol, prints in split:
                    if not self._continuity.prints(rows.channel, symbol, prints):
                        self._board.count("dxlink.rows_unasked", len(prints))
                if rejects:
                    # A refused row is kept, but it may hide a print that history has whole.
                    self._continuity.suspect(connection, f"unreadable: {rejects[0].reason}")
            case "Quote":
                read = read_quotes(rows)
                rejects = read.rejects
                for instrument, columns in self._asked(read, rows):
                    self._keep(_batch("quotes", instrument, columns))
            case "Trade" | "TradeETH":
                read = read_last_trades(rows)
                rejects = read.rejects
                for instrument, columns in self._asked(read, rows):
                    if not instrument.has_prints:
                        self._keep_last_values(instrument, _batch("trades", instrument, columns))
            case _:
                pass
        self._reject([replace(reject, symbol=self._root(reject.symbol)) for reject in rejects])

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

    def _keep_last_values(self, instrument: Instrument, batch: TickBatch) -> None:
        """A new connection repeats the last value; only later ones are news."""
        times: Any = batch.columns["ts_event"]
        news = times > self._last_trades.get(instrument.contract, 0)
        if news.any():
            self._last_trades[instrument.contract] = int(times.max())
            self._keep(batch.take(news))

    def _quarantine(self, connection: int, garbled: Garbled) -> None:
        self._board.count("dxlink.garbled")
        log.warning("frame.garbled", channel=garbled.channel, reason=garbled.reason)
        ts_recv = garbled.frame.ts_recv_ns // NS_PER_US
        raw, reason = garbled.frame.payload, garbled.reason
        self._reject([Rejected("trades", "*", SOURCE, reason, raw, ts_recv)])
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
