"""Whether the tape of each contract is whole, and what to do where it may not be.

Live rows come first. Then everything since the last row held is asked for again, with some overlap,
and merged by index. A hole counts as closed only when that history came to its end and brought a
row we held before the hole. Anything else stays written in the ledger.
"""

from collections.abc import Callable, Sequence

import numpy as np

from core.batch import TickBatch
from core.clock import NS_PER_S, NS_PER_US, Clock
from core.errors import BadTicket, Unavailable
from core.log import Log
from core.session import session_at
from ingest import dxlink_wire as wire
from ingest.backfill import IMPORT
from ingest.dxlink_columns import SOURCE, Columns, Prints, event_us
from ingest.dxlink_known import Known
from ingest.dxlink_line import Line, Patience, Snapshot, Tape
from ingest.dxlink_wire import (
    HISTORY,
    REMOVE,
    SNAPSHOT_BEGIN,
    SNAPSHOT_END,
    SNAPSHOT_SNIP,
    Item,
    Message,
)
from ingest.dxlink_witness import Court, Verdict
from ingest.gapbook import Gap, GapBook
from ingest.rolls import Instrument
from ingest.superseded import NEAR_US, cancels

log = Log("dxlink")
OVERLAP_US = 5_000_000  # rows of a feed may come this much out of order


class Continuity:
    """Every line of a feed. One thread calls it, in the order things arrived."""

    def __init__(
        self,
        keep: Callable[[TickBatch], None],
        book: GapBook,
        tape: Tape,
        ask: Callable[[int, Sequence[Message]], None],
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._keep = keep
        self._book = book
        self._tape = tape
        self._ask = ask
        self._clock = clock
        self._patience = patience
        self._lines: dict[str, Line] = {}
        self._live: list[int] = []
        self.duplicates = 0
        self.stale: list[int] = []  # connections that did not deliver; the caller hangs up
        self.verdicts: list[tuple[Instrument, Verdict]] = []  # for the caller to write down

    def live(self, connection: int, instruments: Sequence[Instrument]) -> None:
        """A connection delivers; whatever lies before it has yet to be proven.

        Where another delivers already, both do for a while, and no line has a hole.
        """
        is_taking_over = bool(self._live)
        self._live.append(connection)
        wanted = {i.streamer_symbol: i for i in instruments if i.has_prints}
        for symbol, instrument in wanted.items():
            is_new = symbol not in self._lines
            if is_new:
                self._lines[symbol] = self._open_line(instrument)
            if is_new or not is_taking_over:
                self._suspect(self._lines[symbol], "the feed was not connected")
        for symbol in [s for s in self._lines if s not in wanted]:
            self.leave(symbol, "no longer listened to")

    @property
    def connection(self) -> int | None:
        """The newest connection that delivers."""
        return self._live[-1] if self._live else None

    def lines(self) -> list[Line]:
        """Every contract looked after."""
        return list(self._lines.values())

    def join(self, instrument: Instrument) -> None:
        """Prints come of a contract that had none: its tape begins now."""
        line = self._open_line(instrument)
        line.last_us = None
        self._lines[instrument.streamer_symbol] = line

    def leave(self, streamer_symbol: str, reason: str) -> None:
        """Do not look after a contract any more."""
        line = self._lines.pop(streamer_symbol, None)
        if line is not None and line.gap is not None:
            self._give_up(line, reason)

    def lost(self, connection: int, reason: str) -> None:
        """A connection is gone and everything it brought has been given to `prints`."""
        if connection in self._live:
            self._live.remove(connection)
        self.history_lost(connection)
        if not self._live:
            for line in self._lines.values():
                line.live_us = None
                self._open_gap(line, f"connection lost: {reason}")

    def suspect(self, connection: int, reason: str) -> None:
        """Prints that a live connection should have brought may not have been kept."""
        if connection in self._live:
            for line in self._lines.values():
                self._suspect(line, reason)

    def history_lost(self, connection: int) -> None:
        """What was asked of a connection's history will not come any more."""
        for line in self._lines.values():
            if line.snapshot is not None and line.snapshot.connection == connection:
                line.snapshot = None
                line.retry_ns = 0

    def prints(self, channel: int, streamer_symbol: str, prints: Prints) -> bool:
        """Merge rows of one contract; False where nobody asked for it."""
        line = self._lines.get(streamer_symbol)
        if line is None:
            return False
        is_mark = (prints.flags & REMOVE) != 0
        data = prints.take(~is_mark) if is_mark.any() else prints
        if channel == HISTORY and line.snapshot is not None:
            self._watch(line, line.snapshot, prints, data)
        if len(data):
            self._merge(line, channel, data)
        if line.snapshot is not None and line.snapshot.has_ended:
            self._judge(line, line.snapshot)
        return True

    def hear_day_volumes(self, streamer_symbol: str, rows: Columns) -> None:
        """Trade rows, as `read_day_volumes` gives them."""
        if line := self._lines.get(streamer_symbol):
            line.court.hear_day_volume(rows, self._clock.monotonic_ns())

    def hear_candles(self, streamer_symbol: str, rows: Columns) -> None:
        """One-minute candles, as `read_candles` gives them."""
        if line := self._lines.get(streamer_symbol):
            line.court.hear_candles(rows, self._clock.monotonic_ns())

    def try_again(self, gap: Gap) -> str:
        """Ask history once more about a hole, open or given up; say what is done.

        Raise BadTicket where it cannot be asked, Unavailable where not now.
        """
        lines = self._lines.values()
        line = next((one for one in lines if one.instrument.contract == gap.contract), None)
        if line is None:
            raise BadTicket(f"{gap.contract or 'that contract'} is not listened to", hint=IMPORT)
        if not self._live:
            raise Unavailable("the feed is not connected", hint="it asks by itself once it is")
        present = self._book.open_gap(gap.contract)
        if present is not None and present.gap_id != gap.gap_id:
            raise Unavailable("a newer hole of this contract is open", hint="ask once it is closed")
        if line.snapshot is not None:
            return "history is being asked already"
        if line.gap is None:
            line.gap = self._book.reopen(gap)
            line.anchor = _last_index(gap.from_us + OVERLAP_US)
            line.live_us = None if gap.to_us is None else gap.to_us - OVERLAP_US
            line.added = 0
            line.attempts = self._patience.attempts_max - 1  # once more, not as often as at first
        self._request(line)
        return f"history of {gap.contract} is asked once more"

    def tick(self) -> None:
        """Look at what did not happen: silent lines, history that stays away, things to retry."""
        now_ns = self._clock.monotonic_ns()
        for line in self._lines.values():
            snapshot = line.snapshot
            if snapshot is not None:
                if now_ns - snapshot.asked_ns > self._patience.snapshot_s * NS_PER_S:
                    self._end_snapshot(line, snapshot)
                    if line.was_silent and not self._has_heard_since(snapshot.asked_ns):
                        self.stale.append(snapshot.connection)
                    self._fail(line, "history did not come to its end")
            elif line.gap is not None and self._live and now_ns >= line.retry_ns:
                self._request(line)
            elif line.gap is None:
                self._listen(line, now_ns)
                self._hold_court(line, now_ns)

    def _has_heard_since(self, ns: int) -> bool:
        """Whether a print of any contract came live; quiet ones stand at the last look."""
        return any(line.live_ns > ns for line in self._lines.values())

    # -- one line ------------------------------------------------------------------------------

    def _open_line(self, instrument: Instrument) -> Line:
        symbol, contract = instrument.symbol, instrument.contract
        last_us = self._tape.last_us(symbol, contract)
        gap = self._book.open_gap(contract)
        starts = [us for us in (last_us, gap.from_us if gap else None) if us is not None]
        floor_us = min(starts) - 2 * OVERLAP_US if starts else 2**62
        known = Known(lambda a, b: self._tape.stored(symbol, contract, a, b), floor_us)
        court = Court(self._patience.witness_grace_s, self._patience.witness_period_s)
        line = Line(instrument, known, last_us, self._clock.monotonic_ns(), gap, court=court)
        if gap is not None:
            line.anchor = _last_index(gap.from_us + OVERLAP_US)
        return line

    def _suspect(self, line: Line, reason: str) -> None:
        """Rows may be missing: write it down and ask for them."""
        if line.last_us is None:
            return  # there is no tape yet that could have a hole
        line.live_us = None
        self._open_gap(line, reason)
        if line.snapshot is not None:
            line.snapshot.is_spoiled = True
        else:
            line.attempts = 0
            self._request(line)

    def _open_gap(self, line: Line, reason: str) -> None:
        if line.gap is None and line.last_us is not None:
            about = line.instrument
            from_us = line.last_us - OVERLAP_US
            line.gap = self._book.open(about.symbol, about.contract, from_us, reason)
            line.anchor = line.known.newest
            line.added = 0
            line.attempts = 0

    def _request(self, line: Line) -> None:
        assert line.gap is not None
        if not self._live:
            return
        connection = self._live[-1]
        item = Item("TimeAndSale", line.instrument.streamer_symbol, line.gap.from_us // 1_000)
        line.snapshot = Snapshot(connection, item, self._clock.monotonic_ns())
        self._ask(connection, wire.subscribe(HISTORY, [item]))

    def _watch(self, line: Line, snapshot: Snapshot, prints: Prints, data: Prints) -> None:
        """Follow history through its flags, before its rows are merged."""
        flags = int(np.bitwise_or.reduce(prints.flags)) if len(prints) else 0
        snapshot.has_begun |= bool(flags & SNAPSHOT_BEGIN)
        if not snapshot.has_begun:
            return
        if len(data):
            before = data.index[data.index <= line.anchor]
            snapshot.has_anchor |= bool(line.known.holds(before).any())
            snapshot.oldest = min(snapshot.oldest, int(data.index.min()))
        snapshot.is_snipped |= bool(flags & SNAPSHOT_SNIP)
        snapshot.has_ended |= bool(flags & (SNAPSHOT_END | SNAPSHOT_SNIP))

    def _merge(self, line: Line, channel: int, data: Prints) -> None:
        newest_us = int(data.columns["ts_event"].max())
        if channel != HISTORY:
            line.heard_ns = line.live_ns = self._clock.monotonic_ns()
            line.lag_us = int(data.columns["ts_recv"][-1]) - newest_us
            if line.gap is not None and line.live_us is None:
                line.live_us = int(data.columns["ts_event"][0])
        fresh = line.known.fresh(data)
        self.duplicates += len(data) - len(fresh)
        if len(fresh):
            about = line.instrument
            told = ("trades", about.symbol, about.contract, SOURCE, fresh.columns)
            batch = TickBatch(*told, is_sound=fresh.is_sound)
            if channel == HISTORY:
                line.added += len(fresh)
                self._supersede(batch)
            self._keep(batch)
            line.court.add(fresh, is_live=channel != HISTORY)
        line.last_us = max(line.last_us or 0, newest_us)

    def _supersede(self, batch: TickBatch) -> None:
        """Cancel what a second witness repaired meanwhile of the same trades.

        Before they are kept: whoever is killed in between finds the gap open, and asks again.
        """
        times = np.asarray(batch.columns["ts_event"], np.int64)
        span = int(times.min()) - NEAR_US, int(times.max()) + NEAR_US
        for copies in self._tape.copies(batch.symbol, batch.contract, *span):
            withdrawn = cancels(batch, copies)
            if withdrawn is not None:
                self._keep(withdrawn)
                log.info("repairs.superseded", contract=batch.contract, rows=withdrawn.rows)

    def _judge(self, line: Line, snapshot: Snapshot) -> None:
        """History came to an end: see whether it proves the hole closed."""
        assert line.gap is not None
        self._end_snapshot(line, snapshot)
        if snapshot.is_spoiled:
            self._request(line)
        elif snapshot.is_snipped and not _reaches(snapshot, line.gap.from_us):
            # Everything after the oldest row it brought is whole.
            self._give_up(line, "history reaches less far back", to_us=event_us(snapshot.oldest))
        elif snapshot.has_anchor:
            if line.was_silent and line.added:
                self.stale.append(snapshot.connection)
            self._book.close(
                line.gap,
                "backfilled",
                to_us=self._hole_end_us(line),
                rows=line.added,
                reason="history reaches back to a row held before",
            )
            self._whole(line)
            self._hear_again(line)
        else:
            self._fail(line, "history holds no row that was held before")

    def _hold_court(self, line: Line, now_ns: int) -> None:
        """Where a witness saw more than was heard, ask history about that time."""
        for verdict in line.court.judge(now_ns):
            self.verdicts.append((line.instrument, verdict))
            if verdict.is_acted_on and line.gap is None:
                about, claim = line.instrument, verdict.claim
                from_us = event_us(line.known.newest_until(claim.after)) - OVERLAP_US
                line.gap = self._book.open(about.symbol, about.contract, from_us, verdict.reason)
                line.anchor, line.claim = claim.after, claim
                line.live_us = event_us(claim.upto)
                line.added = line.attempts = 0
                self._request(line)

    def _hear_again(self, line: Line) -> None:
        """History is merged; where a witness proved right before still saw more, say so."""
        claim, line.claim = line.claim, None
        if claim is not None and line.court.again(claim, line.added):
            about = line.instrument
            reason = f"the {claim.witness} counts more than history has"
            gap = self._book.open(about.symbol, about.contract, event_us(claim.after), reason)
            to_us = event_us(claim.upto)
            self._book.close(gap, "unrepairable", to_us=to_us, rows=0, reason="nobody has it")

    def _fail(self, line: Line, reason: str) -> None:
        line.attempts += 1
        if line.attempts >= self._patience.attempts_max:
            self._give_up(line, reason)
        else:
            wait_ns = int(self._patience.retry_s * NS_PER_S)
            line.retry_ns = self._clock.monotonic_ns() + wait_ns

    def _give_up(self, line: Line, reason: str, *, to_us: int | None = None) -> None:
        assert line.gap is not None
        end_us = self._hole_end_us(line)
        end_us = end_us if to_us is None else min(to_us, end_us)
        self._book.close(line.gap, "unrepairable", to_us=end_us, rows=line.added, reason=reason)
        claim, line.claim = line.claim, None
        if claim is not None:
            line.court.again(claim, 0)
        line.court.floor = None  # a candle of the hole would only tell of it again
        self._whole(line)

    def _whole(self, line: Line) -> None:
        line.gap = None
        line.was_silent = False
        line.heard_ns = self._clock.monotonic_ns()

    def _end_snapshot(self, line: Line, snapshot: Snapshot) -> None:
        line.snapshot = None
        self._ask(snapshot.connection, [wire.unsubscribe(HISTORY, [snapshot.item])])

    def _hole_end_us(self, line: Line) -> int:
        """From when on rows came live; our own clock where none has come yet."""
        if line.live_us is not None:
            return line.live_us + OVERLAP_US
        return max(self._clock.now_ns() // NS_PER_US, line.last_us or 0)

    def _listen(self, line: Line, now_ns: int) -> None:
        """A line silent for too long in an open market is suspect; history tells."""
        if now_ns - line.heard_ns <= self._patience.silent_rth_s * NS_PER_S:
            return
        session = session_at(self._clock.now_ns(), line.instrument.market)
        if session == "closed":
            line.heard_ns = now_ns
            return
        patience = self._patience
        allowed_s = patience.silent_rth_s if session == "rth" else patience.silent_eth_s
        if self._live and now_ns - line.heard_ns > allowed_s * NS_PER_S:
            line.heard_ns = now_ns
            line.was_silent = True
            self._suspect(line, f"silent for {allowed_s:.0f} s in an open market")


def _reaches(snapshot: Snapshot, from_us: int) -> bool:
    """A row held before is not enough: prints that it overtook may be older than what was cut."""
    return snapshot.has_anchor and event_us(snapshot.oldest) <= from_us


def _last_index(us: int) -> int:
    """The greatest index of a print at or before a time."""
    return (us // 1_000_000) << 32 | (us // 1_000 % 1_000) << 22 | 0x3FFFFF
