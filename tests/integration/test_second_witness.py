"""A feed that misses trades, Sierra Chart's file beside it, and what the two make of the tape."""

import random

import numpy as np
import pytest

from core.batch import TickBatch
from core.clock import NS_PER_US
from ingest.gapbook import GapBook
from ingest.score import read_tallies, wilson_low
from ingest.sierra_reference import Reference
from ingest.spot_checks import SpotChecks
from ingest.spot_scid import ScidCheck
from ingest.witness import Witness
from tests.fakes.depth_writer import STEM, PairOptions, make_pair
from tests.fakes.scid_writer import scid
from tests.fakes.sierra_house import NOON_US, sierra_house

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US


class Scene:
    """Thirty minutes of one market: what truly traded, what the feed brought, what the file has."""

    def __init__(self, house, root, *, missed=(), lag_us=30_000):
        self.house = house
        options = PairOptions(start_us=NOON_US, events=15_000)
        self.pair = make_pair(4, options)
        data = root / "Sierra" / "Data"
        (data / f"{STEM}.scid").write_bytes(scid(*self.pair.scid))
        self.end_us = self.pair.prints[-1].ts_us
        prints = [
            (place, p)
            for place, p in enumerate(self.pair.prints)
            if not any(a <= place < b for a, b in missed)
        ]
        if prints:
            self.feed(prints, lag_us)
        house.clock.set_wall_ns((self.end_us + 10 * MINUTE_US) * NS_PER_US)
        self.reference = Reference(house.place, data)
        self.witness = Witness(house.place, self.reference, frozenset({"ES"}))

    def feed(self, prints, lag_us):
        columns = {
            "ts_event": np.array([p.ts_us + lag_us for _, p in prints]),
            "ts_recv": np.array([p.ts_us + lag_us for _, p in prints]),
            "price": np.array([p.tick * 0.25 for _, p in prints]),
            "size": np.array([p.size for _, p in prints]),
            "side": np.array([p.side for _, p in prints], np.int8),
            "source_seq": np.array([place + 1 for place, _ in prints]),
        }
        self.house.store.append(TickBatch("trades", "ES", "ESH24", "dxlink", columns))

    def rounds(self):
        return sum(self.witness.round() for _ in range(4))

    def volume(self):
        return sum(row["size"] for row in self.house.rows("trades"))

    def truth(self):
        return sum(p.size for p in self.pair.prints)


@pytest.fixture
def house(tmp_path):
    with sierra_house(tmp_path, fed=["ES"]) as house:
        house.root = tmp_path
        yield house


def test_what_the_feed_missed_between_trades_both_have_is_repaired_once(house):
    scene = Scene(house, house.root, missed=[(100, 140), (250, 251)])
    assert scene.volume() < scene.truth()
    assert scene.rounds() > 0
    assert scene.volume() == scene.truth()
    repaired = [row for row in house.rows("trades") if row["repaired"]]
    assert {row["source"] for row in repaired} == {"scid"}
    assert {row["source"] for row in house.rows("trades") if not row["repaired"]} == {"dxlink"}
    assert scene.rounds() == 0
    again = Witness(house.place, scene.reference, frozenset({"ES"}))
    assert again.round() == 0
    assert scene.volume() == scene.truth()


def test_a_hole_nobody_knew_of_is_written_down_as_found_and_filled(house):
    scene = Scene(house, house.root, missed=[(100, 140)])
    rows = scene.rounds()
    opened, closed = house.rows("gaps")
    assert (opened["state"], closed["state"]) == ("open", "backfilled")
    assert closed["rows"] == rows
    assert "found by the second witness" in closed["reason"]
    assert house.board.snapshot()["counters"]["witness.repaired"] == rows


def test_a_hole_the_feed_gave_up_is_closed_under_its_own_number(house):
    scene = Scene(house, house.root, missed=[(100, 140)])
    prints = scene.pair.prints
    book = GapBook(house.store, house.clock)
    gap = book.open("ES", "ESH24", prints[99].ts_us - 5 * SECOND_US, "connection lost")
    to_us = prints[140].ts_us + 5 * SECOND_US
    book.close(gap, "unrepairable", to_us=to_us, rows=0, reason="history reaches less far back")
    rows = scene.rounds()
    last = house.rows("gaps")[-1]
    assert (last["gap_id"], last["state"], last["rows"]) == (gap.gap_id, "backfilled", rows)
    assert len(house.rows("gaps")) == 3
    assert scene.volume() == scene.truth()


def test_a_hole_the_feed_may_still_fill_is_left_to_it(house):
    scene = Scene(house, house.root, missed=[(100, 140), (200, 210)])
    book = GapBook(house.store, house.clock)
    book.open("ES", "ESH24", scene.pair.prints[99].ts_us - SECOND_US, "connection lost")
    assert scene.rounds() == 0
    assert scene.volume() < scene.truth()


def test_what_came_before_the_feeds_first_trade_or_after_its_last_is_not_missing(house):
    total = len(make_pair(4, PairOptions(start_us=NOON_US, events=15_000)).prints)
    scene = Scene(house, house.root, missed=[(0, 50), (total - 30, total)])
    assert scene.rounds() == 0
    assert house.rows("gaps") == []


def test_another_market_under_the_same_name_repairs_nothing(house):
    scene = Scene(house, house.root, missed=[(0, 10_000)])
    other = make_pair(77, PairOptions(start_us=NOON_US, events=15_000)).prints
    scene.feed(list(enumerate(other)), 0)
    assert scene.rounds() == 0
    assert all(not row["repaired"] for row in house.rows("trades"))


def checks_of(house, scene, rng=None):
    check = ScidCheck(house.place, scene.reference, rng or random.Random(1))
    return check, SpotChecks(house.store, house.views, house.board, house.clock, [check.check])


def test_random_minutes_agree_with_the_file_and_make_the_score(house):
    scene = Scene(house, house.root)
    _, spots = checks_of(house, scene)
    for _ in range(30):
        spots.round()
    rows = house.rows("spot_checks")
    assert len(rows) >= 10
    assert {row["outcome"] for row in rows} == {"match"}
    gauges = house.board.snapshot()["gauges"]
    assert gauges["spot.score"] == 1.0
    assert gauges["spot.scid.checked"] == sum(row["rows"] for row in rows)
    assert gauges["spot.scid.wilson_low"] == wilson_low(*[sum(r["rows"] for r in rows)] * 2)
    assert house.part("spot check")["state"] == "ok"


def test_a_minute_with_a_hole_differs_and_below_the_limit_the_alarm_is_raised(house):
    scene = Scene(house, house.root, missed=[(100, 140)])
    check, _ = checks_of(house, scene)
    (about, name), *_ = scene.reference.contracts().items()
    minute_us = scene.pair.prints[120].ts_us // MINUTE_US * MINUTE_US
    spot = check.check_minute(about, name, minute_us)
    assert spot.outcome == "mismatch"
    assert spot.matched < spot.rows
    SpotChecks(house.store, house.views, house.board, house.clock, [lambda: spot]).round()
    part = house.part("spot check")
    assert part["state"] == "degraded"
    assert "scid" in part["detail"]


def test_a_minute_within_a_known_hole_cannot_be_verified(house):
    scene = Scene(house, house.root, missed=[(100, 140)])
    prints = scene.pair.prints
    book = GapBook(house.store, house.clock)
    gap = book.open("ES", "ESH24", prints[99].ts_us, "connection lost")
    book.close(gap, "unrepairable", to_us=prints[141].ts_us, rows=0, reason="gone")
    check, _ = checks_of(house, scene)
    (about, name), *_ = scene.reference.contracts().items()
    spot = check.check_minute(about, name, prints[120].ts_us // MINUTE_US * MINUTE_US)
    assert (spot.outcome, spot.rows) == ("unverifiable", 0)
    SpotChecks(house.store, house.views, house.board, house.clock, [lambda: spot]).round()
    tally = read_tallies(house.views.view(), 0)["scid"]
    assert (tally.checked, tally.samples, tally.unverifiable) == (0, 1, 1)
    assert house.part("spot check")["state"] == "ok"


def test_trades_changed_on_the_tape_are_found_where_the_file_is_the_source(house):
    scene = Scene(house, house.root, missed=[(100, 102)])
    print_ = scene.pair.prints[100]
    wrong = [(100, print_), (101, scene.pair.prints[101])]
    for _, p in wrong:
        object.__setattr__(p, "size", p.size + 1)
    scene.feed(wrong, 30_000)
    check, _ = checks_of(house, scene)
    (about, name), *_ = scene.reference.contracts().items()
    minute_us = print_.ts_us // MINUTE_US * MINUTE_US
    assert check.check_minute(about, name, minute_us).outcome == "mismatch"


@pytest.mark.parametrize(
    ("matched", "checked", "low"),
    [(3_000, 3_000, 0.99872), (0, 0, 0.0), (999, 1_000, 0.99435), (0, 10, 0.0)],
)
def test_the_bound_is_wilsons(matched, checked, low):
    assert wilson_low(matched, checked) == pytest.approx(low, abs=1e-5)
