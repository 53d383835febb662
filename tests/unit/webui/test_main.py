import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import trustme

from core.batch import TickBatch
from core.board import Board
from core.clock import SystemClock
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store, StoreOptions
from tests.conftest import clean_env
from webui.main import STOP_S_MAX, bind
from webui.requests import HEAD_BYTES_MAX

START = """
import sys
from core.errors import PipelineError
from core.settings import load_settings
from webui.main import run
try:
    ready = lambda port: print("port", port, flush=True)
    run(load_settings(), is_demo=len(sys.argv) > 1, on_ready=ready)
except PipelineError as error:
    sys.exit(f"{error.code}: {error.message}")
print("closed", flush=True)
"""
WAIT_S = 20


@contextmanager
def web(folder, *args, **settings):
    """The web process on a free port, as (process, port)."""
    env = clean_env() | {"DATA_DIR": str(folder / "data"), "WEB_PORT": "0"} | settings
    with subprocess.Popen(
        [sys.executable, "-c", START, *args],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            line = process.stdout.readline().split()
            yield process, int(line[1]) if line else 0
        finally:
            process.kill()


def wait_until(is_so):
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def trades(symbol, price):
    now_us = SystemClock().now_ns() // 1000
    columns = {
        "ts_event": np.array([now_us], np.int64),
        "ts_recv": np.array([now_us], np.int64),
        "price": np.array([price]),
        "size": np.array([1], np.int64),
    }
    return TickBatch("trades", symbol, f"{symbol}Z26", "demo", columns)


def test_a_process_is_on_its_board_before_it_says_that_it_is_ready(tmp_path):
    with web(tmp_path) as (_, port):
        # At once: `tickflight ui` and `tickflight status` may be the next thing somebody types.
        board = json.loads((tmp_path / "data" / "run" / "web.status.json").read_text())
        assert board["gauges"]["port"] == port


def test_a_process_serves_pages_from_the_moment_it_says_so(tmp_path):
    with web(tmp_path) as (_, port):
        answer = httpx.get(f"http://127.0.0.1:{port}/")
        assert answer.status_code == 303
        assert httpx.get(f"http://127.0.0.1:{port}/login").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 503


def test_the_last_price_comes_from_the_hot_store_as_soon_as_there_is_one(tmp_path):
    with web(tmp_path, "demo") as (_, port):
        url = f"http://127.0.0.1:{port}/api/status"
        assert httpx.get(url).json()["is_stored"] is False
        paths = Paths(tmp_path / "data")
        store = Store.open(paths, StoreOptions(), disk=OsDisk(), clock=SystemClock())
        try:
            store.append(trades("MNQ", 24_916.25))
            status = httpx.get(url).json()
        finally:
            store.close()
        assert [(row["symbol"], row["price"]) for row in status["symbols"]] == [("MNQ", 24_916.25)]
        assert status["tables"][0]["visible_seq"] == 1


def test_it_keeps_a_board_of_its_own_and_takes_it_away_at_the_end(tmp_path):
    path = Paths(tmp_path / "data").status("web")
    with web(tmp_path, "demo") as (process, port):
        wait_until(path.exists)
        (board,) = httpx.get(f"http://127.0.0.1:{port}/api/status").json()["processes"]
        assert board["process"] == "web"
        assert board["parts"]["http"]["state"] == "ok"
        process.terminate()
        process.wait(WAIT_S)
    assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_even_with_a_client_that_says_nothing(tmp_path, number):
    with web(tmp_path) as (process, port), socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1")  # and never the rest
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0
        assert time.monotonic() - began < STOP_S_MAX + 1
        assert process.stdout.read() == "closed\n"


def test_a_signal_ends_it_though_the_flight_server_keeps_a_model_waiting(tmp_path):
    with (
        web(tmp_path) as (process, port),
        socket.create_server(("127.0.0.1", 0)) as silent,
        ThreadPoolExecutor() as threads,
    ):
        board = Board("flight", SystemClock())
        board.gauge("port", silent.getsockname()[1])
        path = Paths(tmp_path / "data").status("flight")
        path.parent.mkdir(exist_ok=True)
        board.publish(path)
        message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        url = f"http://127.0.0.1:{port}/mcp"
        asked = threads.submit(httpx.post, url, json=message, timeout=WAIT_S)
        caller, _ = silent.accept()  # the question has gone on, and is never answered
        with caller:
            process.terminate()
            assert process.wait(WAIT_S) == 0
        assert asked.exception() is not None or asked.result().status_code >= 500


def test_answers_do_not_wait_for_the_client_to_acknowledge_their_headers():
    with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def told(connection):
    """Everything the server says until it hangs up."""
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    return answer


@pytest.mark.parametrize("part", [b"a: " + b"x" * 8_000 + b"\r\n", b"y" * 8_000])
def test_a_head_without_an_end_is_refused_and_not_kept(tmp_path, part):
    begin = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    with web(tmp_path) as (_, port), connected(port) as connection:
        connection.sendall((begin + part * 9)[: HEAD_BYTES_MAX + 1])
        assert told(connection).startswith(b"HTTP/1.1 431 ")


def test_heads_of_one_connection_are_not_added_up(tmp_path):
    more = {"a": "x" * 3_000}
    with web(tmp_path) as (_, port), httpx.Client() as client:
        url = f"http://127.0.0.1:{port}/healthz"
        answers = [client.get(url, headers=more).status_code for _ in range(50)]
    assert answers == [503] * 50  # nothing but the web process runs


def test_a_head_that_is_only_long_is_read_wherever_it_begins(tmp_path):
    body, more = b"[" + b"0," * 100_000 + b"0]", b"a: " + b"x" * 3_000 + b"\r\n"
    host = b"host: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
    with web(tmp_path) as (_, port), connected(port) as connection:
        head = host % port + more * 15
        first = b"POST /uw HTTP/1.1\r\n" + head + b"content-length: %d\r\n\r\n" % len(body)
        last = b"GET /healthz HTTP/1.1\r\n" + head + b"connection: close\r\n\r\n"
        # The second head comes torn, its beginning with the end of the body before it.
        sent = first + body + last
        connection.sendall(sent[: len(first + body) + 30_000])
        connection.sendall(sent[len(first + body) + 30_000 :])
        answers = told(connection)
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b" 431 " not in answers
    assert answers.endswith(b"\r\n\r\ndown\n")  # nothing but the web process runs


def test_a_taken_port_is_a_settings_error_that_says_what_to_do(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with web(tmp_path, WEB_PORT=str(port)) as (process, _):
            assert process.wait(WAIT_S) != 0
            assert f"WEB_PORT={port}: cannot listen there" in process.stderr.read()


def test_a_certificate_makes_it_speak_tls(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = {"TLS_CERT": str(tmp_path / "cert.pem"), "TLS_KEY": str(tmp_path / "key.pem")}
    with web(tmp_path, **files) as (_, port):
        answer = httpx.get(f"https://127.0.0.1:{port}/login", verify=context)
        assert answer.status_code == 200


def test_a_certificate_that_cannot_be_read_is_a_settings_error(tmp_path):
    (tmp_path / "cert.pem").write_text("not a certificate")
    files = {"TLS_CERT": str(tmp_path / "cert.pem"), "TLS_KEY": str(tmp_path / "key.pem")}
    with web(tmp_path, **files) as (process, _):
        assert process.wait(WAIT_S) != 0
        assert "TLS_CERT and TLS_KEY" in process.stderr.read()
