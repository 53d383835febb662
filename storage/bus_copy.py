"""The follower: a hot hour of its own, built from the streams of another server's mirror.

It is a writer like the first one, only that its rows come in the order of `seq` with the numbers
they have. Nothing is sealed here: the lake is the first server's. Marks and entries are read at one
instant, and a table is taken as far as every row is there. Where it fell so far behind that Redis
no longer has the rows after its last, it lets its hot rows go and begins where Redis begins:
everything before that is in the lake.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Final

from core.board import Board
from core.clock import MINUTE_NS, NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from core.errors import BusError, BusLost, BusRefused, DiskFull, LakeError
from core.log import Log
from core.schema import TABLES
from storage.bus import Bus
from storage.bus_keys import MIRRORED, TAPE, Marks, TapeState, entry_id, parse_tape
from storage.bus_merge import Read, logged_rows, numbered_rows, rows_up_to
from storage.bus_patience import Patience
from storage.copy_store import CopyPlace, write_origin
from storage.head import Head, Word
from storage.hot import HotReader
from storage.lake import as_lake
from storage.lake_news import LakeNews
from storage.letting_go import let_go
from storage.opening import open_copy
from storage.store import Store
from storage.view import Manifests

log = Log("follow")
LOOK_S: Final = 0.008
LET_GO_S: Final = 5.0
SILENT_S: Final = 5.0
ENTRIES_MIN: Final = 4  # of one stream at a time
ENTRIES_MAX: Final = 512
READ_BYTES_LOW: Final = 4 << 20  # asks for more entries below, for fewer above
READ_BYTES_HIGH: Final = 32 << 20
NEVER: Final = 1 << 62


class Copy:
    """Follows a tape until told to stop; `run` does not raise for what Redis does."""

    def __init__(
        self, place: CopyPlace, bus: Bus, hot_minutes: int, clock: Clock, board: Board
    ) -> None:
        self._place = place
        self._bus = bus
        self._hot_minutes = hot_minutes
        self._clock = clock
        self._board = board
        self._store: Store | None = None
        self._hot: HotReader | None = None
        self._manifests = Manifests(place.lake)
        self._news = LakeNews(as_lake(place.lake), self._tell_sealed, board)
        self._streams: dict[str, list[bytes]] = {}
        self._entries_max = ENTRIES_MIN
        self._fronts: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._behind_rows = 0
        self._level_ns = clock.monotonic_ns()  # when it last had all there was
        self._stamp_ns = 0
        self._let_go_ns = 0
        self._is_linked = False
        self.settled = threading.Event()  # it had everything once, or found Redis amiss

    def start(self, begin: Mapping[str, int] | None = None) -> None:
        """Open the store as it was left, or beginning anew where a table's first seq is given."""
        if self._store is not None:
            self._store.close()
        self._store = open_copy(self._place, begin or {}, self._clock)
        self._hot = HotReader(self._place.paths)
        self._fronts, self._versions = {}, {}

    def run(self, stopping: threading.Event) -> None:
        """Follow, and begin again after every fault."""
        patience = Patience(log, self._board, "redis")
        hearing = threading.Thread(target=self._news.run, args=(stopping,), name="lake")
        hearing.start()
        while not stopping.is_set():
            try:
                self._bus.open()
                while not stopping.is_set():
                    is_level = self._step()
                    if not self._is_linked:
                        patience.succeeded()
                        self._is_linked = True
                    if is_level:
                        self._level_ns = self._clock.monotonic_ns()
                        self.settled.set()
                        self._clock.sleep_s(LOOK_S)
            except (BusError, DiskFull, LakeError) as error:
                self._is_linked = False
                self.settled.set()
                patience.failed(error, stopping)
        hearing.join()
        self._bus.close()
        if self._store is not None:
            self._store.close()

    def show(self) -> None:
        """Bring the board up to date; for another thread, since this one may have to wait."""
        lag_ms = (self._clock.monotonic_ns() - self._level_ns) / NS_PER_MS
        silent_s = max(self._clock.now_ns() - self._stamp_ns, 0) / NS_PER_S
        self._board.gauge("behind_rows", float(self._behind_rows))
        self._board.gauge("lag_ms", lag_ms)
        if not self._is_linked:
            return
        self._board.gauge("origin_silent_s", silent_s)
        if silent_s > SILENT_S:
            said = f"the first server has told nothing for {silent_s:.0f} s"
            self._board.state("redis", "degraded", said)
        else:
            said = f"{self._behind_rows:,} rows, {lag_ms:,.0f} ms behind"
            self._board.state("redis", "ok", said, limit_s=5)

    # -- one look ------------------------------------------------------------------------------

    def _step(self) -> bool:
        """Take what is new; whether it now has all that is on Redis."""
        assert self._store is not None
        keys = [key for streams in self._streams.values() for key in streams]
        ids = [
            entry_id(self._seq(table)) for table, streams in self._streams.items() for _ in streams
        ]
        commands: list[Sequence[bytes]] = [(b"HGETALL", TAPE)]
        if keys:
            count = b"%d" % self._entries_max
            commands.append((b"XREAD", b"COUNT", count, b"STREAMS", *keys, *ids))
        raw_tape, *found = self._bus.at_once(commands)
        tape = self._checked(parse_tape(raw_tape))
        if self._has_fallen_behind(tape):
            return False
        streams = {table: marks.streams(table) for table, marks in tape.tables.items()}
        if streams != self._streams:
            self._streams = streams  # read again, with the new ones
            return False
        entries = dict(found[0]) if found and found[0] else {}
        for table, marks in tape.tables.items():
            self._take(table, marks, entries)
        self._pace(entries)
        self._follow_lake(tape)
        self._stamp_ns = tape.stamp_ns
        behind = {t: max(m.last_seq - self._seq(t), 0) for t, m in tape.tables.items()}
        self._behind_rows = sum(behind.values())
        return self._behind_rows == 0

    def _checked(self, tape: TapeState | None) -> TapeState:
        if tape is None:
            raise BusLost(
                f"Redis at {self._bus.place} has no tape yet",
                hint="start the first server with the same REDIS_URL",
            )
        paths = self._place.paths
        if not paths.copy_of.exists():
            write_origin(paths, tape.id)
        if paths.copy_of.read_text() != tape.id:
            raise BusRefused(
                f"Redis at {self._bus.place} carries another tape than this folder is a copy of",
                hint="use another --data-dir, or delete this one: it is a copy",
            )
        return tape

    def _has_fallen_behind(self, tape: TapeState) -> bool:
        """Begin anew the tables whose next row is no longer on Redis."""
        begin = {t: m.first_seq for t, m in tape.tables.items() if self._seq(t) < m.first_seq - 1}
        if begin:
            # What is before that is in the lake alone: it must be known before anybody is answered.
            as_lake(self._place.lake).pull(*TABLES)
            log.info("copy.began", tables=",".join(begin), seqs=",".join(map(str, begin.values())))
            self.start(begin)
        return bool(begin)

    def _take(
        self, table: str, marks: Marks, entries: Mapping[bytes, list[tuple[bytes, list[bytes]]]]
    ) -> None:
        """Append a table's rows up to the last seq that every stream was read to."""
        assert self._store is not None
        after_seq = self._seq(table)
        read = {key: entries.get(key, []) for key in marks.streams(table)}
        up_to_seq = rows_up_to(read, marks.last_seq, self._entries_max)
        if up_to_seq <= after_seq:
            return
        if not self._append(table, read, (after_seq, up_to_seq)):
            raise BusLost(
                f"rows of {table} between seq {after_seq} and {up_to_seq} are not on Redis",
                hint="set its maxmemory-policy to noeviction; the first server fills them in again",
            )
        self._board.count("rows", up_to_seq - after_seq)

    def _append(self, table: str, read: Read, seqs: tuple[int, int]) -> bool:
        """Store rows, those of a fast table all at once; False where some are missing."""
        assert self._store is not None
        if TABLES[table].is_fast:
            parts = numbered_rows(table, read, seqs, self._store.words)
            if parts is not None:
                self._store.append_merged(table, parts)
            return parts is not None
        runs = logged_rows(table, read, seqs)
        for run in runs or ():
            first_seq = run.append_to(self._store)
            assert first_seq == run.first_seq, (table, first_seq, run.first_seq)
        return runs is not None

    def _pace(self, entries: Mapping[bytes, list[tuple[bytes, list[bytes]]]]) -> None:
        """Ask for more entries at a time while they are small."""
        read_bytes = sum(len(fields[-1]) for found in entries.values() for _, fields in found)
        if read_bytes < READ_BYTES_LOW:
            self._entries_max = min(self._entries_max * 2, ENTRIES_MAX)
        elif read_bytes > READ_BYTES_HIGH:
            self._entries_max = max(self._entries_max // 2, ENTRIES_MIN)

    def _seq(self, table: str) -> int:
        assert self._store is not None
        return self._store.watermarks(table).visible_seq

    # -- what goes with the rows ---------------------------------------------------------------

    def _follow_lake(self, tape: TapeState) -> None:
        """Tell readers of seals and rolls, and let go of what is sealed and old."""
        assert self._store is not None
        for symbol, contract in tape.fronts.items():
            if self._fronts.get(symbol) != contract:
                self._store.set_front(symbol, contract)
                self._fronts[symbol] = contract
        for table, marks in tape.tables.items():
            if self._versions.get(table) != marks.lake_version:
                self._versions[table] = marks.lake_version
                self._news.hear(table, marks.lake_version)
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._let_go_ns > LET_GO_S * NS_PER_S:
            self._let_go_ns = now_ns
            self._let_go()

    def _tell_sealed(self, table: str, version: int) -> None:
        head = Head(self._place.paths.head(table), is_writer=True)
        head.words[Word.LAKE_VERSION] = version

    def _let_go(self) -> None:
        store, hot = self._store, self._hot
        assert store is not None
        assert hot is not None
        oldest_us = (self._clock.now_ns() - self._hot_minutes * MINUTE_NS) // NS_PER_US
        for table in MIRRORED:
            sealed_seq = self._manifests.snapshot(table, hot.lake_version(table)).sealed_seq
            let_go(store, hot, table, sealed_seq, oldest_us)
        if self._place.paths.head("queries").exists():
            # Calls of this server are sealed by nobody; they are kept for the hot hour.
            let_go(store, hot, "queries", {"": NEVER}, oldest_us)
