"""The hand-off keeps order and drops nothing, in memory or through its journal."""

import pytest

from core.errors import FeedLost
from ingest.dxlink_decode import Frame
from ingest.dxlink_intake import Arrived, Intake, Mark


@pytest.fixture
def intake(tmp_path):
    intake = Intake(tmp_path / "journal", frames_max=3, journal_bytes_max=2_000)
    yield intake
    intake.close()


def offer(intake, *numbers):
    for number in numbers:
        intake.offer(1, Frame(number, b"%d" % number))


def stamps(entries):
    return [e.frame.ts_recv_ns if isinstance(e, Arrived) else e.what for e in entries]


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
