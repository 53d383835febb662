"""Our clock may be wrong; the venue's prints are kept, and somebody is told."""

from email.utils import formatdate

import pytest

from core.clock import NS_PER_S, NS_PER_US
from core.settings import load_settings
from ingest.doctor import look
from ingest.drift import BEHIND_US_MAX, HEARD_MAX, HEARD_MIN, Drift
from ingest.guard import AHEAD, check
from storage.paths import Paths
from tests.fakes.deadline import until
from tests.fakes.dxlink_place import SPY, FakeGate, MemoryPlace, running_feed
from tests.fakes.dxlink_server import DxlinkServer
from tests.fakes.dxlink_tape import TruthTape
from tests.fakes.manual_clock import OPEN_NS, ManualClock

BEHIND_S = 1_200


class GuardedPlace(MemoryPlace):
    """Guards rows as the ingest process does."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def take(self, batch):
        now_us = self.clock.now_ns() // NS_PER_US
        good, rejected = check(batch, now_us, behind_us=self.drift.behind_us)
        self.reject(rejected)
        return super().take(good) if good.rows else 0


@pytest.fixture
def server():
    """Twenty minutes ahead of our clock."""
    tape = TruthTape(start_ms=OPEN_NS // 1_000_000 + BEHIND_S * 1_000, symbols=("SPY",))
    with DxlinkServer(tape, keepalive_s=0.2) as server:
        yield server


def slow_feed(server, tmp_path):
    clock = ManualClock()
    return running_feed(server, clock, tmp_path, GuardedPlace(clock), gate=FakeGate(server, (SPY,)))


def test_prints_are_kept_and_the_clock_called_slow_where_the_server_tells_the_time(
    server, tmp_path
):
    server.date = formatdate(OPEN_NS / NS_PER_S + BEHIND_S, usegmt=True)
    with slow_feed(server, tmp_path) as feed:
        feed.wait_live()
        server.trade(300)
        feed.wait_whole()
        assert feed.place.rejects == []
        until(lambda: feed.board.snapshot()["parts"].get("clock", {}).get("state") == "degraded")
        run = Paths(tmp_path / "data").run
        run.mkdir(parents=True)
        feed.board.publish(run / "ingest.status.json")
        given = {"DATA_DIR": str(tmp_path / "data"), "SIERRA_DIR": str(tmp_path)}
        settings = load_settings(given, environ={}, env_file=tmp_path / "none")
        (found,) = [one for one in look(settings, ManualClock()) if one.about == "clock"]
        assert found.state == "wrong"
        assert "slow" in found.told


def test_where_nobody_tells_the_time_prints_do_and_the_first_are_named_rejects(server, tmp_path):
    with slow_feed(server, tmp_path) as feed:
        feed.wait_live()
        for _ in range(HEARD_MIN + 2):
            heard = feed.count("dxlink.rows.TimeAndSale")
            server.trade(10)
            until(lambda heard=heard: feed.count("dxlink.rows.TimeAndSale") >= heard + 10)
        assert feed.place.drift.behind_us >= BEHIND_S * 1_000_000
        assert {reject.reason for reject in feed.place.rejects} == {AHEAD}
        stored = len(feed.place.identities("SPY"))
        assert stored >= 20
        assert stored + len(feed.place.rejects) == len(server.tape.events)


def test_one_wrong_print_moves_nothing_and_a_clock_set_right_is_believed_again():
    drift = Drift()
    for _ in range(HEARD_MAX):
        drift.hear(-30_000)
    drift.hear(3_600_000_000)
    assert drift.behind_us == 0
    for _ in range(HEARD_MAX):
        drift.hear(10**15)
    assert drift.behind_us == BEHIND_US_MAX
    for _ in range(HEARD_MAX):
        drift.hear(-30_000)
    assert drift.behind_us == 0
