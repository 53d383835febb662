"""Whole servers on a lake in a bucket: one writes, another serves, and sometimes it is away."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import flight

from core.clock import NS_PER_S
from core.errors import PipelineError
from storage.paths import Paths
from tests.conftest import clean_env, running_server
from tests.fakes.deadline import until
from tests.fakes.s3_server import linked, running_s3
from tests.fakes.two_servers import SYMBOLS, Client, check_answers_alike, client_of, seal

DEMO = ("--demo", "--demo-rate", "1000")
ROWS = "SELECT count(*) AS rows, count(DISTINCT seq) AS seqs, max(seq) AS last FROM trades"


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3"), is_strict=True) as server:
        yield server


def run(folder, *arguments, settings):
    command = [sys.executable, "-m", "tickflight", *arguments, "--data-dir", str(folder / "data")]
    return subprocess.run(
        command,
        env={**clean_env(), **settings},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def counts(client, sql=ROWS):
    return client.ask(sql).to_pylist()[0]


def processes_of(pid):
    """A process and all below it."""
    found = [pid]
    for folder in Path(f"/proc/{pid}/task").iterdir():
        for child in (folder / "children").read_text().split():
            found += processes_of(int(child))
    return found


def test_a_follower_without_a_shared_disk_answers_like_the_writer(s3, redis_server, tmp_path):
    settings = s3.settings("follow", REDIS_URL=redis_server.url)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with running_server(one, *DEMO, settings=settings) as house:
        first = Client(house.flight_url, house.key)
        until(lambda: first.seq("trades") > 2_500, 60)
        seal(house)
        follow = ("--role", "serve", "--follow", redis_server.url)
        with running_server(two, *follow, settings=settings) as copy:
            second = client_of(copy)
            seal(house)
            check_answers_alike(first, second)
            sealed = "SELECT sum(rows) AS rows FROM partitions WHERE table_name = 'trades'"
            until(lambda: counts(second, sealed) == counts(first, sealed), 30)
            assert counts(second, sealed)["rows"] > 2_500
            second.close()
            check_no_secret(s3, house, copy)
        first.close()
    verified = run(two, "verify", "--all", settings=settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "100.0000 %" in verified.stdout


def check_no_secret(s3, *servers):
    """The key's secret is in no command line, log, page or process that runs SQL."""
    for server in servers:
        log = (server.data_dir.parent / "server.log").read_text()
        assert s3.secret not in log
        assert s3.key not in log
        for pid in processes_of(server.process.pid):
            command = Path(f"/proc/{pid}/cmdline").read_text()
            assert s3.secret not in command
            if "query_worker" in command:
                assert s3.secret not in Path(f"/proc/{pid}/environ").read_text()
        files = [path for path in server.data_dir.rglob("*") if path.is_file()]
        assert not [path for path in files if s3.secret.encode() in path.read_bytes()]


def test_a_killed_server_finds_every_row_once_and_goes_on(s3, tmp_path):
    settings = s3.settings("killed")
    with running_server(tmp_path, *DEMO, settings=settings) as house:
        client = Client(house.flight_url, house.key)
        until(lambda: client.seq("trades") > 1_000, 60)
        seal(house)
        keys = len(s3.keys("killed/trades/symbol=MNQ/"))
        until(lambda: client.seq("trades") > 3_000, 60)
        sealing = subprocess.Popen(
            [sys.executable, "-c", SEAL, str(house.data_dir)], env=clean_env(), cwd=tmp_path
        )
        # In the middle of a seal: objects are there that no version names yet.
        until(lambda: len(s3.keys("killed/trades/symbol=MNQ/")) > keys, 30)
        os.kill(pid_of(house, "ingest"), 9)
        house.process.kill()
        sealing.wait()
        client.close()
    with running_server(tmp_path, *DEMO, settings=settings) as house:
        client = Client(house.flight_url, house.key)
        found = counts(client)
        assert found["rows"] == found["seqs"] == found["last"] > 3_000
        seal(house)
        found = counts(client)
        assert found["rows"] == found["seqs"] == found["last"]
        client.close()
    assert run(tmp_path, "verify", "--all", settings=settings).returncode == 0


SEAL = """
import sys
from pathlib import Path
from storage.intake import IntakeClient
from storage.paths import Paths
from tests.fakes.two_servers import SYMBOLS
IntakeClient(Paths(Path(sys.argv[1]))).seal(list(SYMBOLS))
"""


def pid_of(server, process):
    return json.loads(Paths(server.data_dir).status(process).read_bytes())["pid"]


def test_while_the_bucket_is_away_the_hour_stays_hot_and_everything_hot_is_served(s3, tmp_path):
    with linked(s3) as link:
        settings = s3.settings("away", AWS_ENDPOINT_URL=link.url)
        with running_server(tmp_path, *DEMO, settings=settings) as house:
            client = Client(house.flight_url, house.key)
            until(lambda: client.seq("trades") > 1_000, 60)
            seal(house)
            link.cut()
            with pytest.raises(PipelineError, match="cannot be reached"):
                seal(house)
            before = client.seq("trades")
            assert client.ask("latest:*").num_rows == len(SYMBOLS)
            assert client.ask("tail:MNQ?n=50").num_rows == 50
            found = counts(client)
            assert found["rows"] == found["seqs"] == found["last"], "what is here is answered"
            for path in (house.data_dir / "bucket").glob("*/trades/**/*.parquet"):
                path.unlink()
            with pytest.raises(flight.FlightUnavailableError, match="bucket") as refused:
                client.ask(ROWS)
            told = json.loads(refused.value.extra_info)
            assert (told["code"], s3.secret in str(told)) == ("unavailable", False)
            until(lambda: client.seq("trades") > before, 60)
            assert client.ask("latest:*").num_rows == len(SYMBOLS)
            assert client.ask("tail:MNQ?n=50").num_rows == 50
            newest_ns = client.ask("latest:MNQ")["ts_event"][0].value * 1_000
            assert client.ask(f"ticks:MNQ?start={newest_ns - 5 * NS_PER_S}").num_rows > 10
            link.mend()
            seal(house)
            found = counts(client)
            assert found["rows"] == found["seqs"] == found["last"]
            client.close()
        link.cut()
        with running_server(tmp_path, *DEMO, settings=settings) as house:
            client = Client(house.flight_url, house.key)
            found = counts(client)
            assert found["rows"] == found["seqs"] == found["last"], "a start without the bucket"
            until(lambda: client.board("ingest")["parts"]["sealer"]["state"] == "degraded", 60)
            told = client.board("ingest")["parts"]["sealer"]["detail"]
            assert "cannot be reached" in told
            link.mend()
            until(lambda: client.board("ingest")["parts"]["sealer"]["state"] == "ok", 60)
            client.close()


def test_wrong_credentials_end_a_start_with_one_clear_line(s3, tmp_path):
    wrong = s3.settings("wrong", AWS_SECRET_ACCESS_KEY="hunter2hunter2")
    started = run(tmp_path, "up", "--demo", "--flight-port", "0", "--web-port", "0", settings=wrong)
    assert started.returncode == 2, started.stderr
    assert "SignatureDoesNotMatch" in started.stderr
    assert "AWS_SECRET_ACCESS_KEY" in started.stderr
    assert "hunter2" not in started.stderr
    assert "Traceback" not in started.stderr
    looked = run(tmp_path, "doctor", settings=wrong)
    (line,) = [line for line in looked.stdout.splitlines() if " lake " in line]
    assert line.startswith("wrong")
    assert "refuses us: SignatureDoesNotMatch" in line
    good = run(tmp_path, "doctor", settings=s3.settings("wrong"))
    assert "fine   lake" in good.stdout
    assert f"s3://{s3.bucket}/wrong" in good.stdout
