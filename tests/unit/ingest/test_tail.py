import random
from datetime import UTC, datetime

import numpy as np
import pytest

from ingest.tail import (
    CHUNK_RECORDS,
    CLOSE_AFTER_US,
    STUCK_US_MAX,
    FileTail,
    FolderTail,
    depth_plan,
    scid_plan,
)
from tests.fakes.depth_writer import DAY_US, NAME, STEM, make_pair, record
from tests.fakes.depth_writer import depth as depth_bytes
from tests.fakes.depth_writer import header as depth_header
from tests.fakes.scid_writer import record as trade
from tests.fakes.scid_writer import scid as scid_bytes

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
NOON_US = DAY_US + 43_200 * SECOND_US
MIDNIGHT_US = DAY_US + 86_400 * SECOND_US
NEXT_NAME = f"{STEM}.2023-12-26.depth"


def levels(count, *, first=0, from_us=NOON_US):
    return [
        record(from_us + place, "modify_bid", 480_000 + 25 * (place % 9), place + 1)
        for place in range(first, first + count)
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / NAME


def tail_of(path, given=0):
    return FileTail(path, depth_plan(path.name).kind, given)


def told(grown):
    return None if grown is None else (grown.first, len(grown.records), grown.is_again)


def drain(tail, now_us=NOON_US):
    """Every record a tail gives now, as bytes, and what it said of each part."""
    parts, raw = [], b""
    while (grown := tail.poll(now_us)) is not None:
        parts.append(told(grown))
        raw += grown.records.tobytes()
    return parts, raw


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_length_come_out_as_the_bytes_written(path, seed):
    rng = random.Random(seed)
    records = make_pair(seed).depth
    whole, written, got = depth_bytes(*records), 0, b""
    tail = tail_of(path)
    with path.open("wb") as file:
        while written < len(whole):
            piece = whole[written : written + rng.randint(1, 900)]
            file.write(piece)
            file.flush()
            written += len(piece)
            parts, raw = drain(tail)
            assert not any(is_again for _, _, is_again in parts)
            assert len(raw) % 24 == 0
            got += raw
    assert got == b"".join(records)
    assert (tail.given, tail.rewrites) == (len(records), 0)


def test_a_file_that_is_absent_short_or_a_zero_header_is_waited_for(path):
    tail = tail_of(path)
    assert tail.poll(NOON_US) is None
    for content in (b"", depth_header()[:63], bytes(64), bytes(4096)):
        path.write_bytes(content)
        assert tail.poll(NOON_US) is None
    path.write_bytes(depth_bytes(*levels(2)))
    assert told(tail.poll(NOON_US)) == (0, 2, False)


def test_a_zero_page_is_waited_for_until_the_writer_fills_it(path):
    tail = tail_of(path)
    path.write_bytes(depth_bytes(*levels(3), tail=bytes(240)))
    assert told(tail.poll(NOON_US)) == (0, 3, False)
    assert tail.poll(NOON_US + 10 * STUCK_US_MAX) is None
    assert tail.poll(NOON_US + 20 * STUCK_US_MAX) is None
    path.write_bytes(depth_bytes(*levels(13)))
    assert told(tail.poll(NOON_US + 21 * STUCK_US_MAX)) == (3, 10, False)
    assert tail.rewrites == 0


@pytest.mark.parametrize(
    "odd",
    [
        record(NOON_US, 200, 480_000, 1),
        record(DAY_US - 6 * MINUTE_US, "add_bid", 480_000, 1),
        record(MIDNIGHT_US + 6 * MINUTE_US, "add_bid", 480_000, 1),
    ],
    ids=["unknown command", "the day before", "the day after"],
)
def test_an_odd_record_is_tried_again_and_in_the_end_handed_on(path, odd):
    tail = tail_of(path)
    path.write_bytes(depth_bytes(*levels(2), odd, odd, *levels(1)))
    assert told(tail.poll(NOON_US)) == (0, 2, False)
    assert tail.poll(NOON_US) is None
    assert tail.poll(NOON_US + STUCK_US_MAX - 1) is None
    assert told(tail.poll(NOON_US + STUCK_US_MAX)) == (2, 2, False)
    assert told(tail.poll(NOON_US + STUCK_US_MAX)) == (4, 1, False)


def test_an_odd_record_that_is_written_right_in_time_is_taken_right(path):
    tail = tail_of(path)
    path.write_bytes(depth_bytes(*levels(2), bytes(8) + levels(1)[0][8:]))
    assert told(tail.poll(NOON_US)) == (0, 2, False)
    path.write_bytes(depth_bytes(*levels(3)))
    grown = tail.poll(NOON_US + SECOND_US)
    assert told(grown) == (2, 1, False)
    assert grown.records.tobytes() == levels(3)[2]


def test_a_blank_record_between_others_is_handed_on_in_the_end(path):
    tail = tail_of(path)
    path.write_bytes(depth_bytes(bytes(24), *levels(2)))
    assert tail.poll(NOON_US) is None
    assert told(tail.poll(NOON_US + STUCK_US_MAX)) == (0, 1, False)
    assert told(tail.poll(NOON_US + STUCK_US_MAX)) == (1, 2, False)


def test_a_file_that_shrank_is_given_again_and_its_new_end_as_new(path):
    tail = tail_of(path)
    path.write_bytes(depth_bytes(*levels(10)))
    drain(tail)
    path.write_bytes(depth_bytes(*levels(4)))
    assert drain(tail)[0] == [(0, 4, True)]
    path.write_bytes(depth_bytes(*levels(15)))
    assert drain(tail)[0] == [(4, 6, True), (10, 5, False)]
    assert tail.rewrites == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 20])
def test_a_file_that_shrank_below_its_header_begins_anew(path, content):
    tail = tail_of(path)
    path.write_bytes(depth_bytes(*levels(10)))
    drain(tail)
    path.write_bytes(content)
    assert tail.poll(NOON_US) is None
    path.write_bytes(depth_bytes(*levels(12), header_bytes=128))
    assert drain(tail)[0] == [(0, 10, True), (10, 2, False)]


def test_a_rewrite_in_place_is_seen_by_the_last_record(path):
    tail = tail_of(path)
    path.write_bytes(depth_bytes(*levels(10)))
    drain(tail)
    other = levels(12, from_us=NOON_US + SECOND_US)
    path.write_bytes(depth_bytes(*other))
    parts, raw = drain(tail)
    assert parts == [(0, 10, True), (10, 2, False)]
    assert raw == b"".join(other)
    assert tail.rewrites == 1


def test_a_tail_goes_on_after_the_records_already_known(path):
    path.write_bytes(depth_bytes(*levels(10)))
    assert drain(tail_of(path, given=7))[0] == [(7, 3, False)]
    assert drain(tail_of(path, given=12))[0] == [(0, 10, True)]


def test_a_long_backlog_comes_in_pieces(path):
    one = np.frombuffer(levels(1)[0], np.uint8)
    path.write_bytes(depth_header() + np.tile(one, CHUNK_RECORDS + 5).tobytes())
    assert drain(tail_of(path))[0] == [(0, CHUNK_RECORDS, False), (CHUNK_RECORDS, 5, False)]


def poll(folder, now_us):
    return [(name, *told(grown)) for name, grown in folder.poll(now_us)]


def test_over_midnight_both_days_files_are_followed_and_late_flushes_taken(tmp_path):
    folder = FolderTail(tmp_path, depth_plan)
    old, new = tmp_path / NAME, tmp_path / NEXT_NAME
    old.write_bytes(depth_bytes(*levels(3)))
    assert poll(folder, MIDNIGHT_US - 10 * MINUTE_US) == [(NAME, 0, 3, False)]
    new.write_bytes(depth_bytes(*levels(2, from_us=MIDNIGHT_US)))
    assert poll(folder, MIDNIGHT_US - 2 * MINUTE_US) == []
    early_us = MIDNIGHT_US - 59 * SECOND_US
    assert poll(folder, early_us) == [(NEXT_NAME, 0, 2, False)]
    old.write_bytes(depth_bytes(*levels(5)))
    late_us = MIDNIGHT_US + 20 * SECOND_US
    assert poll(folder, late_us) == [(NAME, 3, 2, False)]
    assert poll(folder, late_us + CLOSE_AFTER_US - 1) == []
    assert folder.open_names == [NAME, NEXT_NAME]
    assert poll(folder, late_us + CLOSE_AFTER_US) == []
    assert folder.open_names == [NEXT_NAME]
    old.write_bytes(depth_bytes(*levels(6)))
    very_late_us = MIDNIGHT_US + 60 * MINUTE_US
    assert poll(folder, very_late_us) == [(NAME, 5, 1, False)]


def test_files_of_other_days_and_kinds_are_left_alone(tmp_path):
    for name in ("ESH24_FUT_CME.2023-12-01.depth", NEXT_NAME, "ESH24_FUT_CME.scid", "notes.txt"):
        (tmp_path / name).write_bytes(depth_bytes(*levels(1)))
    folder = FolderTail(tmp_path, depth_plan)
    assert poll(folder, NOON_US) == []
    assert folder.open_names == []
    absent = FolderTail(tmp_path / "absent", depth_plan)
    assert poll(absent, NOON_US) == []


def test_a_file_of_another_kind_is_refused_until_it_changes(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(scid_bytes(*[trade(NOON_US, 480_000)] * 3))
    folder = FolderTail(tmp_path, depth_plan)
    for second in range(3):
        assert poll(folder, NOON_US + second * SECOND_US) == []
        assert folder.open_names == []
    path.write_bytes(depth_bytes(*levels(2)))
    assert poll(folder, NOON_US + 9 * SECOND_US) == [(NAME, 0, 2, False)]


def test_known_records_are_asked_for_by_the_files_name(tmp_path):
    (tmp_path / NAME).write_bytes(depth_bytes(*levels(5)))
    folder = FolderTail(tmp_path, depth_plan, {NAME: 4}.__getitem__)
    assert poll(folder, NOON_US) == [(NAME, 4, 1, False)]


def test_trades_files_are_followed_too_and_never_closed(tmp_path):
    path = tmp_path / "ESH24_FUT_CME.scid"
    folder = FolderTail(tmp_path, scid_plan)
    trades = [trade(NOON_US + place, 480_000) for place in range(4)]
    future = trade(NOON_US + 40 * MINUTE_US, 480_000)
    path.write_bytes(scid_bytes(*trades[:2], tail=trades[2][:7]))
    assert poll(folder, NOON_US) == [(path.name, 0, 2, False)]
    path.write_bytes(scid_bytes(*trades, bytes(40), future))
    assert poll(folder, NOON_US) == [(path.name, 2, 2, False)]
    assert poll(folder, NOON_US + SECOND_US) == []
    days_later_us = NOON_US + 3 * 86_400 * SECOND_US
    assert poll(folder, days_later_us) == [(path.name, 4, 1, False), (path.name, 5, 1, False)]
    assert folder.open_names == [path.name]
    assert scid_plan("a.txt") is None


def test_days_of_a_clock_change_are_utc_days_like_all_others():
    for day in ("2025-10-26", "2025-11-02", "2025-03-09"):
        plan = depth_plan(f"{STEM}.{day}.depth")
        start = datetime.fromisoformat(f"{day}T00:00:00").replace(tzinfo=UTC)
        assert plan.opens_us == int(start.timestamp()) * SECOND_US - MINUTE_US
        assert plan.ends_us == plan.opens_us + MINUTE_US + 86_400 * SECOND_US
