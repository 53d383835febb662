"""Two whole servers with a Redis between them: the second one's answers equal the first one's."""

import json
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest
from pyarrow import flight

from core.clock import NS_PER_S
from storage.intake import IntakeClient
from storage.paths import Paths
from tests.conftest import clean_env, running_server, tickflight
from tests.fakes.deadline import until
from tests.fakes.shared_tape import check_dense, entries_of

SYMBOLS = ("MES", "MNQ", "NQ", "SPY", "QQQ", "VIX")
LATE_NS = 2 * NS_PER_S


class Client:
    """Asks one server."""

    def __init__(self, url, key):
        self._client = flight.connect(url)
        headers = [(b"authorization", b"Bearer " + key.encode())]
        self._options = flight.FlightCallOptions(headers=headers)

    def ask(self, ticket):
        return self._client.do_get(flight.Ticket(ticket.encode()), self._options).read_all()

    def act(self, name):
        (answer,) = self._client.do_action(flight.Action(name, b""), self._options)
        return json.loads(answer.body.to_pybytes())

    def seq(self, table):
        return self.act("status")["watermarks"][table]["visible_seq"]

    def board(self, process):
        return next(b for b in self.act("status")["processes"] if b["process"] == process)

    def close(self):
        self._client.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory, redis_server):
    """The first server, taking in, and a follower with the same lake."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    lake = {"LAKE_URL": str(one / "data" / "lake")}
    demo = ("--demo", "--demo-rate", "2000")
    with running_server(one, *demo, settings={**lake, "REDIS_URL": redis_server.url}) as first:
        follow = ("--role", "serve", "--follow", redis_server.url)
        with running_server(two, *follow, settings=lake) as second:
            scopes = [word for s in ("read", "sql", "live", "admin") for word in ("--scope", s)]
            key = tickflight(two, "key", "create", "reader", *scopes).split()[-1]
            clients = Client(first.flight_url, first.key), Client(second.flight_url, key)
            yield (first, clients[0]), (second, clients[1])
            for client in clients:
                client.close()


def moment_both_have(first, second):
    """An epoch time in ns before which every trade is on both servers."""
    until(lambda: first.ask("latest:*").num_rows == len(SYMBOLS), 60)
    start_seq = first.seq("trades")
    until(lambda: first.seq("trades") > start_seq + 1_000, 60)
    newest = {table: first.seq(table) for table in ("trades", "quotes", "depth", "gex", "book")}
    # What happened before that was told by now, however late.
    moment_ns = first.ask("latest:MNQ")["ts_event"][0].value * 1_000 - LATE_NS
    until(lambda: all(second.seq(table) >= seq for table, seq in newest.items()), 60)
    return moment_ns


def rows_of(table):
    """Plain text in place of dictionaries: each server numbers words in its own order."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields)).replace_schema_metadata().combine_chunks()


def test_every_ticket_is_answered_alike_by_the_follower(servers):
    (house, first), (_, second) = servers
    for is_sealed in (False, True):
        if is_sealed:
            intake = IntakeClient(Paths(house.data_dir))
            intake.seal(list(SYMBOLS))
            intake.close()
        end_ns = moment_both_have(first, second)
        span = f"start={end_ns - 3_600 * NS_PER_S}&end={end_ns}"
        tickets = [f"{verb}:{symbol}?{span}" for verb in ("ticks", "depth") for symbol in SYMBOLS]
        tickets += [f"gex:MNQ?{span}", f"book:MNQ?{span}", f"bars:MNQ?every=1s&{span}"]
        cut = f"epoch_ms({end_ns // 1_000_000})"
        tickets.append(f"SELECT * FROM ticks WHERE timestamp < {cut} ORDER BY ALL")
        tickets.append(
            f"SELECT * FROM bars_1m WHERE ts_event < {cut} - INTERVAL 1 MINUTE ORDER BY ALL"
        )
        for ticket in tickets:
            ours, theirs = rows_of(second.ask(ticket)), rows_of(first.ask(ticket))
            assert ours.equals(theirs), (is_sealed, ticket, ours.num_rows, theirs.num_rows)
        assert rows_of(first.ask(f"ticks:MNQ?{span}")).num_rows > 500


def test_live_streams_follow_on_the_second_server(servers):
    _, (_, second) = servers
    reader = second._client.do_get(flight.Ticket(b"live:MNQ?from_seq=1"), second._options)
    seqs = []
    while len(seqs) < 3_000:
        seqs += reader.read_chunk().data["seq"].to_pylist()
    reader.cancel()
    assert seqs == sorted(set(seqs))


def test_both_sides_say_on_their_boards_how_far_redis_is(servers):
    (_, first), (_, second) = servers
    mirror, follower = first.board("mirror"), second.board("follow")
    assert mirror["parts"]["redis"]["state"] == "ok"
    assert set(mirror["gauges"]) == {"behind_rows", "lag_ms", "lag_ms_p99"}
    assert follower["parts"]["redis"]["state"] == "ok"
    assert set(follower["gauges"]) == {"behind_rows", "lag_ms", "origin_silent_s"}


def test_nothing_can_be_added_to_a_copy_and_a_tape_becomes_none(servers, redis_server, tmp_path):
    (house, _), (copy, _) = servers
    ticks = tmp_path / "ticks.csv"
    ticks.write_text("symbol,ts_event,price,size\nMNQ,2025-11-20T14:00:00,1.25,1\n")
    url = redis_server.url
    refused = [
        (["import", str(ticks), "--data-dir", str(copy.data_dir)], 2, "nothing can be added"),
        (
            ["up", "--role", "serve", "--follow", url, "--data-dir", str(house.data_dir)],
            2,
            "tape of its own",
        ),
        (["up", "--follow", url, "--data-dir", str(tmp_path / "x")], 2, "--role serve"),
        (["up", "--role", "serve", "--follow", "http://x"], 2, "REDIS_URL"),
    ]
    for arguments, code, told in refused:
        done = subprocess.run(
            [sys.executable, "-m", "tickflight", *arguments],
            env=clean_env(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, told in done.stderr) == (code, True), done.stderr


def test_killed_mirrors_and_followers_are_started_again_and_go_on(servers, redis_server):
    (house, first), (copy, second) = servers
    places = ((house.data_dir, "mirror"), (copy.data_dir, "follow"))
    killed = {place: pid_of(*place) for place in places}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(pid_of(*place) != pid for place, pid in killed.items()), 60)
    moment_both_have(first, second)
    with redis_server.client() as client:
        marks, _ = entries_of(client, "trades")
        assert marks["last_seq"] > 10_000
        check_dense(client)


def pid_of(data_dir, process):
    return json.loads(Paths(data_dir).status(process).read_bytes())["pid"]


def test_taking_in_and_answering_can_be_two_houses_on_one_folder(tmp_path):
    with running_server(tmp_path, "--role", "ingest", "--demo") as writer:
        assert writer.flight_url == ""
        with running_server(tmp_path, "--role", "serve") as answerer:
            client = Client(answerer.flight_url, writer.key)
            until(lambda: client.ask("latest:*").num_rows == len(SYMBOLS), 60)
            client.close()


def test_a_lost_first_server_is_said_and_its_rows_are_still_served(servers):
    (house, _), (_, second) = servers
    house.process.kill()
    last_seq = second.seq("trades")
    until(lambda: second.board("follow")["parts"]["redis"]["state"] == "degraded", 30)
    assert "has told nothing" in second.board("follow")["parts"]["redis"]["detail"]
    assert second.ask("latest:*").num_rows == len(SYMBOLS)
    assert second.seq("trades") >= last_seq > 0
