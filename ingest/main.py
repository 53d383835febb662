"""The ingest process: every feed, the one writer of the hot segments, sealing.

It answers no client. Other processes hand it rows through the intake socket, and read what it wrote
by themselves.
"""

import gc
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from core.batch import TickBatch
from core.board import Board
from core.clock import NS_PER_US, Clock
from core.errors import BadTicket, DiskFull
from core.log import Log
from core.schema import LOGGED_TABLES
from core.settings import Settings
from ingest.backfill import Backfills, find_gap
from ingest.demo import DemoMarket
from ingest.demo_book import DemoBook
from ingest.drift import Drift
from ingest.dxlink_feed import start_feed
from ingest.dxlink_keeper import Place as FeedPlace
from ingest.dxlink_tape import StoredTape
from ingest.gex_columns import TOLD
from ingest.gex_spool import check_name, spooled_parts
from ingest.gex_tape import GexTape
from ingest.gexbot_jobs import start_jobs
from ingest.gexbot_poller import Place, start_poller
from ingest.guard import check
from ingest.put_rows import PutRows
from ingest.sierra_feed import Doors, run_spot_checks, start_sierra
from storage.arrow_stream import arrow_batch
from storage.intake import IntakeServer, rejected_from
from storage.lake import lake_of
from storage.opening import open_keeper, open_store
from storage.paths import Paths
from storage.prepared import Prepared
from storage.view import Views

log = Log("ingest")
DEMO_STEP_S = 0.005
SWITCH_S = 0.0005  # the interpreter goes to a thread that waits: a post shall not wait for a feed
DEMO_PAUSE_S = 0.000_2  # lets whoever waits for the interpreter have it
BOARD_S = 0.5


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The built-in market: `rate` trades a second over all symbols."""

    rate: int
    seed: int


class Ingest:
    """The writer with its feeds, keeper and intake."""

    def __init__(self, settings: Settings, clock: Clock, demo: DemoOptions | None) -> None:
        self.paths = Paths(settings.data_dir)
        self._settings = settings
        self._clock = clock
        self._demo = demo
        self._stopping = threading.Event()
        self.board = Board("ingest", clock)
        self.store = open_store(settings, clock)
        self.keeper = open_keeper(settings, self.store, clock)
        self.gex = GexTape(self.store, self.keeper, clock)
        self._intake = IntakeServer(self.paths, self._answer)
        self._put_rows = PutRows(Views(self.paths, lake_of(settings)), self.take)
        self._backfills = Backfills()
        self._drift = Drift()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the keeper, the intake, the feeds and the board."""
        self.paths.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keeper.start()
        self._intake.start()
        self._start_thread("board", self._show_forever)
        doors = Doors(self.take, self.store, self.board, self._clock, self._stopping)
        self._start_thread("spot checks", lambda: run_spot_checks(self._settings, doors))
        jobs = start_jobs(self._settings, self.board, self._clock, self._stopping)
        self._threads.append(jobs)
        if self._demo is not None:
            self._start_thread("demo", lambda: self._trade_forever(self._demo))
            return  # a made-up market and a real one do not belong on one tape
        tape = StoredTape(Views(self.paths, lake_of(self._settings)))
        feed = start_feed(
            self._settings,
            FeedPlace(self.take, self.store, tape, self.board, self._backfills, self._drift),
            set_front=self.store.set_front,
            clock=self._clock,
            stopping=self._stopping,
        )
        if feed is not None:
            self._threads.append(feed)
        place = Place(self.gex.append_new, self.store.reject, self.board)
        poller = start_poller(self._settings, place, self._clock, self._stopping)
        if poller is not None:
            self._threads.append(poller)
        self._threads += start_sierra(self._settings, doors)

    def stop(self) -> None:
        """Feeds first, then the keeper, the store last: what was taken in is committed."""
        self._stopping.set()
        self._intake.stop()
        for thread in self._threads:
            thread.join()
        self.keeper.stop()
        self.store.close()
        self.board.withdraw(self.paths.status("ingest"))

    def take(self, batch: TickBatch) -> int:
        """Guard a batch and store it; give the rows stored. Raise DiskFull, then nothing is."""
        now_us = self._clock.now_ns() // NS_PER_US
        good, rejected = check(batch, now_us, behind_us=self._drift.behind_us)
        if good.rows:
            self.store.append(good)
            self.board.count(f"rows.{batch.table}", good.rows)
        if rejected:
            self.store.reject(rejected)
            self.board.count("rejects", len(rejected))
        return good.rows

    def _count_refused(self, is_new: list[bool | None]) -> list[bool | None]:
        if None in is_new:
            self.board.count("rejects", is_new.count(None))
        return is_new

    def _start_thread(self, name: str, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=body, name=name)
        self._threads.append(thread)
        thread.start()

    def _trade_forever(self, demo: DemoOptions | None) -> None:
        assert demo is not None
        market = DemoMarket(demo.seed, demo.rate, self._clock.now_ns() // NS_PER_US)
        market_book = DemoBook(demo.seed)
        waiting: list[TickBatch] = []
        books: list[pa.RecordBatch] = []
        snapshots: list[dict[str, object]] = []
        while not self._stopping.wait(DEMO_STEP_S):
            now_us = self._clock.now_ns() // NS_PER_US
            try:
                # While the disk is full the market stands still, so nothing is lost.
                if not waiting and not books and not snapshots:
                    waiting = market.until(now_us)
                    self._stopping.wait(DEMO_PAUSE_S)
                    depth, books = market_book.until(waiting, now_us)
                    waiting += depth
                    snapshots = market.gex_until(now_us)
                    self._stopping.wait(DEMO_PAUSE_S)
                while waiting:
                    self.take(waiting[0])
                    waiting.pop(0)
                while books:
                    self.store.append_rows("book", books[0])
                    books.pop(0)
                if snapshots:
                    self.store.append_rows("gex", snapshots)
                    snapshots = []
                self.board.state("demo market", "ok", f"{demo.rate} ticks/s", limit_s=5)
            except DiskFull as error:
                self.board.state("demo market", "down", error.message)
                log.error("disk.full", error=error.message, hint=error.hint)
                self._stopping.wait(1.0)

    def _show_forever(self) -> None:
        path = self.paths.status("ingest")
        while True:
            self._show()
            self.board.publish(path)
            if self._stopping.wait(BOARD_S):
                return

    def _show(self) -> None:
        for table in LOGGED_TABLES:
            if self.store.owns(table.name):
                marks = self.store.watermarks(table.name)
                self.board.gauge(f"visible_seq.{table.name}", marks.visible_seq)
                self.board.gauge(f"durable_seq.{table.name}", marks.durable_seq)
        failure = self.store.commit_failure
        self.board.state("hot store", "down" if failure else "ok", str(failure or ""), limit_s=5)
        if self.keeper.seal_s is not None:
            self.board.gauge("sealer.last_s", self.keeper.seal_s)
        self.board.gauge("retention.pruned_files", self.keeper.pruned_count)
        sealing = self.keeper.failure
        told = f"{sealing.message}; {sealing.hint}".rstrip("; ") if sealing else ""
        self.board.state("sealer", "degraded" if sealing else "ok", told, limit_s=5)

    def _take_fresh(self, batch: TickBatch) -> tuple[int, int]:
        return self.take(batch), 0

    def _answer(self, header: dict[str, Any], body: bytes) -> dict[str, Any]:
        reply: dict[str, Any] = {}
        match header.get("op"):
            case "append" | "put" as op:
                take = self._put_rows.take if op == "put" else self._take_fresh
                batch = TickBatch.from_arrow(arrow_batch(body))
                reply["rows"], reply["duplicates"] = take(batch)
            case "append_prepared" if header["table"] in TOLD:
                told = header["told"]
                ready = Prepared(body, len(told), header["seq_at"])
                reply["is_new"] = self._count_refused(
                    self.gex.append_prepared(header["table"], told, ready)
                )
            case "append_rows" if header["table"] in TOLD:
                reply["is_new"] = self._count_refused(
                    self.gex.append_new(header["table"], arrow_batch(body))
                )
            case "append_rows":
                reply["first_seq"] = self.store.append_rows(header["table"], arrow_batch(body))
            case "publish_gex":
                parts = spooled_parts(self.paths.gex_spool / check_name(header["folder"]))
                reply["added"] = self.gex.publish(header["symbol"], parts)
            case "reject":
                self.store.reject(rejected_from(header["rows"]))
            case "seal":
                reply["files"] = self.keeper.seal_now(header["symbols"])
            case "commit":
                self.store.commit()
            case "backfill":
                gap = find_gap(
                    self.keeper.view(), header["table"], header["symbol"], header["gap_id"]
                )
                reply["told"] = self._backfills.ask(gap)
            case op:
                raise BadTicket(f"intake knows no operation {op!r}")
        return reply


def run(
    settings: Settings,
    *,
    clock: Clock,
    demo: DemoOptions | None,
    ready: Callable[[Mapping[str, object]], None],
    stopping: threading.Event,
) -> None:
    """The process's life: recover, serve until told to stop, commit.

    Raise PipelineError where the store cannot be opened.
    """
    sys.setswitchinterval(SWITCH_S)
    ingest = Ingest(settings, clock, demo)
    try:
        ingest.start()
        gc.collect()
        gc.freeze()  # what lives as long as the process is not looked through again and again
        ready({"visible_seq": ingest.store.watermarks("trades").visible_seq})
        stopping.wait()
    finally:
        ingest.stop()
