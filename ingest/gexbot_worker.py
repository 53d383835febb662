"""The history worker: a process that fetches and imports queued files, one at a time, then ends.

It is started when there is work, so that what a file costs in memory and time is nobody else's. A
job it did not end is taken up by the next worker; a file half imported is found out and completed.
"""

import fcntl
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from core.clock import NS_PER_S, Clock
from core.errors import FeedGarbled, FeedLost, FeedRefused, PipelineError
from core.log import Log
from core.settings import Settings
from ingest.gex_history import HistoryInvalid
from ingest.gex_import import Importer, Sink
from ingest.gex_inflate import Limits
from ingest.gex_queue import EOD, Job, JobQueue, JobState
from ingest.gexbot_client import Access, FeedSlowed
from ingest.gexbot_download import Fetch, Fetched, LinkExpired
from storage.intake import IntakeClient
from storage.lake import lake_of
from storage.paths import Paths
from storage.view import View, Views

log = Log("gex")
ATTEMPTS_MAX: Final = 5
EOD_ATTEMPTS_MAX: Final = 32  # it may be made hours after the close
BACKOFF_S: Final = 5.0
BACKOFF_S_MAX: Final = 600.0
NICENESS: Final = 10
_ENDS: Final[dict[type[PipelineError], JobState]] = {
    LinkExpired: "expired",
    HistoryInvalid: "failed_validation",
    FeedGarbled: "failed",
    FeedRefused: "failed",
}


@dataclass(frozen=True, slots=True)
class Worker:
    """Takes jobs from the queue until none is due."""

    queue: JobQueue
    fetch: Fetch
    connect: Callable[[], "Closing"]
    view: Callable[[], View]
    access: Access
    paths: Paths
    clock: Clock
    limits: Limits
    rng: random.Random

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Work until nothing is due."""
        self.queue.recover()
        while not is_stopping():
            job = self.queue.claim()
            if job is None:
                return
            self._work(job)

    def _work(self, job: Job) -> None:
        target = self.paths.gex_spool / f"{job.id}.file"
        try:
            facts = self._take(job, target)
        except PipelineError as error:
            self._settle(job, error)
        else:
            self.queue.end(job, "done", "", facts)
            log.info("job.done", job=job.id, series=job.series, added=facts.get("added"))
        finally:
            target.unlink(missing_ok=True)

    def _take(self, job: Job, target: Path) -> dict[str, object]:
        fetched = self._fetch_eod(job, target) if job.kind == EOD else self.fetch(job.url, target)
        told: dict[str, object] = {"bytes": fetched.size_bytes, "sha256": fetched.sha256}
        self.queue.progress(job, told)
        with closing(self.connect()) as sink:
            importer = Importer(
                sink,
                self.view,
                self.paths.gex_spool,
                f"job-{job.id}",
                self.limits,
                self.clock.now_ns(),
            )
            via = "eod" if job.kind == EOD else "hist"
            taken = importer.take_file(target, job.series, via)
        if not taken:
            raise FeedLost(f"the archive does not hold {job.series} yet")
        return told | taken[0].facts()

    def _fetch_eod(self, job: Job, target: Path) -> Fetched:
        """From the operator's own address, which may be anywhere."""
        url = f"{self.access.base_url.rstrip('/')}/hist/eod/{job.series.ticker}"
        fetch = replace(self.fetch, only_public=False)
        try:
            return fetch(url, target, self.access.headers())
        except LinkExpired as error:
            raise FeedLost(f"the end-of-day file is not there: {error.message}") from error
        except FeedRefused as error:
            raise FeedRefused(
                error.message, hint="check GEXBOT_API_KEY and GEXBOT_BASE_URL"
            ) from error

    def _settle(self, job: Job, error: PipelineError) -> None:
        """Try again later, or give up, by what went wrong."""
        state = next((_ENDS[kind] for kind in type(error).__mro__ if kind in _ENDS), None)
        attempts_max = EOD_ATTEMPTS_MAX if job.kind == EOD else ATTEMPTS_MAX
        if state is None and job.attempts >= attempts_max:
            state = "failed"
        if state is not None:
            told = f"{error.message}; {error.hint}" if error.hint else error.message
            self.queue.end(job, state, told, {})
            log.error("job.failed", job=job.id, series=job.series, state=state, why=error.message)
            return
        asked_s = error.wait_s if isinstance(error, FeedSlowed) else None
        wait_s = min(BACKOFF_S * 4.0 ** (job.attempts - 1), BACKOFF_S_MAX)
        wait_s = asked_s if asked_s is not None else wait_s * self.rng.uniform(0.75, 1.0)
        self.queue.put_back(job, error.message, self.clock.now_ns() + int(wait_s * NS_PER_S))
        log.warning("job.put_back", job=job.id, wait_s=round(wait_s), why=error.message)


class Closing(Sink, Protocol):
    """A sink that hangs up."""

    def close(self) -> None:
        """Hang up."""


def run(
    settings: Settings,
    *,
    clock: Clock,
    ready: Callable[[Mapping[str, object]], None],
    stopping: threading.Event,
) -> None:
    """The process's life: everything that is due, then the end."""
    ready({})
    os.nice(NICENESS)
    paths = Paths(settings.data_dir)
    limits = Limits()
    views = Views(paths, lake_of(settings))
    with _only_one(paths) as is_alone, closing(JobQueue(paths.gex_jobs, clock)) as queue:
        if is_alone:
            Worker(
                queue,
                Fetch(limits, clock, stopping.is_set),
                lambda: IntakeClient(paths),
                views.view,
                Access(settings.text("GEXBOT_BASE_URL"), settings.text("GEXBOT_API_KEY")),
                paths,
                clock,
                limits,
                random.SystemRandom(),
            ).run(stopping.is_set)


@contextmanager
def _only_one(paths: Paths) -> Iterator[bool]:
    """Whether no other worker runs on this data folder."""
    paths.gex_spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(paths.gex_spool / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(fd)
