"""The Flight process as the supervisor starts it: from settings, over TLS, stopped in order."""

import json
import subprocess
import sys
from contextlib import contextmanager

import pyarrow as pa
import pytest
from pyarrow import flight

from core.clock import SystemClock
from core.errors import SettingsError
from core.settings import load_settings
from flight_server.audit import Audit
from flight_server.keys import SCOPES, KeyRequest, KeyRing
from flight_server.main import build
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store
from storage.view import Views
from tests.conftest import ROOT, clean_env
from tests.fakes.ticks import trades
from tests.unit.flight_server.house import wait_until

CHILD = """
import json, sys, threading
from pathlib import Path
from core.clock import SystemClock
from core.settings import load_settings
from flight_server.main import run
stopping = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()
settings = load_settings(json.loads(sys.argv[1]), environ={}, env_file=Path("none"))
ready = lambda facts: print(json.dumps(facts), flush=True)
run(settings, clock=SystemClock(), ready=ready, stopping=stopping)
"""


@contextmanager
def flight_process(given):
    command = [sys.executable, "-c", CHILD, json.dumps(given)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_env(),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            if process.poll() is None:
                process.kill()


def stopped(process):
    _, told = process.communicate(timeout=20)
    return process.returncode, told


@pytest.fixture
def store(tmp_path):
    store = Store.open(Paths(tmp_path), disk=OsDisk(), clock=SystemClock())
    store.append(trades("MNQ", 5))
    yield store
    store.close()


@pytest.fixture
def key(tmp_path):
    ring = KeyRing(Paths(tmp_path).keys, disk=OsDisk(), clock=SystemClock())
    return ring.create(KeyRequest("tester", SCOPES))


def options(key):
    bearer = (b"authorization", b"Bearer " + key.encode())
    return flight.FlightCallOptions(headers=[bearer], timeout=30)


def test_the_process_serves_writes_its_board_and_its_calls_and_stops(tmp_path, store, key):
    given = {"DATA_DIR": str(tmp_path), "FLIGHT_PORT": "0"}
    paths = Paths(tmp_path)
    with flight_process(given) as (process, facts):
        with flight.FlightClient(facts["url"]) as client:
            latest = client.do_get(flight.Ticket(b"latest:MNQ"), options(key)).read_all()
            assert latest["seq"].to_pylist() == [5]
            counted = client.do_get(flight.Ticket(b"SELECT count(*) n FROM trades"), options(key))
            assert counted.read_all()["n"].to_pylist() == [5]
            descriptor = flight.FlightDescriptor.for_command(b"news:MNQ")
            with pytest.raises(pa.ArrowException, match="bad_ticket") as e:
                client.get_schema(descriptor, options(key))
            assert "Traceback" not in str(e.value)
            assert ".py" not in str(e.value)
        wait_until(lambda: paths.status("flight").exists())
        assert json.loads(paths.status("flight").read_text())["state"] == "ok"
        code, told = stopped(process)
    assert code == 0, told
    assert "Traceback" not in told
    calls = list(Views(paths, str(paths.lake())).view().scan("queries", ""))
    tickets = [ticket for batch in calls for ticket in batch.column("ticket").to_pylist()]
    assert tickets == ["latest:MNQ", "SELECT count(*) n FROM trades", "news:MNQ"]


def test_the_process_ends_even_with_a_client_that_reads_nothing(tmp_path, store, key):
    for place in range(60):
        store.append(trades("MNQ", 20_000, first=5 + place * 20_000))
    given = {"DATA_DIR": str(tmp_path), "FLIGHT_PORT": "0"}
    clock = SystemClock()
    with flight_process(given) as (process, facts):
        client = flight.FlightClient(facts["url"])
        reader = client.do_get(flight.Ticket(b"ticks:MNQ"), options(key))
        reader.read_chunk()
        begun_ns = clock.monotonic_ns()
        code, told = stopped(process)
        assert clock.monotonic_ns() - begun_ns < 8e9
        client.close()
    assert code == 0, told


def test_over_tls_only_a_client_that_trusts_the_certificate_gets_in(tmp_path, store, key):
    cert, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [
            *make.split(),
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            str(secret),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    given = {
        "DATA_DIR": str(tmp_path),
        "FLIGHT_PORT": "0",
        "TLS_CERT": str(cert),
        "TLS_KEY": str(secret),
    }
    with flight_process(given) as (process, facts):
        assert facts["url"].startswith("grpc+tls://")
        with flight.FlightClient(facts["url"], tls_root_certs=cert.read_bytes()) as client:
            latest = client.do_get(flight.Ticket(b"latest:MNQ"), options(key)).read_all()
            assert latest.num_rows == 1
        with (
            flight.FlightClient(facts["url"]) as client,
            pytest.raises(flight.FlightUnavailableError),
        ):
            client.do_get(flight.Ticket(b"latest:MNQ"), options(key))
        code, told = stopped(process)
    assert code == 0, told


def test_a_taken_port_is_a_clear_error(tmp_path, store):
    given = {"DATA_DIR": str(tmp_path), "FLIGHT_PORT": "0"}
    clock = SystemClock()
    settings = load_settings(given, environ={}, env_file=tmp_path / "none")
    first = build(settings, Audit(store), queries=None, clock=clock)
    taken = load_settings(
        {**given, "FLIGHT_PORT": str(first.port)}, environ={}, env_file=tmp_path / "none"
    )
    with pytest.raises(SettingsError, match=str(first.port)) as caught:
        build(taken, Audit(store), queries=None, clock=clock)
    assert "--flight-port" in caught.value.hint
    assert first.stop()


def test_a_certificate_that_is_not_there_is_a_clear_error(tmp_path, store):
    given = {
        "DATA_DIR": str(tmp_path),
        "FLIGHT_PORT": "0",
        "TLS_CERT": "/nowhere/a.pem",
        "TLS_KEY": "/nowhere/b.pem",
    }
    settings = load_settings(given, environ={}, env_file=tmp_path / "none")
    with pytest.raises(SettingsError, match="TLS_CERT"):
        build(settings, Audit(store), queries=None, clock=SystemClock())
