"""The whole feed: the SDK's login, the real socket, the real store."""

import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from core.batch import TickBatch
from core.board import Board
from core.clock import SystemClock
from core.settings import load_settings
from ingest.dxlink_feed import start_feed
from ingest.dxlink_keeper import Place
from ingest.dxlink_tape import StoredTape
from ingest.rolls import Instrument
from storage.disk import OsDisk
from storage.paths import Paths
from storage.seal import Sealer
from storage.store import Store, StoreOptions
from storage.view import Views
from tests.fakes.deadline import until
from tests.fakes.dxlink_place import FAST, SPY, FakeGate, MemoryPlace, lies, running_feed
from tests.fakes.dxlink_rest import RestServer, future
from tests.fakes.dxlink_server import DxlinkServer
from tests.fakes.dxlink_tape import TruthTape
from tests.fakes.manual_clock import ManualClock

CLOCK = SystemClock()
SPY_ALONE = ("SPY",)


class Running:
    """A store with the feed on it, as the ingest process has them."""

    def __init__(self, settings, sealed_seqs=None):
        self.lake_url = settings.lake_url
        self.paths = Paths(settings.data_dir)
        self.paths.run.mkdir(parents=True, exist_ok=True)
        options = StoreOptions(
            tables=frozenset({"trades", "quotes", "gaps", "rejects", "spot_checks"})
        )
        self.store = Store.open(self.paths, options, disk=OsDisk(), clock=CLOCK)
        self.board = Board("ingest", CLOCK)
        self.stopping = threading.Event()
        self.tape = StoredTape(Views(self.paths, settings.lake_url))
        tape = StoredTape(Views(self.paths, settings.lake_url))
        self.thread = start_feed(
            settings,
            Place(
                lambda batch: self.store.append(batch) and batch.rows, self.store, tape, self.board
            ),
            set_front=self.store.set_front,
            clock=CLOCK,
            stopping=self.stopping,
        )

    def identities(self, symbol, contract):
        rows = self.tape._views.view().scan("trades", symbol).read_all()
        rows = rows.filter(pc.equal(rows["contract"].cast(pa.utf8()), contract))
        columns = [rows[name].to_pylist() for name in ("source_seq", "price", "size", "valid")]
        return sorted(zip(*columns, strict=True))

    def standing(self, symbol):
        view = self.tape._views.view()
        rows = view.scan("trades", symbol, standing_only=True).read_all()
        return Counter(zip(rows["price"].to_pylist(), rows["size"].to_pylist(), strict=True))

    def gap_states(self):
        """The last word on each hole in the prints."""
        rows = self.tape._views.view().scan("gaps", "SPY").read_all().to_pylist()
        rows = [row for row in rows if row["table_name"] == "trades"]
        return sorted({row["gap_id"]: row["state"] for row in rows}.values())

    def repair(self, events, apart_ms):
        """Store prints as a second witness does, and one more where the feed has none."""
        events = [event for event in events if event.is_valid]
        times = [event.ms * 1_000 for event in events]
        times += [times[0] + ms * 1_000 for ms in apart_ms]
        columns = {
            "ts_event": np.array(times, np.int64),
            "ts_recv": np.array(times, np.int64),
            "price": np.array([*(event.price for event in events), *[1.0] * len(apart_ms)]),
            "size": np.array([*(int(e.size) for e in events), *[77] * len(apart_ms)], np.int64),
            "source_seq": np.arange(1, len(times) + 1),
            "repaired": np.ones(len(times), np.bool_),
        }
        order = np.argsort(columns["ts_event"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        self.store.append(TickBatch("trades", "SPY", "SPY", "scid", columns))

    def seal(self, symbol):
        """Seal every trade of a symbol; give the last seq of the lake."""
        slices = self.tape._views.hot.slices("trades", symbol)
        batches = [part.batch for part in slices]
        Sealer(self.lake_url, CLOCK).seal("trades", symbol, batches, slices[-1].last_seq)
        return {"trades": slices[-1].last_seq}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()
        self.store.close()


@pytest.fixture
def settings(tmp_path):
    def load(rest, symbols="MNQ,SPY,VIX"):
        given = {
            "TASTYTRADE_CLIENT_SECRET": "secret",
            "TASTYTRADE_REFRESH_TOKEN": "refresh",
            "TASTYTRADE_API_URL": rest.url,
            "TASTYTRADE_SYMBOLS": symbols,
            "DATA_DIR": str(tmp_path / "data"),
        }
        return load_settings(given, environ={}, env_file=tmp_path / "none")

    return load


def test_a_store_is_fed_and_after_a_restart_filled_up(settings):
    start_ms = CLOCK.now_ns() // 1_000_000 - 600_000
    tape = TruthTape(start_ms=start_ms)
    with DxlinkServer(tape) as server, RestServer(server.url) as rest:
        far = "2099-12-18"
        rest.futures = [future("/MNQZ6", "/MNQZ26:XCME", "MNQ", is_front=True, expires=far)]
        server.last("Trade", "VIX", time=start_ms, price=19.5, size="NaN")
        truth = lambda symbol: sorted(tape.identities(symbol))  # noqa: E731
        with Running(settings(rest)) as running:
            until(lambda: server.live)
            server.trade(300)
            server.last("Quote", "SPY", bidPrice=9.5, askPrice="NaN", bidSize=3.0, askSize="NaN")
            until(lambda: running.identities("MNQ", "MNQZ26") == truth("/MNQZ26:XCME"))
            until(lambda: running.identities("SPY", "SPY") == truth("SPY"))
            until(lambda: running.store.watermarks("quotes").visible_seq)
            until(lambda: running.identities("VIX", "VIX"))
        tape.trade(300)
        with Running(settings(rest)) as running:
            until(lambda: running.identities("MNQ", "MNQZ26") == truth("/MNQZ26:XCME"))
            until(lambda: running.identities("SPY", "SPY") == truth("SPY"))
            # VIX has last values alone, and its hole stays open.
            until(lambda: [gap.contract for gap in running.tape.open_gaps("trades")] == ["VIX"])
        assert not server.violations


@pytest.mark.parametrize("kind", ["CANCEL", "CORRECTION"])
def test_a_print_revised_hours_later_is_revised_in_the_lake(settings, kind):
    start_ms = CLOCK.now_ns() // 1_000_000 - 2 * 3_600_000 - 600_000
    tape = TruthTape(start_ms=start_ms, symbols=SPY_ALONE)
    with DxlinkServer(tape) as server, RestServer(server.url) as rest:
        rest.futures = []
        truth = lambda: sorted(tape.identities("SPY"))  # noqa: E731
        given = settings(rest, symbols="SPY")
        with Running(given) as running:
            until(lambda: server.live)
            server.trade(200)
            until(lambda: running.identities("SPY", "SPY") == truth())
            sealed = running.seal("SPY")
        tape.pass_time(2 * 3_600_000)
        with Running(given, sealed) as running:
            until(lambda: server.live)
            server.trade(50)
            old = next(event for event in tape.events if event.is_valid)
            server.revise(old, kind=kind, price=None if kind == "CANCEL" else 77.25)
            until(lambda: running.identities("SPY", "SPY") == truth())
            view = running.tape._views.view()
            stands = view.scan("trades", "SPY", standing_only=True).read_all()
            prices = stands.filter(pc.equal(stands["source_seq"], old.index))["price"]
            assert prices.to_pylist() == ([] if kind == "CANCEL" else [77.25])


def test_without_credentials_the_feed_is_off(tmp_path):
    settings = load_settings({"DATA_DIR": str(tmp_path)}, environ={}, env_file=tmp_path / "none")
    board = Board("ingest", CLOCK)
    nobody = threading.Event()
    place = Place(len, None, None, board)
    thread = start_feed(settings, place, set_front=len, clock=CLOCK, stopping=nobody)
    assert thread is None
    assert board.snapshot()["parts"]["tastytrade"]["state"] == "off"


def test_connections_take_over_from_each_other_without_a_hole(tmp_path):
    timing = replace(FAST.timing, rotate_s=0.1)
    with (
        DxlinkServer(keepalive_s=0.2) as server,
        running_feed(server, ManualClock(), tmp_path, periods=replace(FAST, timing=timing)) as feed,
    ):
        feed.wait_live()
        while feed.count("dxlink.disconnects") < 3:
            server.trade(10)
        feed.wait_whole()
        assert not any("connection lost" in gap["reason"] for gap in feed.place.gap_rows)


def test_a_connection_is_kept_where_none_can_take_over(tmp_path):
    timing = replace(FAST.timing, rotate_s=0.05)
    with (
        DxlinkServer(keepalive_s=0.2) as server,
        running_feed(server, ManualClock(), tmp_path, periods=replace(FAST, timing=timing)) as feed,
    ):
        feed.wait_live()
        server.faults.refused_upgrades = 10_000
        until(lambda: feed.count("dxlink.disconnects") >= 3)  # attempts that came to nothing
        assert len(server.live) == 1
        server.trade(100)
        feed.wait_whole()


def test_a_roll_under_way_is_noticed_and_costs_no_print(tmp_path):
    front, following = "/MNQZ26:XCME", "/MNQH27:XCME"
    old, new = (Instrument("MNQ", name[1:7], name, "cme") for name in (front, following))
    tape = TruthTape(symbols=(front, following, "SPY"))
    periods = replace(FAST, timing=replace(FAST.timing, relist_s=0.05))
    with DxlinkServer(tape, keepalive_s=0.2) as server:
        gate = FakeGate(server, (old, SPY))
        with running_feed(server, ManualClock(), tmp_path, periods=periods, gate=gate) as feed:
            feed.wait_live()
            server.trade(100, (front, "SPY"))
            gate.instruments = (old, new, SPY)  # near expiry: both
            until(lambda: feed.count("dxlink.disconnects") == 1)
            server.trade(100)
            feed.wait_whole()
            server.trade(100)
            until(lambda: feed.is_true)
            gate.instruments = (new, SPY)
            until(lambda: feed.count("dxlink.disconnects") == 2)
            server.trade(100, (following, "SPY"))
            until(lambda: not lies(feed.place, tape, (old, new, SPY)))
            assert feed.place.gaps() == []


def test_latest_keeps_to_the_front_contract_of_the_roll_map(settings):
    tape = TruthTape(symbols=("/MNQZ26:XCME", "/MNQH27:XCME", "SPY"))
    soon = datetime.fromtimestamp(CLOCK.now_ns() / 1e9 + 4 * 86_400, UTC).strftime("%Y-%m-%d")
    with DxlinkServer(tape) as server, RestServer(server.url) as rest:
        rest.futures = [
            future("/MNQZ6", "/MNQZ26:XCME", "MNQ", is_front=True, expires=soon),
            future("/MNQH7", "/MNQH27:XCME", "MNQ", is_next=True, expires="2099-03-19"),
        ]
        with Running(settings(rest)) as running:
            until(lambda: server.live)
            server.trade(50, ("/MNQZ26:XCME",))
            server.trade(50, ("/MNQH27:XCME",))
            until(lambda: len(running.identities("MNQ", "MNQH27")) == 50)
            latest = running.tape._views.view().latest("MNQ")
            assert latest["contract"].to_pylist() == ["MNQZ26"]


def test_a_contract_that_rolled_away_leaves_no_gap_open(tmp_path):
    place, old = MemoryPlace(), Instrument("VIX", "OLD", "OLD", "nyse", has_prints=False)
    with DxlinkServer(keepalive_s=0.2) as server:
        gate = FakeGate(server, (old, SPY))
        with running_feed(server, ManualClock(), tmp_path, place, gate=gate) as feed:
            feed.wait_live()
            until(lambda: place.gaps("OLD"))
        assert place.gaps("OLD")[0]["state"] == "open"
        gate = FakeGate(server, (SPY,))
        with running_feed(server, ManualClock(), tmp_path, place, gate=gate) as feed:
            feed.wait_live()
            until(lambda: place.gaps("OLD")[0]["state"] == "unrepairable")
            server.trade(20, SPY_ALONE)
            feed.wait_told()


def test_history_that_comes_after_a_witness_repaired_the_hole_counts_no_trade_twice(settings):
    tape = TruthTape(start_ms=CLOCK.now_ns() // 1_000_000 - 600_000, symbols=SPY_ALONE)
    with DxlinkServer(tape) as server, RestServer(server.url) as rest:
        rest.futures = []
        with Running(settings(rest, symbols="SPY")) as running:
            until(lambda: server.live)
            server.trade(100)
            until(lambda: running.identities("SPY", "SPY") == sorted(tape.identities("SPY")))
            server.faults.history, server.faults.snip_rows = "snip", 5
            missed = tape.trade(60)[:-5]  # of these history has nothing for now
            server.close()
            until(lambda: running.gap_states() == ["unrepairable"])
            server.trade(20)
            until(lambda: len(running.identities("SPY", "SPY")) == 125)
            # All but five of them, and one of another time that only the witness saw.
            running.repair(missed[5:], apart_ms=[-20_000])
            alone = Counter([(1.0, 77)])
            assert running.standing("SPY") == tally(tape, missed[:5]) + alone
            server.faults.history = "whole"
            server.close()
            until(lambda: running.gap_states() == ["backfilled", "unrepairable"])
            assert running.standing("SPY") == tally(tape) + alone
            old = next(event for event in missed[5:] if event.is_valid)
            server.revise(old, kind="CANCEL")
            until(lambda: running.standing("SPY") == tally(tape) + alone)


def tally(tape, without=()):
    """Price and size of every trade that stands."""
    return Counter(
        (event.price, int(event.size))
        for event in tape.latest["SPY"].values()
        if event.is_valid and event.kind != "CANCEL" and event not in without
    )
