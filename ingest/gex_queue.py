"""The queue of history files: on disk, so that neither a kill nor a power cut loses a job.

One SQLite file beside the tape, never in it. Any process may add and look; the one worker takes
jobs in turn. A link is kept until its job has ended and is then forgotten, for it is a credential.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from core.clock import Clock
from ingest.gex_links import LinkRequest, Series

JobState = Literal["queued", "running", "done", "failed", "failed_validation", "expired"]
Queued = Literal["queued", "refreshed", "already_imported", "full"]
WAITING_MAX = 50
ENDED_MAX = 5_000
BUSY_S = 5.0
EOD: Final = "eod"
LINK: Final = "link"
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, state TEXT NOT NULL,
    ticker TEXT NOT NULL, package TEXT NOT NULL, category TEXT NOT NULL, date TEXT NOT NULL,
    host TEXT NOT NULL, url TEXT, attempts INTEGER NOT NULL DEFAULT 0, due_ns INTEGER NOT NULL,
    created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL,
    error TEXT NOT NULL DEFAULT '', facts TEXT NOT NULL DEFAULT '{}'
)
"""
_ONE_PENDING = """
CREATE UNIQUE INDEX IF NOT EXISTS one_pending ON jobs (kind, ticker, package, category, date)
WHERE state IN ('queued', 'running')
"""
_SERIES = "ticker = ? AND package = ? AND category = ? AND date = ?"


@dataclass(frozen=True, slots=True)
class Job:
    """One file to fetch; `facts` are what became of it."""

    id: int
    kind: str
    state: JobState
    series: Series
    host: str
    url: str = field(repr=False)
    attempts: int
    due_ns: int
    created_ns: int
    updated_ns: int
    error: str
    facts: Mapping[str, object]

    def shown(self) -> dict[str, object]:
        """The job as people and programs may see it, without the link."""
        return {
            "id": self.id,
            "status": self.state,
            "kind": self.kind,
            "ticker": self.series.ticker,
            "package": self.series.package,
            "category": self.series.category,
            "date": self.series.date,
            "host": self.host,
            "attempts": self.attempts,
            "error": self.error,
            **self.facts,
        }


class JobQueue:
    """Used by one thread at a time; several processes may have it open."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opening(path):
            if not path.exists():
                path.touch(0o600)
            self._db = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_TABLE)
            self._db.execute(_ONE_PENDING)

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def add_link(self, asked: LinkRequest) -> tuple[Job, Queued] | None:
        """Queue a file, durable on return; None where too many wait.

        A file that waits already keeps its job and takes the fresh link; one that was imported is
        not fetched again unless that is forced.
        """
        with self._changing() as now_ns:
            pending = self._find(LINK, asked.series, "state IN ('queued', 'running')")
            if pending is not None:
                self._db.execute(
                    "UPDATE jobs SET url = ?, host = ?, due_ns = ?, updated_ns = ? WHERE id = ?",
                    (asked.url, asked.host, now_ns, now_ns, pending.id),
                )
                return self._get(pending.id), "refreshed"
            done = self._find(LINK, asked.series, "state = 'done'")
            if done is not None and not asked.is_forced:
                return done, "already_imported"
            if self.counts().get("queued", 0) >= WAITING_MAX:
                return None
            facts = json.dumps({"notes": asked.notes} if asked.notes else {})
            number = self._insert(LINK, asked.series, asked.host, asked.url, facts)
            return self._get(number), "queued"

    def add_eod(self, series: Series, host: str) -> Job | None:
        """Queue the pull of a day's end-of-day file, once; None where it was queued before."""
        with self._changing():
            if self._find(EOD, series, "TRUE"):
                return None
            return self._get(self._insert(EOD, series, host, None, "{}"))

    def get(self, number: int) -> Job | None:
        """A job by its number."""
        row = self._db.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
        return None if row is None else _job(row)

    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        return dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def last_failure(self) -> Job | None:
        """The job that ended last, where it ended badly."""
        row = self._db.execute(
            "SELECT * FROM jobs WHERE state NOT IN ('queued', 'running') "
            "ORDER BY updated_ns DESC, id DESC LIMIT 1"
        ).fetchone()
        return None if row is None or row["state"] == "done" else _job(row)

    def is_due(self) -> bool:
        """Whether there is work now: a job whose time has come, or one a worker left behind."""
        row = self._db.execute(
            "SELECT 1 FROM jobs WHERE state = 'running' OR (state = 'queued' AND due_ns <= ?)",
            (self._clock.now_ns(),),
        ).fetchone()
        return row is not None

    def recover(self) -> None:
        """Queue again what a worker that is gone had begun; for the one worker, at its start."""
        with self._changing() as now_ns:
            self._db.execute(
                "UPDATE jobs SET state = 'queued', updated_ns = ? WHERE state = 'running'",
                (now_ns,),
            )

    def claim(self) -> Job | None:
        """Take the oldest job whose time has come."""
        with self._changing() as now_ns:
            row = self._db.execute(
                "SELECT id FROM jobs WHERE state = 'queued' AND due_ns <= ? ORDER BY id LIMIT 1",
                (now_ns,),
            ).fetchone()
            if row is None:
                return None
            self._db.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, updated_ns = ? "
                "WHERE id = ?",
                (now_ns, row["id"]),
            )
            return self._get(row["id"])

    def progress(self, job: Job, facts: Mapping[str, object]) -> None:
        """Say how far a job is."""
        self._db.execute(
            "UPDATE jobs SET facts = ?, updated_ns = ? WHERE id = ?",
            (json.dumps({**job.facts, **facts}), self._clock.now_ns(), job.id),
        )

    def put_back(self, job: Job, error: str, due_ns: int) -> None:
        """Try again later."""
        with self._changing() as now_ns:
            self._db.execute(
                "UPDATE jobs SET state = 'queued', error = ?, due_ns = ?, updated_ns = ? "
                "WHERE id = ?",
                (error, due_ns, now_ns, job.id),
            )

    def end(self, job: Job, state: JobState, error: str, facts: Mapping[str, object]) -> None:
        """A job is over; its link is forgotten."""
        with self._changing() as now_ns:
            self._db.execute(
                "UPDATE jobs SET state = ?, error = ?, facts = ?, url = NULL, updated_ns = ? "
                "WHERE id = ?",
                (state, error, json.dumps({**job.facts, **facts}), now_ns, job.id),
            )
            self._db.execute(
                "DELETE FROM jobs WHERE state NOT IN ('queued', 'running') AND id <= ?",
                (job.id - ENDED_MAX,),
            )

    @contextmanager
    def _changing(self) -> Iterator[int]:
        """All or nothing; the time now."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._clock.now_ns()
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _find(self, kind: str, series: Series, where: str) -> Job | None:
        values = (kind, series.ticker, series.package, series.category, series.date)
        row = self._db.execute(
            f"SELECT * FROM jobs WHERE kind = ? AND {_SERIES} AND {where} "  # noqa: S608 - ours
            "ORDER BY id DESC LIMIT 1",
            values,
        ).fetchone()
        return None if row is None else _job(row)

    def _insert(self, kind: str, series: Series, host: str, url: str | None, facts: str) -> int:
        now_ns = self._clock.now_ns()
        key = (series.ticker, series.package, series.category, series.date)
        cursor = self._db.execute(
            "INSERT INTO jobs (kind, state, ticker, package, category, date, host, url, due_ns, "
            "created_ns, updated_ns, facts) VALUES (?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (kind, *key, host, url, now_ns, now_ns, now_ns, facts),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _get(self, number: int) -> Job:
        job = self.get(number)
        assert job is not None, number
        return job


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """One opener at a time: SQLite does not wait for others while it switches to its log."""
    fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        series=Series(row["ticker"], row["package"], row["category"], row["date"]),
        host=row["host"],
        url=row["url"] or "",
        attempts=row["attempts"],
        due_ns=row["due_ns"],
        created_ns=row["created_ns"],
        updated_ns=row["updated_ns"],
        error=row["error"],
        facts=json.loads(row["facts"]),
    )
