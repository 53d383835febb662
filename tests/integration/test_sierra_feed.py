"""Files that grow beside a real store, and what of them is on the tape."""

import random

import pytest

from core.clock import NS_PER_US
from ingest.book import ANOMALIES
from ingest.depth import DepthNaming, decode, open_depth
from tests.fakes.depth_writer import (
    STEM,
    PairOptions,
    clear,
    depth,
    make_pair,
    record,
    snapshot,
)
from tests.fakes.plain_book import PlainBook
from tests.fakes.scid_writer import bar, reader_of, scid
from tests.fakes.scid_writer import record as trade
from tests.fakes.sierra_house import DAY, DAY_US, NAME, NEXT_NAME, NOON_US, sierra_house

SECOND_US = 1_000_000
SCID = f"{STEM}.scid"
ES = DepthNaming("ES", "ESH24", 100, DAY)


def depth_path(root):
    return root / "Sierra" / "Data" / "MarketDepthData" / NAME


def scid_path(root):
    return root / "Sierra" / "Data" / SCID


@pytest.fixture
def house(tmp_path):
    with sierra_house(tmp_path) as house:
        house.root = tmp_path
        yield house


def plain_rows(records):
    """The ladders a book of dicts has, as rows of table `book` tell them."""
    raw = depth(*records)
    file = open_depth(reader_of(raw), len(raw), "x.depth")
    book = PlainBook()
    book.apply(decode(file.read(0, file.records), 0, ES, NOON_US).batch)
    return [(ts, bids, asks, valid) for ts, bids, asks, valid in book.ladders]


def told_rows(rows):
    def side(prices, sizes):
        return [(p, s) for p, s in zip(prices, sizes, strict=True) if s]

    return [
        (
            int(row["ts_event"].timestamp() * SECOND_US),
            side(row["bid_px"], row["bid_sz"]),
            side(row["ask_px"], row["ask_sz"]),
            row["valid"],
        )
        for row in rows
    ]


@pytest.mark.parametrize("seed", range(2))
def test_a_growing_file_is_on_the_tape_record_for_record_with_its_book(house, seed):
    pair = make_pair(seed, PairOptions(start_us=NOON_US, events=600, snapshot_s=30))
    raw, rng, written = depth(*pair.depth), random.Random(seed), 0
    with depth_path(house.root).open("wb") as file:
        while written < len(raw):
            piece = raw[written : written + rng.randint(1, 3_000)]
            file.write(piece)
            file.flush()
            written += len(piece)
            house.poll(0.1)
    rows = house.rows("depth")
    assert [row["source_seq"] for row in rows] == [
        ES.first_source_seq + place for place in range(len(pair.depth))
    ]
    assert {row["contract"] for row in rows} == {"ESH24"}
    assert told_rows(house.rows("book")) == plain_rows(pair.depth)
    counters = house.board.snapshot()["counters"]
    assert not [c for c in ANOMALIES if counters.get(f"book.{c.name.lower()}")]
    assert house.part("sierra depth")["state"] == "ok"


def test_the_last_ladder_is_written_when_the_file_has_been_quiet(house):
    depth_path(house.root).write_bytes(depth(*snapshot(NOON_US, {19_200: 5}, {19_201: 6})))
    house.poll()
    assert house.rows("book") == []
    house.poll()
    [row] = told_rows(house.rows("book"))
    assert row == (NOON_US + 100_000, [(4800.0, 5)], [(4800.25, 6)], True)


def test_a_restart_goes_on_where_it_ended_and_writes_no_ladder_twice(tmp_path):
    pair = make_pair(5, PairOptions(start_us=NOON_US, events=500, snapshot_s=20))
    middle = len(pair.depth) // 2
    with sierra_house(tmp_path) as house:
        clock = house.clock
        depth_path(tmp_path).write_bytes(depth(*pair.depth[:middle]))
        house.poll()
    depth_path(tmp_path).write_bytes(depth(*pair.depth))
    with sierra_house(tmp_path, clock=clock) as house:
        house.poll()
        numbers = [row["source_seq"] for row in house.rows("depth")]
        assert numbers == list(range(numbers[0], numbers[0] + len(pair.depth)))
        assert told_rows(house.rows("book")) == plain_rows(pair.depth)


def test_a_file_written_anew_adds_nothing_twice_and_its_book_begins_again(house):
    pair = make_pair(6, PairOptions(start_us=NOON_US, events=300))
    path = depth_path(house.root)
    path.write_bytes(depth(*pair.depth[:-50]))
    house.poll()
    path.write_bytes(depth(*pair.depth[:40]))
    house.poll()
    path.write_bytes(depth(*pair.depth))
    house.poll()
    numbers = [row["source_seq"] for row in house.rows("depth")]
    assert sorted(numbers) == list(range(numbers[0], numbers[0] + len(pair.depth)))
    assert told_rows(house.rows("book")) == plain_rows(pair.depth)
    assert house.board.snapshot()["counters"]["sierra.depth.rewrites"] == 1


def test_holes_in_a_file_written_anew_are_told_once(house):
    levels = ({19_200: 5}, {19_201: 6})
    records = [*snapshot(NOON_US, *levels), clear(NOON_US + 2 * SECOND_US)]
    records += snapshot(NOON_US + 9 * SECOND_US, *levels)
    path = depth_path(house.root)
    for content in (records, records[:2], records):
        path.write_bytes(depth(*content))
        house.poll(10)
    assert [row["state"] for row in house.rows("gaps")] == ["open", "unrepairable"]


def test_a_cleared_book_is_a_gap_of_depth_until_the_next_snapshot(house):
    levels = ({19_200: 5}, {19_201: 6})
    records = [*snapshot(NOON_US, *levels), clear(NOON_US + 2 * SECOND_US)]
    path = depth_path(house.root)
    path.write_bytes(depth(*records))
    house.poll(3)
    [gap] = house.rows("gaps")
    assert (gap["table_name"], gap["state"], gap["to_ts"]) == ("depth", "open", None)
    assert gap["reason"] == "ESH24: the recorder cleared the book"
    assert int(gap["from_ts"].timestamp()) == NOON_US // SECOND_US + 2
    assert house.part("sierra depth")["state"] == "degraded"
    records += snapshot(NOON_US + 9 * SECOND_US, *levels)
    path.write_bytes(depth(*records))
    house.poll(7)
    last = house.rows("gaps")[-1]
    assert (last["gap_id"], last["state"]) == (gap["gap_id"], "unrepairable")
    assert int(last["to_ts"].timestamp()) == NOON_US // SECOND_US + 9
    assert [row["valid"] for row in house.rows("book")] == [True, False]


def test_trades_in_a_silence_of_depth_make_the_book_unknown_until_a_snapshot(house):
    levels = ({19_200: 5}, {19_201: 6})
    early = snapshot(NOON_US, *levels)
    late = record(NOON_US + 30 * SECOND_US, "modify_bid", 480_000, 7)
    prints = [trade(NOON_US + at * SECOND_US, 480_025, 1, side=1) for at in (1, 10, 20)]
    depth_path(house.root).write_bytes(depth(*early))
    scid_path(house.root).write_bytes(scid(*prints[:1]))
    house.poll()
    assert house.rows("gaps") == []
    scid_path(house.root).write_bytes(scid(*prints))
    house.poll(20)
    [gap] = house.rows("gaps")
    assert gap["reason"] == "ESH24: trades printed while depth was silent"
    assert int(gap["from_ts"].timestamp()) == NOON_US // SECOND_US
    depth_path(house.root).write_bytes(depth(*early, late))
    house.poll(10)
    assert [row["state"] for row in house.rows("gaps")] == ["open"]
    depth_path(house.root).write_bytes(
        depth(*early, late, *snapshot(NOON_US + 60 * SECOND_US, *levels))
    )
    house.poll(30)
    assert [row["state"] for row in house.rows("gaps")] == ["open", "unrepairable"]


def test_a_silence_that_ended_in_a_snapshot_is_written_down_and_the_book_stays_known(house):
    levels = ({19_200: 5}, {19_201: 6})
    prints = [trade(NOON_US + at * SECOND_US, 480_025, 1, side=1) for at in (1, 5)]
    scid_path(house.root).write_bytes(scid(*prints))
    records = snapshot(NOON_US, *levels) + snapshot(NOON_US + 8 * SECOND_US, *levels)
    depth_path(house.root).write_bytes(depth(*records))
    house.poll(9)
    opened, closed = house.rows("gaps")
    assert (opened["state"], closed["state"]) == ("open", "unrepairable")
    assert int(closed["to_ts"].timestamp()) == NOON_US // SECOND_US + 8
    assert house.part("sierra depth")["state"] == "ok"


def test_a_quiet_market_without_trades_leaves_the_book_known(house):
    levels = ({19_200: 5}, {19_201: 6})
    records = [*snapshot(NOON_US, *levels)]
    records.append(record(NOON_US + 30 * SECOND_US, "modify_bid", 480_000, 7))
    depth_path(house.root).write_bytes(depth(*records))
    house.poll(31)
    assert house.rows("gaps") == []


def test_trades_are_the_source_where_no_other_feed_brings_them(house):
    pair = make_pair(8, PairOptions(start_us=NOON_US, events=2_000))
    path, half = scid_path(house.root), len(pair.scid) // 2
    path.write_bytes(scid(*pair.scid[:half], tail=pair.scid[half][:13]))
    house.poll()
    path.write_bytes(scid(*pair.scid))
    house.poll(600)
    rows = house.rows("trades")
    assert len(rows) == len(pair.scid)
    assert {row["source"] for row in rows} == {"scid"}
    assert sum(row["size"] for row in rows) == sum(p.size for p in pair.prints)
    assert house.part("sierra trades")["detail"].endswith("(source)")


def test_beside_another_feed_they_are_only_its_witness(tmp_path):
    pair = make_pair(8, PairOptions(start_us=NOON_US - 60 * SECOND_US, events=100))
    scid_path(tmp_path).parent.mkdir(parents=True)
    scid_path(tmp_path).write_bytes(scid(*pair.scid))
    with sierra_house(tmp_path, fed=["ES"]) as house:
        house.poll()
        assert house.rows("trades") == []
        assert "witness" in house.part("sierra trades")["detail"]


def test_trades_go_on_after_a_restart_and_a_rewrite_without_a_double(tmp_path):
    pair = make_pair(9, PairOptions(start_us=NOON_US, events=1_500))
    third = len(pair.scid) // 3
    with sierra_house(tmp_path) as house:
        clock = house.clock
        scid_path(tmp_path).write_bytes(scid(*pair.scid[:third]))
        house.poll()
    with sierra_house(tmp_path, clock=clock) as house:
        scid_path(tmp_path).write_bytes(scid(*pair.scid[: 2 * third]))
        house.poll(300)
        scid_path(tmp_path).write_bytes(scid(*pair.scid[: third + 5]))
        house.poll()
        scid_path(tmp_path).write_bytes(scid(*pair.scid))
        house.poll(300)
        numbers = [row["source_seq"] for row in house.rows("trades")]
        assert len(numbers) == len(set(numbers)) == len(pair.scid)


def test_of_an_old_file_only_the_last_day_is_taken(house):
    old = [trade(NOON_US - 30 * 3_600 * SECOND_US + n, 480_000) for n in range(50)]
    new = [trade(NOON_US - 3_600 * SECOND_US + n, 480_000) for n in range(7)]
    scid_path(house.root).write_bytes(scid(*old, *new, tail=bytes(120)))
    house.poll()
    assert len(house.rows("trades")) == 7


def test_bars_among_ticks_are_left_out_and_shown(house):
    scid_path(house.root).write_bytes(
        scid(trade(NOON_US, 480_000), bar(NOON_US, 480_000, 480_100, 479_900, 480_025))
    )
    house.poll()
    part = house.part("sierra trades")
    assert len(house.rows("trades")) == 1
    assert part["state"] == "degraded"
    assert "1 bars left out" in part["detail"]


def test_only_the_front_contract_of_a_quarterly_future_is_followed(house):
    for stem in ("ESM24_FUT_CME", "ESZ23-CME"):
        (house.root / "Sierra" / "Data" / f"{stem}.scid").write_bytes(scid(trade(NOON_US, 480_000)))
    house.poll()
    assert house.rows("trades") == []
    assert house.part("sierra trades")["state"] == "late"


def test_a_file_that_cannot_be_read_is_shown_and_taken_once_it_can(house):
    depth_path(house.root).write_bytes(b"garbage" * 100)
    house.poll()
    part = house.part("sierra depth")
    assert (part["state"], part["detail"]) == ("degraded", f"{NAME} refused")
    depth_path(house.root).write_bytes(depth(*snapshot(NOON_US, {19_200: 5}, {19_201: 6})))
    house.poll(2)
    assert len(house.rows("depth")) == 3
    assert house.part("sierra depth")["state"] == "ok"


def test_a_contract_under_two_services_names_is_taken_once(house):
    pair = make_pair(8, PairOptions(start_us=NOON_US, events=900))
    folder = house.root / "Sierra" / "Data"
    half, more = len(pair.scid) // 2, len(pair.scid) * 3 // 4
    (folder / "ESH24-CME.scid").write_bytes(scid(*pair.scid[:more]))
    (folder / SCID).write_bytes(scid(*pair.scid[half:]))
    levels = ({19_200: 5}, {19_201: 6})
    for name in (NAME, NAME.replace("_FUT_CME", "-CME")):
        depth_path(house.root).with_name(name).write_bytes(depth(*snapshot(NOON_US, *levels)))
    house.poll(300)
    house.poll()
    numbers = [row["source_seq"] for row in house.rows("trades")]
    assert len(numbers) == len(set(numbers)) == len(pair.scid)
    assert len(house.rows("depth")) == 3
    part = house.part("sierra depth")
    assert part["state"] == "degraded"
    assert f"{NAME} left alone: its contract has a file" in part["detail"]


def test_a_long_file_that_is_caught_up_with_is_not_taken_for_silent(house):
    pair = make_pair(8, PairOptions(start_us=NOON_US, events=900))
    scid_path(house.root).write_bytes(scid(*pair.scid))
    depth_path(house.root).write_bytes(depth(*pair.depth[:200]))
    house.poll(200)
    assert house.rows("gaps") == []
    assert house.part("sierra depth")["state"] == "ok"


def test_over_midnight_the_book_of_the_new_day_takes_over(tmp_path):
    midnight_us = DAY_US + 86_400 * SECOND_US
    levels = ({19_200: 5}, {19_201: 6})
    with sierra_house(tmp_path) as house:
        house.clock.set_wall_ns((midnight_us - 30 * SECOND_US) * NS_PER_US)
        depth_path(tmp_path).write_bytes(depth(*snapshot(midnight_us - 31 * SECOND_US, *levels)))
        house.poll()
        depth_path(tmp_path).with_name(NEXT_NAME).write_bytes(
            depth(*snapshot(midnight_us + SECOND_US, {19_210: 1}, {19_211: 2}))
        )
        late = record(midnight_us - SECOND_US, "modify_bid", 480_000, 9)
        house.poll(35)
        depth_path(tmp_path).write_bytes(
            depth(*snapshot(midnight_us - 31 * SECOND_US, *levels), late)
        )
        house.poll()
        house.poll()
        assert len(house.rows("depth")) == 7
        assert told_rows(house.rows("book"))[-1][1] == [(4802.5, 1)]
        assert house.part("sierra depth")["state"] == "ok"
