"""The mirror: shares the durable rows of the hot hour on Redis, for other programs.

It follows the tape through mapped segments like any reader, so the writer knows nothing of it and
never waits. A row is shared once a power cut can no longer take it. Nothing is buffered: what Redis
has not taken yet stays in the segments, and where Redis was away for longer than the hot hour, the
streams go on at the hour's start.
"""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from core.board import Board
from core.clock import MINUTE_NS, NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from core.errors import BusError, BusLost, BusRefused
from core.log import Log
from storage.bus import Bus, Changes
from storage.bus_entries import live_commands
from storage.bus_keys import (
    AT_ONCE,
    MIRRORED,
    TAPE,
    LastTrade,
    Marks,
    TapeState,
    entry_id,
    live_channel,
    stream_key,
    tape_fields,
)
from storage.bus_latest import LastTrades, NewestSnapshots
from storage.bus_lengths import Lengths
from storage.bus_patience import Patience
from storage.bus_round import Gatherer, Round, symbols_of
from storage.floor import first_needed
from storage.head import Word
from storage.view import Views

log = Log("mirror")
LOOK_S: Final = 0.005  # at one word, from when rows should have become durable again
LOOK_S_MAX: Final = 0.012  # where they have not
LOOK_AT_ALL_S: Final = 0.5  # at tables whose rows may wait, seals, rows durable in another way
STAMP_S: Final = 1.0
CHECK_S: Final = 5.0
TRIM_S: Final = 60.0
ROUND_ROWS_MIN: Final = 256
ROUND_ROWS_MAX: Final = 32_768
LAGS_KEPT_S: Final = 10
LAGS_KEPT_MAX: Final = 10_000
TAKEN_UP: Final = "it is taken up again and filled in from the tape"


@dataclass(frozen=True, slots=True)
class Shared:
    """What is shared: an id that tells this tape from others, and how many minutes of it.

    Rows become durable every `commit_ms`, which says when to look for them.
    """

    tape_id: str
    hot_minutes: int
    commit_ms: int


class Mirror:
    """Follows the tape until told to stop; `run` does not raise for what Redis does."""

    def __init__(self, views: Views, bus: Bus, shared: Shared, clock: Clock, board: Board) -> None:
        self._views = views
        self._bus = bus
        self._shared = shared
        self._clock = clock
        self._board = board
        self._round = 0
        self._marks: dict[str, Marks] = {}
        self._tops: dict[str, dict[str, int]] = {}  # what streams held when they were taken up
        self.lengths = Lengths(bus)
        self._lasts = LastTrades(views.hot)
        self._snapshots = NewestSnapshots(views.hot, 0)
        self._gatherer = Gatherer(views.hot, self._tops, self._snapshots)
        self._heard: frozenset[bytes] = frozenset()  # channels, when they were last asked of
        self._fronts: dict[str, str] = {}
        self._rows_max = ROUND_ROWS_MAX
        self._behind_since_ns: int | None = None
        self._lags_ms: deque[tuple[int, float]] = deque([(0, 0.0)], maxlen=LAGS_KEPT_MAX)
        self._looked_ns = 0
        self._looked_at_all_ns = 0
        self._news = 0
        self._passes = 0
        self._stamped_ns = 0
        self._checked_ns = 0
        self._trimmed_ns = 0
        self._is_linked = False

    def run(self, stopping: threading.Event) -> None:
        """Take up what Redis has and follow from there; begin again after every fault."""
        patience = Patience(log, self._board, "redis")
        while not stopping.is_set():
            try:
                self._bus.open()
                self._take_up()
                while not stopping.is_set():
                    self._step()
                    if not self._is_linked:
                        patience.succeeded()
                        self._is_linked = True
            except BusError as error:
                self._is_linked = False
                if isinstance(error, BusLost):
                    # A slow link may need smaller rounds to be through in time.
                    self._rows_max = max(self._rows_max // 2, ROUND_ROWS_MIN)
                patience.failed(error, stopping)
        self._bus.close()

    def show(self) -> None:
        """Bring the board up to date; for another thread, since this one may have to wait."""
        hot = self._views.hot
        marks = dict(self._marks)
        behind = sum(hot.watermarks(t).durable_seq - m.last_seq for t, m in marks.items())
        now_ns, since_ns = self._clock.monotonic_ns(), self._behind_since_ns
        kept_ns = now_ns - LAGS_KEPT_S * NS_PER_S
        last_ms = self._lags_ms[-1][1]
        lag_ms = last_ms if since_ns is None else (now_ns - since_ns) / NS_PER_MS
        lags_ms = sorted(ms for at_ns, ms in self._lags_ms.copy() if at_ns > kept_ns) or [lag_ms]
        self._board.gauge("behind_rows", float(behind))
        self._board.gauge("lag_ms", lag_ms)
        self._board.gauge("lag_ms_p99", lags_ms[len(lags_ms) * 99 // 100])
        if self._is_linked:
            self._board.state("redis", "ok", f"{behind:,} rows behind", limit_s=5)

    # -- taking up -----------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Find out what Redis has; raise BusRefused where it is not of this tape."""
        state = self._bus.tape()
        if state is not None and state.id != self._shared.tape_id:
            raise BusRefused(
                f"Redis at {self._bus.place} carries the tape of another data folder",
                hint="use another database, as in redis://HOST:6379/1, or delete its tickflight:* "
                "keys",
            )
        self._round = state.round if state else 0
        known = state.tables if state else {}
        self._tops.clear()
        self._marks = {table: self._resumed(table, known.get(table)) for table in MIRRORED}
        hot = self._views.hot
        self._lasts = LastTrades(hot)
        self._snapshots = NewestSnapshots(hot, self._marks["gex"].last_seq)
        self._gatherer = Gatherer(hot, self._tops, self._snapshots)
        self._stamped_ns, self._looked_ns = 0, self._clock.monotonic_ns()
        self._checked_ns = self._looked_ns
        self._tell_fronts()
        self._trim(is_anew=True)
        log.info("mirror.took_up", place=self._bus.place, round=self._round)

    def _resumed(self, table: str, marks: Marks | None) -> Marks:
        """Where to go on: after what Redis has, or at the hot hour's start."""
        hot = self._views.hot
        durable_seq = hot.watermarks(table).durable_seq
        if marks is not None and marks.last_seq > durable_seq:
            raise BusRefused(
                f"Redis has {table} to seq {marks.last_seq}, the tape ends at {durable_seq}",
                hint="the data folder seems to be an older copy; delete the tickflight:* keys on "
                "Redis, and they are filled again from the tape",
            )
        floor = self._floor(table, marks)
        named = marks.symbols if marks else ()
        symbols = sorted({*named, *symbols_of(hot, table)})
        found = {symbol: self._bus.top(stream_key(table, symbol)) for symbol in symbols}
        tops = {symbol: top for symbol, top in found.items() if top is not None}
        for symbol, top in tops.items():
            if top > durable_seq:
                key = stream_key(table, symbol).decode()
                raise BusRefused(
                    f"Redis has {key} to seq {top}, {table} on the tape ends at {durable_seq}",
                    hint=f"delete {key}, and it is filled again; nobody else may add to it",
                )
        self._tops[table] = tops
        is_whole = all(symbol in tops for symbol in named)
        if marks is not None and is_whole and marks.last_seq >= floor - 1:
            return marks
        version = hot.table(table).head.words[Word.LAKE_VERSION]
        return Marks(floor, floor - 1, version, tuple(tops))

    def _floor(self, table: str, marks: Marks | None) -> int:
        """The first seq to keep on Redis; it never goes back."""
        hot_ns = self._shared.hot_minutes * MINUTE_NS
        cutoff_us = (self._clock.now_ns() - hot_ns) // NS_PER_US
        after_seq = marks.first_seq - 1 if marks else 0
        return first_needed(self._views.view(), table, cutoff_us=cutoff_us, after_seq=after_seq)

    # -- following -----------------------------------------------------------------------------

    def _step(self) -> None:
        """One look at the tape; raise BusLost where Redis has to be taken up again."""
        looked_ns = self._clock.monotonic_ns()
        if looked_ns - self._checked_ns > CHECK_S * NS_PER_S:
            self._checked_ns = looked_ns
            self._check_streams()
            self._tell_fronts()
            if looked_ns - self._trimmed_ns > TRIM_S * NS_PER_S:
                self._trim(is_anew=False)
        since_ns = self._durable_since_ns(looked_ns)
        is_all_due = looked_ns - self._looked_at_all_ns >= LOOK_AT_ALL_S * NS_PER_S
        tables = MIRRORED if is_all_due else AT_ONCE
        news = self._gatherer.gather({t: self._marks[t] for t in tables}, self._rows_max)
        if news is None:
            raise BusLost("rows left memory before Redis had taken them", hint=TAKEN_UP)
        if self._behind_since_ns is None and not news.marks.keys().isdisjoint(AT_ONCE):
            self._behind_since_ns = since_ns
        is_stamp_due = looked_ns - self._stamped_ns > STAMP_S * NS_PER_S
        if news.marks or is_stamp_due:
            self._send(news)
        if not news.is_last:
            return
        if is_all_due:
            self._looked_at_all_ns = looked_ns
        if self._behind_since_ns is not None:
            now_ns = self._clock.monotonic_ns()
            self._lags_ms.append((now_ns, (now_ns - self._behind_since_ns) / NS_PER_MS))
            self._behind_since_ns = None
        self._wait()

    def _durable_since_ns(self, now_ns: int) -> int:
        """The earliest moment at which what is news now can have become durable."""
        words = self._views.hot.table("trades").head.words
        self._news = words[Word.NEWS]
        passes, passed_ns = words[Word.PASSES], words[Word.PASSED_NS]
        # Of several passes since the last look only the last one's time is known.
        is_one = passes - self._passes <= 1
        since_ns = max(passed_ns, self._looked_ns) if is_one else self._looked_ns
        self._looked_ns, self._passes = now_ns, passes
        return since_ns

    def _wait(self) -> None:
        """Sleep until the writer has made rows durable, at most for a while."""
        words = self._views.hot.table("trades").head.words
        end_ns = self._looked_at_all_ns + int(LOOK_AT_ALL_S * NS_PER_S)
        look_s, due_ns = LOOK_S, 0
        if words[Word.ENDED] == words[Word.PASSES]:  # else more of a pass is to come at once
            due_ns = min(words[Word.ENDED_NS] + self._shared.commit_ms * NS_PER_MS, end_ns)
        self._clock.sleep_s(max(due_ns - self._clock.monotonic_ns(), 0) / NS_PER_S + look_s)
        while words[Word.NEWS] == self._news and self._clock.monotonic_ns() < end_ns:
            look_s = min(look_s * 2, LOOK_S_MAX)
            self._clock.sleep_s(look_s)

    def _send(self, news: Round) -> None:
        """Hand a round to Redis, and at its end what is newest."""
        lasts: list[LastTrade] = []
        commands = []
        if news.is_last:
            trades = news.marks.get("trades") or self._marks["trades"]
            lasts = self._lasts.look(trades.symbols, trades.last_seq)
            commands = self._snapshots.look()
        asked = frozenset(live_channel(symbol) for symbol, _ in news.lives)
        commands += live_commands(news.lives, self._heard)
        changes = Changes(news.entries, lasts, tuple(asked), commands)
        heard = self._transact(changes, news.marks)
        self.lengths.add(news.entries)
        # Who began to listen since the last round hears of this one all the same.
        if late := live_commands(news.lives, heard - self._heard):
            self._bus.calls(late)
        self._heard = self._heard - asked | heard
        if news.is_last:
            self._lasts.told()
            self._snapshots.told()
        self._rows_max = min(self._rows_max * 2, ROUND_ROWS_MAX)
        self._board.count("rows", news.rows)
        self._board.count("live_rows_skipped", news.lives_skipped)

    def _transact(self, changes: Changes, marks: Mapping[str, Marks]) -> frozenset[bytes]:
        """Make changes and set marks at once, unless somebody else changed what Redis has.

        Give the channels that are listened to.
        """
        counts = self._round + 1, self._clock.now_ns()
        state = TapeState(self._shared.tape_id, *counts, self._fronts, marks)
        told = [b"HSET", TAPE, *tape_fields(state)]
        all_of_it = replace(changes, commands=[*changes.commands, told])
        heard = self._bus.transact(self._round, all_of_it)
        if heard is None:
            raise BusLost(f"Redis at {self._bus.place} is not as it was left", hint=TAKEN_UP)
        self._round += 1
        self._marks |= marks
        self._stamped_ns = self._clock.monotonic_ns()
        return heard

    # -- trimming ------------------------------------------------------------------------------

    def _check_streams(self) -> None:
        """Raise BusLost where a stream was deleted, evicted or cut behind our back."""
        keys = self._streams()
        # What lost rows is deleted whole: a stream takes nothing below its end.
        short = self.lengths.short(keys)
        if short:
            self._transact(Changes(commands=[(b"DEL", *short)]), {})
        if keys and self._bus.call(b"EXISTS", *keys) < len(keys):
            raise BusLost(f"Redis at {self._bus.place} has lost rows of a stream", hint=TAKEN_UP)

    def _streams(self) -> list[bytes]:
        return [key for table, marks in self._marks.items() for key in marks.streams(table)]

    def _tell_fronts(self) -> None:
        """From the next transaction on, say which contract's trades count as a symbol's last."""
        hot, symbols = self._views.hot, self._marks["trades"].symbols
        self._fronts = {s: front for s in symbols if (front := hot.front(s)) is not None}

    def _trim(self, *, is_anew: bool) -> None:
        """Let go of what is older than the hot hour and sealed, and set the tables' marks.

        Of all tables where they are taken up anew, else of those that have something to let go of.
        """
        self._trimmed_ns = self._clock.monotonic_ns()
        floors = {table: self._floor(table, marks) for table, marks in self._marks.items()}
        trimmed = {
            table: replace(marks, first_seq=min(floors[table], marks.last_seq + 1))
            for table, marks in self._marks.items()
            if is_anew or floors[table] > marks.first_seq
        }
        # XTRIM comes first: Redis runs it even where it is out of memory, and then the rest too.
        commands = [
            [b"XTRIM", key, b"MINID", entry_id(marks.first_seq)]
            for table, marks in trimmed.items()
            for key in marks.streams(table)
        ]
        self._transact(Changes(commands=commands), trimmed)
        self.lengths.note(self._streams())
