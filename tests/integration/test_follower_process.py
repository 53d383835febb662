"""Two whole servers with a Redis between them: the second one's answers equal the first one's."""

import json
import os
import signal
import subprocess
import sys

import pytest
from pyarrow import flight

from storage.paths import Paths
from tests.conftest import clean_env, running_server
from tests.fakes.deadline import until
from tests.fakes.shared_tape import check_dense, entries_of
from tests.fakes.two_servers import (
    SYMBOLS,
    Client,
    check_answers_alike,
    client_of,
    moment_both_have,
    seal,
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory, redis_server):
    """The first server, taking in, and a follower with the same lake."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    lake = {"LAKE_URL": str(one / "data" / "lake")}
    demo = ("--demo", "--demo-rate", "2000")
    with running_server(one, *demo, settings={**lake, "REDIS_URL": redis_server.url}) as first:
        follow = ("--role", "serve", "--follow", redis_server.url)
        with running_server(two, *follow, settings=lake) as second:
            clients = Client(first.flight_url, first.key), client_of(second)
            yield (first, clients[0]), (second, clients[1])
            for client in clients:
                client.close()


def test_every_ticket_is_answered_alike_by_the_follower(servers):
    (house, first), (_, second) = servers
    check_answers_alike(first, second)
    seal(house)
    check_answers_alike(first, second)


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
