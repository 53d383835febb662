import sqlite3
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import pytest

from ingest.gex_links import LinkRequest, Series
from ingest.gex_queue import WAITING_MAX, JobQueue
from tests.conftest import ROOT

OPENERS = 4
ROUNDS = 100
SERIES = Series("NQ_NDX", "classic", "gex_zero", "2026-11-20")
ASKED = LinkRequest("https://hist.gex.bot/f?sig=SECRET", "hist.gex.bot", SERIES)


@pytest.fixture
def queue(tmp_path, manual_clock):
    queue = JobQueue(tmp_path / "jobs.sqlite", manual_clock)
    yield queue
    queue.close()


def other(number):
    return replace(ASKED, series=replace(SERIES, date=f"day {number}"))


def test_a_file_waits_once_and_takes_the_fresher_link(queue):
    job, outcome = queue.add_link(ASKED)
    assert outcome == "queued"
    again, outcome = queue.add_link(replace(ASKED, url="https://hist.gex.bot/f?sig=FRESH"))
    assert (again.id, outcome) == (job.id, "refreshed")
    assert "FRESH" in queue.claim().url


def test_series_of_one_day_are_different_files(queue):
    queue.add_link(ASKED)
    full = replace(ASKED, series=replace(SERIES, category="gex_full"))
    assert queue.add_link(full)[1] == "queued"


def test_an_imported_file_is_not_fetched_again_unless_forced(queue):
    queue.add_link(ASKED)
    queue.end(queue.claim(), "done", "", {"added": 5})
    job, outcome = queue.add_link(ASKED)
    assert outcome == "already_imported"
    assert job.shown()["added"] == 5
    assert queue.add_link(replace(ASKED, is_forced=True))[1] == "queued"


def test_a_job_a_worker_left_behind_is_taken_up_again(tmp_path, queue, manual_clock):
    queue.add_link(ASKED)
    left = queue.claim()
    assert queue.claim() is None
    assert queue.is_due()
    second = JobQueue(tmp_path / "jobs.sqlite", manual_clock)
    second.recover()
    found = second.claim()
    assert (found.id, found.attempts) == (left.id, 2)
    second.close()


def test_a_job_put_back_is_due_later(queue, manual_clock):
    queue.add_link(ASKED)
    queue.put_back(queue.claim(), "busy", manual_clock.now_ns() + 5 * 10**9)
    assert queue.claim() is None
    assert not queue.is_due()
    manual_clock.advance_s(5)
    assert queue.claim().error == "busy"


def test_a_link_is_forgotten_when_its_job_has_ended_and_never_shown(queue, tmp_path):
    job, _ = queue.add_link(ASKED)
    assert "SECRET" not in str(job.shown()) + repr(job)
    queue.end(queue.claim(), "failed", "no", {})
    assert queue.get(job.id).url == ""
    queue.close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as db:
        assert "SECRET" not in str(db.execute("SELECT * FROM jobs").fetchall())
    db.close()
    assert (tmp_path / "jobs.sqlite").stat().st_mode & 0o077 == 0


def test_the_queue_has_an_end(queue):
    for number in range(WAITING_MAX):
        assert queue.add_link(other(number)) is not None
    assert queue.add_link(other(WAITING_MAX)) is None
    assert queue.counts() == {"queued": WAITING_MAX}


def test_an_end_of_day_file_is_queued_once_a_day_whatever_becomes_of_it(queue):
    assert queue.add_eod(SERIES, "api.gex.bot") is not None
    assert queue.add_eod(SERIES, "api.gex.bot") is None
    queue.end(queue.claim(), "failed", "no", {})
    assert queue.add_eod(SERIES, "api.gex.bot") is None
    assert queue.last_failure().error == "no"
    assert queue.add_eod(replace(SERIES, date="2026-11-21"), "api.gex.bot") is not None


OPENER = """
import sys
from pathlib import Path
from core.clock import SystemClock
from ingest.gex_queue import JobQueue

for folder in sys.stdin:
    queue = JobQueue(Path(folder.strip()) / "jobs.sqlite", SystemClock())
    print(queue.counts(), flush=True)
    queue.close()
"""


def test_many_processes_may_open_a_new_queue_at_once(tmp_path):
    command = [sys.executable, "-c", OPENER]
    with ExitStack() as house:
        openers = [
            house.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
                )
            )
            for _ in range(OPENERS)
        ]
        for number in range(ROUNDS):
            for opener in openers:
                opener.stdin.write(f"{tmp_path / str(number)}\n")
                opener.stdin.flush()
            assert [opener.stdout.readline() for opener in openers] == ["{}\n"] * OPENERS
        for opener in openers:
            opener.stdin.close()
