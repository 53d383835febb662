"""The whole program is killed under load, and started again on the same folder."""

import json
import os
import signal
from pathlib import Path

import pyarrow.compute as pc
from pyarrow import flight

from tests.conftest import RunningServer, running_server, tickflight

ROUNDS = 3


def options(key: str) -> flight.FlightCallOptions:
    return flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {key}".encode())])


def kill_all(server: RunningServer) -> None:
    """SIGKILL to the supervisor first, so that it restarts nobody, then to its children."""
    boards = server.data_dir.joinpath("run").glob("*.status.json")
    pids = [json.loads(board.read_bytes())["pid"] for board in boards]
    for pid in [server.process.pid, *pids]:
        os.kill(pid, signal.SIGKILL)


def durable_seq(client: flight.FlightClient, key: str) -> int:
    reader = client.do_get(flight.Ticket(b"tail:MNQ?n=1"), options(key))
    seq = int(reader.schema.metadata[b"durable_seq"])
    reader.read_all()
    return seq


def test_a_killed_program_has_every_row_it_said_was_durable(tmp_path: Path) -> None:
    key = tickflight(tmp_path, "key", "create", "watcher").split()[-1]
    told = 0
    for _ in range(ROUNDS):
        with running_server(tmp_path, "--demo", "--demo-rate", "20000") as server:
            client = flight.connect(server.flight_url)
            start = durable_seq(client, key)
            assert start >= told, "rows told durable are gone"
            while told < start + 5_000:
                told = durable_seq(client, key)
            kill_all(server)
            client.close()
    with running_server(tmp_path) as server:
        client = flight.connect(server.flight_url)
        ticket = flight.Ticket(b"SELECT seq, symbol FROM trades")
        seqs = client.do_get(ticket, options(key)).read_all().column("seq")
        client.close()
    assert len(seqs) == pc.count_distinct(seqs).as_py() == pc.max(seqs).as_py()
    assert len(seqs) >= told
