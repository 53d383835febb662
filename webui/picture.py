"""Everything the pages show, gathered: counters, tables in memory and boards become cells.

`Gatherer.look` runs in one thread a few times a second and replaces what it holds; pages and frames
read it. It reads counters, the newest rows and, when they moved, the small tables. It never runs a
query.
"""

import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.board import BoardStatus, read_boards
from core.clock import HOUR_NS, NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from core.errors import PipelineError, Unavailable
from core.log import Log
from core.schema import LOGGED_TABLES, TABLES
from core.session import Market, session_at
from core.settings import Settings, reachable
from flight_server.running import RunningCall, read_running
from storage.manifest import Snapshot
from storage.paths import Paths
from webui.calls import Calls
from webui.coverage import Coverage
from webui.journal import Journal
from webui.lags import Lags
from webui.ledger import Ledger
from webui.market import MarketBook
from webui.services import GRAVITY, Service, headline, services_of
from webui.sheet import spark_path
from webui.tape import StoreTape
from webui.words import iso_utc

MARKETS: tuple[Market, ...] = ("cme", "nyse")
RATE_SPAN = 10  # seconds a rate is measured over
SPARK_S = 60
BEATS = 60
BEAT_S = 10
BEAT_STATES = "odlxc-"  # ok, degraded, late, down (x), closed, off
DISK_FREE_MIN = 0.05
STARTING_NS_MAX = 10 * NS_PER_S  # how long the processes of a house may take to start
log = Log("web")


@dataclass(slots=True)
class Storage:
    """What is in memory and in the lake."""

    hot_rows: int = 0
    hot_bytes: int = 0
    lake_rows: int = 0
    lake_bytes: int = 0
    lake_files: int = 0
    sealed_us: int | None = None
    first_us: int | None = None
    free_bytes: int = 0
    disk_bytes: int = 1

    @property
    def is_nearly_full(self) -> bool:
        """Whether the disk is about to be full."""
        return self.free_bytes < self.disk_bytes * DISK_FREE_MIN


class Gatherer:
    """Holds the present picture of one data folder."""

    def __init__(self, settings: Settings, tape: StoreTape, journal: Journal, clock: Clock) -> None:
        self.settings = settings
        self.tape = tape
        self.journal = journal
        self.clock = clock
        self.paths = Paths(settings.data_dir)
        self.market = MarketBook(tape)
        self.ledger = Ledger(tape)
        self.calls = Calls(tape)
        self.coverage = Coverage()
        self.lags = Lags()
        self.boards: Sequence[BoardStatus] = ()
        self.services: Sequence[Service] = ()
        self.running: Sequence[RunningCall] = ()
        self.storage = Storage()
        self.now_ns = self._since_ns = clock.now_ns()
        self.is_stored = False
        self.rates: Mapping[str, float] = {}
        self.sparks: Mapping[str, str] = {}
        self._seqs: deque[tuple[int, dict[str, int]]] = deque(maxlen=RATE_SPAN + 1)
        self.restarts: dict[str, int] = {}  # of each process, since we look
        self._started_ns: dict[str, int] = {}
        self._beats: dict[str, str] = {}
        self._beat = -1
        self._pruned_count = 0
        self._sealed_us: int | None = None
        self._states: dict[str, str] = {}
        self._covered: tuple[object, ...] = ()
        self._lake_versions: tuple[int, ...] = ()
        self._lake: tuple[int, int, int, int | None, int | None] = (0, 0, 0, None, None)
        self._gap_ids: dict[tuple[str, int], str] | None = None

    def look(self) -> None:
        """Take everything in anew; once a second."""
        self.now_ns = self.clock.now_ns()
        self.boards = read_boards(self.paths.run, self.now_ns)
        is_closed = all(session_at(self.now_ns, m) == "closed" for m in MARKETS)
        is_starting = len(self.boards) > 0 and self.now_ns - self._since_ns < STARTING_NS_MAX
        self.services = services_of(self.boards, is_closed=is_closed, is_starting=is_starting)
        self._note_restarts()
        self._note_changes()
        self._add_beats()
        try:
            self.market.look(self.now_ns)
            self.is_stored = True
        except Unavailable:
            self.is_stored = False
        except PipelineError as error:
            log.warning("tape.not_read", why=error.message)
        self.sparks = {
            name: spark_path(symbol.bars.per_second(self.now_ns // NS_PER_S, SPARK_S))
            for name, symbol in self.market.symbols.items()
        }
        self._measure_rates()
        self.lags.look(self.tape, self.rates, self.boards)
        self.calls.look()
        self.running = read_running(self.paths.calls)
        if self.ledger.look(self.now_ns):
            self._note_gaps()
        self._measure_storage()
        self._cover()

    def look_at(self, symbols: Sequence[str], *, priced: Sequence[str] = ()) -> None:
        """Take in what is new of a few symbols, and of others their prices; ten times a second."""
        try:
            if symbols:
                self.market.look(self.clock.now_ns(), only=symbols)
            self.market.look_at_prices(priced)
        except PipelineError:
            self.is_stored = False  # said once a second by `look`

    def beats(self, key: str) -> str:
        """The newest beats of a service, one character each."""
        return self._beats.get(key, "")

    @property
    def overall(self) -> tuple[str, str, str]:
        """(state, words, key of the first problem)."""
        return headline(self.services)

    def _note_changes(self) -> None:
        states = {service.key: service.state for service in self.services}
        for service in self.services:
            was = self._states.get(service.key)
            if was in (None, "unknown") and service.state in ("ok", "off", "closed", "unknown"):
                continue  # the first that is heard of it; only troubles are news
            if was != service.state:
                text = f"{service.title} {service.word}"
                text += f": {service.detail}" if service.detail else ""
                self.journal.note(service.key, service.state, text)
        sealed_us = self.storage.sealed_us
        if sealed_us is not None and sealed_us != self._sealed_us:
            if self._sealed_us is not None:
                text = f"Sealed up to {iso_utc(sealed_us * 1_000)}, {self.storage.lake_files} files"
                self.journal.note("sealer", "ok", text)
            self._sealed_us = sealed_us
        self._states = states
        self._note_pruned()

    def _note_restarts(self) -> None:
        for board in self.boards:
            process, started_ns = board["process"], board["started_ns"]
            if not board["pid"]:
                continue  # a board that cannot be read tells no start
            if self._started_ns.get(process, started_ns) != started_ns:
                self.restarts[process] = self.restarts.get(process, 0) + 1
                self.journal.note(process, "degraded", f"Process {process} was started again")
            self._started_ns[process] = started_ns

    def _note_pruned(self) -> None:
        """Say when history was cut at the retention limit; the count starts anew with ingest."""
        counts = [b["gauges"].get("retention.pruned_files") for b in self.boards]
        count = next((int(c) for c in counts if c is not None), 0)
        if count > self._pruned_count:
            days = self.settings.number("RETENTION_DAYS")
            text = f"{count - self._pruned_count} files older than {days} d left the lake"
            self.journal.note("retention", "ok", text)
        self._pruned_count = count

    def _note_gaps(self) -> None:
        now = {(gap.table, gap.gap_id): gap.state for gap in self.ledger.account.gaps}
        if self._gap_ids is not None:
            for gap in self.ledger.account.gaps:
                if self._gap_ids.get((gap.table, gap.gap_id)) != gap.state:
                    state = "ok" if gap.state == "backfilled" else "degraded"
                    self.journal.note(
                        "gaps", state, f"Gap in {gap.table} of {gap.symbol} {gap.state}: "
                        f"{gap.reason}",
                    )  # fmt: skip
        self._gap_ids = now

    def _add_beats(self) -> None:
        """A beat holds the gravest state of its ten seconds."""
        beat = self.now_ns // (BEAT_S * NS_PER_S)
        marks = dict(zip(("ok", "degraded", "late", "down", "closed", "off"), BEAT_STATES,
                         strict=True))  # fmt: skip
        by_mark = {mark: GRAVITY.index(state) for state, mark in marks.items()}
        for service in self.services:
            mark = marks.get(service.state, "-")
            known = self._beats.get(service.key, "")
            if beat != self._beat or not known:
                known = (known + mark)[-BEATS:]
            elif by_mark[mark] < by_mark[known[-1]]:
                known = known[:-1] + mark
            self._beats[service.key] = known
        self._beat = beat

    def _measure_rates(self) -> None:
        seqs = {}
        for table in LOGGED_TABLES:
            visible_seq = self.tape.version(table.name)[0]
            if visible_seq >= 0:
                seqs[table.name] = visible_seq
        self._seqs.append((self.now_ns, seqs))
        then_ns, then = self._seqs[0]
        span_s = (self.now_ns - then_ns) / NS_PER_S
        if span_s > 0:
            self.rates = {
                name: max(seq - then.get(name, seq), 0) / span_s for name, seq in seqs.items()
            }

    def _measure_storage(self) -> None:
        found = Storage()
        for table in LOGGED_TABLES:
            try:
                visible_seq = self.tape.watermarks(table.name).visible_seq
                found.hot_rows += max(visible_seq - self.tape.first_seq(table.name) + 1, 0)
            except PipelineError:
                continue
            folder = self.paths.hot(table.name)
            found.hot_bytes += sum(_allocated(path) for path in os.scandir(folder))
        self._measure_lake(found)
        try:
            disk = shutil.disk_usage(self.paths.root)
            found.free_bytes, found.disk_bytes = disk.free, disk.total
        except OSError as error:
            log.warning("disk.not_read", why=error.strerror)
        self.storage = found

    def _measure_lake(self, found: Storage) -> None:
        """Sum up the manifests of all tables; only where one of them moved."""
        snapshots = []
        for table in TABLES:
            try:
                snapshots.append(self.tape.sealed(table))
            except PipelineError:
                continue
        versions = tuple(snapshot.version for snapshot in snapshots)
        if versions != self._lake_versions:
            self._lake_versions, self._lake = versions, lake_of(snapshots)
        found.lake_rows, found.lake_bytes, found.lake_files = self._lake[:3]
        found.first_us, found.sealed_us = self._lake[3:]

    def _cover(self) -> None:
        """Build the map of the year where anything it is made of moved."""
        try:
            snapshot = self.tape.sealed("trades")
        except PipelineError:
            return
        gaps = self.ledger.account.gaps
        made_of = (snapshot.version, self.now_ns // HOUR_NS, len(gaps), gaps and gaps[0])
        if made_of != self._covered:
            symbols = sorted(self.market.symbols)
            self.coverage.build(snapshot, gaps, symbols, self.now_ns)
            self._covered = made_of

    def flight_url(self, asked: str | None) -> str:
        """Where models ask, for a page of the host `asked`.

        The port is the one that was found free, where any was allowed.
        """
        ports = (b["gauges"].get("port") for b in self.boards if b["process"] == "flight")
        port = int(next(ports, None) or self.settings.number("FLIGHT_PORT"))
        secure = "+tls" if self.settings.text("TLS_CERT") else ""
        return f"grpc{secure}://{reachable(self.settings.text('HOST'), asked)}:{port}"

    @property
    def now_ms(self) -> int:
        """The moment of the picture."""
        return self.now_ns // NS_PER_MS

    @property
    def now_us(self) -> int:
        """The same in microseconds."""
        return self.now_ns // NS_PER_US


def lake_of(snapshots: Sequence[Snapshot]) -> tuple[int, int, int, int | None, int | None]:
    """(rows, bytes, files, first and last time in microseconds) of some tables together."""
    rows = sum(snapshot.rows for snapshot in snapshots)
    sizes = sum(snapshot.bytes for snapshot in snapshots)
    files = sum(len(snapshot) for snapshot in snapshots)
    trades = [s for s in snapshots if s.table == "trades" and len(s)]
    if not trades:
        return rows, sizes, files, None, None
    return rows, sizes, files, trades[0].oldest_us, max(trades[0].newest_us().values())


def _allocated(entry: os.DirEntry[str]) -> int:
    """Bytes a file takes on disk; it may be let go while we look."""
    try:
        return entry.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
