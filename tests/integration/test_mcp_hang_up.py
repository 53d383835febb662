"""Who hangs up on `/mcp` ends what was asked; a server that stops says that it does."""

import json
import signal
import socket
import threading

import httpx
import psutil

from flight_server.running import read_running
from storage.paths import Paths
from tests.fakes.deadline import until

ENDLESS = "SELECT count(*) FROM range(100000000000) a, range(1000) b"
BODY = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "sql", "arguments": {"sql": ENDLESS}},
    }
)


def is_running(server):
    return any("range(" in call.ticket for call in read_running(Paths(server.data_dir).calls))


def test_a_client_that_hangs_up_ends_its_statement(start_server):
    server = start_server("--demo")
    host, port = server.web_url.removeprefix("http://").split(":")
    head = f"POST /mcp HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {server.key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall((head + BODY).encode())
        until(lambda: is_running(server))
    until(lambda: not is_running(server), seconds=10)  # its own limit is thirty

    # And where the server stops, the answer is that it does.
    found = []

    def ask():
        headers = {"authorization": f"Bearer {server.key}", "content-type": "application/json"}
        url = f"{server.web_url}/mcp"
        found.append(httpx.post(url, content=BODY, headers=headers, timeout=30))

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: is_running(server))
    board = json.loads(Paths(server.data_dir).status("web").read_text())
    psutil.Process(board["pid"]).send_signal(signal.SIGTERM)
    asking.join(20)
    (answer,) = found
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert "the server is stopping; ask again" in answer.json()["message"]
    assert answer.headers["retry-after"] == "1"
