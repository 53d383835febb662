"""The history worker against a host on a real TLS socket, with a writer behind its intake."""

import gzip
import json
import os
import random
import signal
import ssl
import subprocess
import sys
from collections import Counter

import pytest
import trustme
from starlette.responses import RedirectResponse, Response

from core.clock import NS_PER_S, SystemClock
from core.settings import load_settings
from ingest.gex_inflate import Limits
from ingest.gex_links import LinkRules, Series, read_request
from ingest.gex_queue import JobQueue
from ingest.gexbot_client import Access
from ingest.gexbot_download import Fetch
from ingest.gexbot_worker import ATTEMPTS_MAX, Worker
from ingest.main import Ingest
from storage.intake import IntakeClient
from storage.view import Views
from tests.conftest import ROOT, clean_env
from tests.fakes import gexbot_made as made
from tests.fakes.deadline import until
from tests.fakes.gexbot_server import KEY, GexbotServer, bomb, day_json, endless, eod_zip, error
from tests.unit.ingest.test_gex_tape import batch

DAY = range(made.OPEN_S, made.OPEN_S + 7_200, 10)
NAME = "2026-11-20_NQ_NDX_classic_gex_zero.json.gz"
LIMITS = Limits(compressed_bytes=4 * 2**20, inflated_bytes=64 * 2**20)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def host(authority):
    with GexbotServer(tls=authority.issue_cert("localhost", "127.0.0.1")) as server:
        yield server


class Desk:
    """A writer, a queue and a worker over one data folder."""

    def __init__(self, root, host, authority):
        self.host = host
        more = {"DATA_DIR": str(root), "TASTYTRADE_CLIENT_SECRET": ""}
        self.settings = load_settings(more, environ={}, env_file=root / "none")
        self.clock = SystemClock()
        self.ingest = Ingest(self.settings, self.clock, None)
        # Jobs are worked off here and not by a process of the writer's, which knows no test host.
        self.ingest._intake.start()
        self.paths = self.ingest.paths
        self.queue = JobQueue(root / "test.sqlite", self.clock)
        self.rules = LinkRules(frozenset({"localhost"}), frozenset({host.port}), only_public=False)
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)

    def close(self):
        self.queue.close()
        self.ingest._intake.stop()
        self.ingest.store.close()

    def add(self, name=NAME, **more):
        """Queue a link to a file of the host's."""
        url = f"https://localhost:{self.host.port}/files/{name}?sig=SECRET"
        asked = read_request({"url": url, **more}, self.rules, self.clock.now_ns())
        return self.queue.add_link(asked)[0]

    def work(self, *, only_public=False):
        views = Views(self.paths, self.settings.lake_url)
        fetch = Fetch(LIMITS, self.clock, lambda: False, only_public, verify=self.trust)
        Worker(
            self.queue,
            fetch,
            lambda: IntakeClient(self.paths),
            views.view,
            Access(f"https://localhost:{self.host.port}/v2", KEY),
            self.paths,
            self.clock,
            LIMITS,
            random.Random(1),
        ).run(lambda: False)

    def done(self, name=NAME, **more):
        """What became of a file."""
        job = self.add(name, **more)
        self.work()
        return self.queue.get(job.id)

    def rows(self, symbol="NQ_NDX", table="gex"):
        reader = self.ingest.keeper.view().scan(table, symbol)
        return [row for part in reader for row in part.to_pylist()]


@pytest.fixture
def desk(tmp_path, host, authority):
    desk = Desk(tmp_path, host, authority)
    yield desk
    desk.close()


def test_a_file_is_fetched_checked_and_published_once(desk, host):
    host.files[NAME] = gzip.compress(day_json(DAY))
    polled = [made.chain(DAY[0]), made.chain(DAY[1]) | {"spot": 1.0}, made.chain(DAY[0] + 1)]
    about = {"package": "classic", "category": "gex_zero"}
    desk.ingest.gex.append_new("gex", batch(*polled, **about))
    job = desk.done()
    assert (job.state, job.error) == ("done", "")
    facts = job.facts
    assert (facts["records"], facts["added"], facts["duplicates"]) == (720, 719, 1)
    assert facts["bytes"] == len(host.files[NAME])
    assert Counter(row["via"] for row in desk.rows()) == {"hist": 719, "api": 3}
    (check,) = desk.rows(table="spot_checks")
    assert (check["witness"], check["outcome"], check["table_name"]) == ("eod", "mismatch", "gex")
    assert (check["rows"], check["matched"]) == (2, 1)
    assert "spot differs 1 times" in check["detail"]
    assert "1 polled seconds are not in the file" in check["detail"]
    again = desk.done(force=True)
    assert (again.state, again.facts["added"]) == ("done", 0)
    assert len(desk.rows()) == 722, "what differed is on record beside what was polled"
    assert not list(desk.paths.gex_spool.glob("*job*"))
    (call,) = [c for c in host.calls if c.path == f"/files/{NAME}"][:1]
    assert "authorization" not in call.headers


def test_the_end_of_day_archive_is_asked_for_with_the_key_and_its_series_imported(desk, host):
    host.files["eod/NQ_NDX.zip"] = eod_zip(DAY)
    desk.queue.add_eod(Series("NQ_NDX", "classic", "gex_zero", "2026-11-20"), "localhost")
    desk.work(only_public=True)  # that is for links we are handed; this address is the operator's
    assert desk.queue.counts() == {"done": 1}
    assert {row["category"] for row in desk.rows()} == {"gex_zero"}
    assert {row["via"] for row in desk.rows()} == {"eod"}
    assert len(desk.rows()) == len(DAY)
    (check,) = desk.rows(table="spot_checks")
    assert check["outcome"] == "unverifiable"
    (call,) = [c for c in host.calls if "/eod/" in c.path]
    assert call.headers["authorization"] == f"Bearer {KEY}"


def test_an_archive_of_another_day_is_asked_for_again_later(desk, host):
    host.files["eod/NQ_NDX.zip"] = eod_zip(DAY, date="2026-11-19")
    job = desk.queue.add_eod(Series("NQ_NDX", "classic", "gex_zero", "2026-11-20"), "localhost")
    desk.work()
    found = desk.queue.get(job.id)
    assert found.state == "queued"
    assert "does not hold" in found.error
    assert found.due_ns > desk.clock.now_ns()
    assert desk.rows() == []


@pytest.mark.parametrize("status", [403, 404])
def test_an_archive_that_is_not_there_yet_is_asked_for_for_hours(desk, host, status):
    host.answers["/v2/hist/eod/NQ_NDX"] = [error(status, "No data.")] * 50
    job = desk.queue.add_eod(Series("NQ_NDX", "classic", "gex_zero", "2026-11-20"), "localhost")
    waited_s = 0
    while desk.queue.get(job.id).state == "queued":
        desk.work()
        job = desk.queue.get(job.id)
        if job.state == "queued":
            assert "fresh link" not in job.error
            waited_s += (job.due_ns - desk.clock.now_ns()) / NS_PER_S
            desk.queue.put_back(job, job.error, 0)
    assert job.state == "failed"
    assert 3 * 3_600 < waited_s < 12 * 3_600


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_expired_link_is_named_and_not_tried_again(desk, host, status):
    host.answers[f"/files/{NAME}"] = [error(status, "Signature not valid.")] * 2
    job = desk.done()
    assert (job.state, job.attempts) == ("expired", 1)
    assert "fresh link" in job.error
    assert "SECRET" not in job.error


def test_a_busy_host_is_tried_again_later_and_not_for_ever(desk, host):
    host.answers[f"/files/{NAME}"] = [
        error(429, "busy", {"retry-after": "7"}),
        *[Response(b"", 503) for _ in range(ATTEMPTS_MAX)],
    ]
    job = desk.done()
    assert job.state == "queued"
    assert 6 * NS_PER_S < job.due_ns - desk.clock.now_ns() <= 7 * NS_PER_S
    while (job := desk.queue.get(job.id)).state == "queued":
        desk.add()  # a fresh link makes it due now
        desk.work()
    assert (job.state, job.attempts) == ("failed", ATTEMPTS_MAX)
    assert "503" in job.error


@pytest.mark.parametrize(
    ("answer", "state", "word"),
    [
        (RedirectResponse("https://localhost/elsewhere"), "failed", "redirects"),
        (Response(bomb()), "failed", "inflate"),
        (Response(gzip.compress(day_json(DAY))[:-20]), "failed", "middle"),
        (Response(b"<html>log in</html>"), "failed", "array"),
        (Response(day_json(DAY)[:-1]), "failed", "middle"),
        (Response(day_json(DAY, "NDX")), "failed_validation", "expected NQ_NDX, found NDX"),
        (
            Response(json.dumps([made.chain(DAY[0])] + [None] * 9).encode()),
            "failed_validation",
            "9",
        ),
        (Response(b"[]"), "failed_validation", "no snapshot"),
    ],
    ids=["redirect", "bomb", "torn gzip", "page", "torn json", "other", "nulls", "empty"],
)
def test_a_hostile_or_broken_file_leaves_nothing_behind(desk, host, answer, state, word):
    host.answers[f"/files/{NAME}"] = [answer]
    job = desk.done()
    assert (job.state, job.attempts) == (state, 1)
    assert word in job.error
    assert desk.rows() == []
    assert desk.ingest.keeper.view().snapshot("gex").rows == 0


def test_a_file_that_says_it_is_two_gigabytes_is_not_begun(desk, host):
    host.files[NAME] = endless
    job = desk.done()
    assert (job.state, "at most" in job.error) == ("failed", True)


def test_a_file_that_never_ends_is_given_up(desk, host):
    host.files[NAME] = lambda: _without_length(endless())
    job = desk.done()
    assert (job.state, "at most" in job.error) == ("failed", True)


def _without_length(response):
    del response.headers["content-length"]
    return response


def test_an_address_inside_is_refused_even_under_a_listed_name(desk, host):
    host.files[NAME] = day_json(DAY)
    job = desk.add()
    fetch = Fetch(LIMITS, desk.clock, lambda: False, only_public=True, verify=desk.trust)
    with pytest.raises(Exception, match="public address"):
        fetch(desk.queue.claim().url, desk.paths.gex_spool / "x")
    assert job.state == "queued"


@pytest.mark.parametrize("bad", ["../../etc/2026-11-20_SPX_classic_gex_zero.json", "/abs.json"])
def test_an_archive_that_leads_out_of_itself_is_refused(desk, host, bad, tmp_path):
    import io
    import zipfile

    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(bad, day_json(DAY))
    host.files[NAME] = sink.getvalue()
    job = desk.done()
    assert (job.state, "plain member names" in job.error) == ("failed", True)


def test_the_writer_away_means_later(desk, host):
    host.files[NAME] = day_json(DAY)
    desk.ingest._intake.stop()
    job = desk.done()
    assert (job.state, "nothing is writing" in job.error) == ("queued", True)


def test_a_killed_worker_loses_nothing(desk, host, tmp_path, authority):
    """A worker process is killed in the middle of its file; the next one completes the job."""
    host.files[NAME] = gzip.compress(day_json(DAY))
    host.answers[f"/files/{NAME}"] = [600.0]  # the first one waits for its file
    job = desk.add()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    code = (
        "import ssl, sys; sys.path.insert(0, sys.argv[3]);"
        "from pathlib import Path; from core.clock import SystemClock;"
        "from ingest.gex_queue import JobQueue; from ingest.gexbot_download import Fetch;"
        "from ingest.gex_inflate import Limits;"
        "clock = SystemClock(); queue = JobQueue(Path(sys.argv[1]), clock);"
        "trust = ssl.create_default_context(cafile=sys.argv[2]);"
        "job = queue.claim(); fetch = Fetch(Limits(), clock, lambda: False, False, trust);"
        "print(job.id, flush=True); fetch(job.url, Path(sys.argv[1] + '.file'))"
    )
    files = (str(tmp_path / "test.sqlite"), str(tmp_path / "ca.pem"), str(ROOT))
    with subprocess.Popen(
        [sys.executable, "-c", code, *files], stdout=subprocess.PIPE, env=clean_env()
    ) as worker:
        assert int(worker.stdout.readline()) == job.id
        until(lambda: host.count(f"/files/{NAME}") == 1)
        os.kill(worker.pid, signal.SIGKILL)
    assert desk.queue.get(job.id).state == "running"
    desk.work()
    found = desk.queue.get(job.id)
    assert (found.state, found.attempts, found.facts["added"]) == ("done", 2, len(DAY))
    assert len(desk.rows()) == len(DAY)
