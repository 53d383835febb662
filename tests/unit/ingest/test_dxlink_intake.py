"""The hand-off keeps order and drops nothing, in memory or through its journal."""

import threading

import pytest

from core.errors import FeedLost
from ingest.dxlink_decode import Frame
from ingest.dxlink_intake import Intake, Mark


@pytest.fixture
def intake(tmp_path):
    intake = Intake(tmp_path / "journal", frames_max=3, journal_bytes_max=2_000)
    yield intake
    intake.close()


def offer(intake, *numbers):
    for number in numbers:
        intake.offer([Frame(number, b"%d" % number, 1)])


def stamps(entries):
    return [e.ts_recv_ns if isinstance(e, Frame) else e.what for e in entries]


def test_frames_beyond_memory_come_back_from_the_journal_in_order(intake):
    offer(intake, *range(10))
    assert intake.spilled_count == 7
    assert stamps(intake.take(4, 0)) == [0, 1, 2, 3]
    offer(intake, 10)
    assert stamps(intake.take(100, 0)) == list(range(4, 11))
    assert intake.offered_count == intake.taken_count == 11
    offer(intake, 11)
    assert intake.spilled_count == 8
    assert stamps(intake.take(100, 0)) == [11]


def test_a_mark_keeps_its_place_behind_the_backlog(intake):
    offer(intake, *range(5))
    intake.mark(Mark(1, "lost", 0))
    offer(intake, 5)
    assert stamps(intake.take(100, 0)) == [0, 1, 2, 3, 4, "lost", 5]


def test_a_full_journal_is_said_and_what_is_kept_stays(intake):
    with pytest.raises(FeedLost, match="journal is full"):
        offer(intake, *range(1_000))
    kept = stamps(intake.take(10_000, 0))
    assert kept == list(range(len(kept)))
    assert len(kept) == intake.offered_count


def test_an_empty_intake_gives_nothing_after_its_time(intake):
    assert intake.take(10, 0.001) == []


def test_what_is_taken_together_is_bounded_in_bytes(tmp_path):
    intake = Intake(tmp_path / "journal", frames_max=3)
    for number in range(6):
        intake.offer([Frame(number, bytes(3 << 20), 1)])
    taken = []
    while entries := intake.take(100, 0):
        assert len(entries) <= 2
        taken += stamps(entries)
    assert taken == list(range(6))
    intake.close()


def test_two_threads_hand_over_everything_in_order(tmp_path):
    intake = Intake(tmp_path / "journal", frames_max=50)
    offering = threading.Thread(target=offer, args=(intake, *range(20_000)))
    offering.start()
    taken = []
    while len(taken) < 20_000:
        taken += stamps(intake.take(64, 1.0))
    offering.join()
    assert taken == list(range(20_000))
    intake.close()
