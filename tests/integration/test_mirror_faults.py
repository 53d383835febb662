"""A Redis that dies, hangs, is full, is slow or does not let us in: the tape goes on."""

import json
import logging

import pytest
import trustme
from pyarrow import flight

from storage.bus_check import look_at_redis
from storage.bus_mirror import CHECK_S
from storage.paths import Paths
from tests.conftest import ROOT, running_server
from tests.fakes.deadline import until
from tests.fakes.redis_server import free_port, running_redis
from tests.fakes.shared_tape import (
    check_dense,
    entries_of,
    following,
    marks_of,
    shared_tape,
)
from tests.fakes.slow_link import slow_link


@pytest.fixture
def server(tmp_path):
    with running_redis(tmp_path / "redis", "--appendonly", "yes") as server:
        yield server


@pytest.fixture
def tape(tmp_path, server):
    with shared_tape(tmp_path / "data", server.url) as tape:
        yield tape


def test_a_killed_redis_is_taken_up_where_it_was_or_filled_again(tape, server):
    with tape.mirroring(), server.client() as client:
        tape.trade(3_000)
        tape.wait_mirrored(client)
        for _ in range(2):
            server.kill()
            tape.trade(500, "NQ")
            until(lambda: tape.part()["state"] == "degraded")
            server.start()
            tape.wait_mirrored(client)
        assert len(check_dense(client)) == 4_000
        until(lambda: tape.part()["state"] == "ok")


def test_a_redis_without_a_disk_is_filled_again_after_a_restart(tmp_path):
    with (
        running_redis(tmp_path / "bare") as server,
        shared_tape(tmp_path / "data", server.url) as tape,
        server.client() as client,
        tape.mirroring(),
    ):
        tape.trade(700)
        tape.wait_mirrored(client)
        server.restart()
        tape.trade(300)
        tape.wait_mirrored(client)
        assert len(check_dense(client)) == 1_000


def test_rows_that_somebody_else_took_from_a_living_stream_are_put_there_again(tape, server):
    deleted, cut = b"tickflight:trades:MNQ", b"tickflight:trades:NQ"
    with tape.mirroring() as mirror, server.client() as client:
        for symbol in ("MNQ", "NQ") * 3:
            tape.trade(200, symbol)
            tape.wait_mirrored(client)
        until(lambda: all(mirror.lengths.known[key] for key in (deleted, cut)), 4 * CHECK_S)
        client.delete(deleted)
        client.xtrim(cut, maxlen=1)
        tape.trade(50)  # the deleted one is there again
        tape.store.commit()
        until(lambda: client.exists(deleted))
        until(lambda: rows_on(client) == 1_250, 4 * CHECK_S)
        tape.wait_mirrored(client)
        until(lambda: tape.part()["state"] == "ok")


def rows_on(client):
    """How many trades are on Redis, whether they are dense or not."""
    return sum(int(told[b"rows"]) for _, told in entries_of(client, "trades")[1])


def test_a_hanging_redis_stops_nothing_and_doubles_nothing(tape, server):
    with tape.mirroring() as mirror, server.client() as client:
        tape.trade(100)
        tape.wait_mirrored(client)
        server.pause()
        tape.trade(400)
        tape.store.commit()
        until(lambda: tape.part()["state"] == "degraded")
        assert tape.durable_seq == 500
        mirror.show()
        assert tape.board.snapshot()["gauges"]["behind_rows"] == 400
        assert tape.board.snapshot()["gauges"]["lag_ms"] > 1_000
        server.resume()
        tape.wait_mirrored(client)
        tape.trade(50)
        tape.wait_mirrored(client)
        assert len(check_dense(client)) == 550


def test_a_full_redis_is_said_once_and_goes_on_when_it_has_room(tape, server, caplog):
    with tape.mirroring(), server.client() as client:
        tape.trade(100)
        tape.wait_mirrored(client)
        client.config_set("maxmemory", "1mb")
        tape.trade(2_000)
        tape.store.commit()
        until(lambda: "out of memory" in tape.part()["detail"])
        assert tape.part()["state"] == "degraded"
        assert marks_of(client, "trades")["last_seq"] == 100
        until(lambda: tape.board.snapshot()["counters"]["failures"] >= 3)
        assert caplog.text.count("out of memory") == 1
        client.config_set("maxmemory", "0")
        tape.wait_mirrored(client)
        assert len(check_dense(client)) == 2_100


def test_a_slow_link_gets_smaller_rounds_until_they_are_through(tape, server):
    tape.trade(60_000)
    with slow_link(server.port, bytes_per_s=1_500_000) as port, server.client() as client:
        with tape.mirroring(f"redis://127.0.0.1:{port}/0"):
            tape.wait_mirrored(client, seconds=40)
        assert len(check_dense(client)) == 60_000


def test_a_wrong_password_is_said_once_and_without_the_password(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with (
        running_redis(
            tmp_path / "redis", "--requirepass", "open sesame", user=":open%20sesame@"
        ) as server,
        shared_tape(tmp_path / "data", server.url) as tape,
    ):
        tape.trade(5)
        for wrong in (":hush-hush@", ""):
            with tape.mirroring(server.url.replace(":open%20sesame@", wrong)):
                until(lambda: tape.part()["state"] == "down")
                assert "REDIS_URL" in tape.part()["detail"]
            with tape.mirroring():
                until(lambda: tape.part()["state"] == "ok")
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 2  # one for each of the two
    assert "does not let us in" in caplog.text
    assert "hush-hush" not in caplog.text


def test_the_rights_that_the_papers_name_are_enough_and_fewer_are_said(tape, server, tmp_path):
    lines = (ROOT / "docs" / "redis.md").read_text().splitlines()
    rights = [line.split() for line in lines if line.startswith("ACL SETUSER")]
    assert len(rights) == 2
    writer, reader = (server.url.replace("//", f"//{words[2]}:PASSWORD@") for words in rights)
    tape.trade(30)
    with server.client() as client:
        for words in rights:
            client.execute_command(*words)
        with tape.mirroring(reader):
            until(lambda: tape.part()["state"] == "down")
        assert "docs/redis.md" in tape.part()["detail"]
        with tape.mirroring(writer):
            tape.wait_mirrored(client)
            with following(tmp_path / "copy", tape, reader) as follower:
                until(lambda: follower.seq() == 30)
        tape.paths.tape_id.write_text(tape.tape_id)
        assert look_at_redis(writer, tape.paths)[0]


def test_tls_works_with_its_authority_and_is_refused_without(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca, key, chain = tmp_path / "ca.pem", tmp_path / "key.pem", tmp_path / "chain.pem"
    authority.cert_pem.write_to_path(ca)
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    options = ("--tls-cert-file", str(chain), "--tls-key-file", str(key))
    options += ("--tls-ca-cert-file", str(ca), "--tls-auth-clients", "no")
    address = {"scheme": "rediss", "query": f"?ssl_ca_certs={ca}"}
    with (
        running_redis(tmp_path / "redis", *options, **address) as server,
        shared_tape(tmp_path / "data", server.url) as tape,
        server.client() as client,
    ):
        tape.trade(20)
        with tape.mirroring():
            tape.wait_mirrored(client)
        with tape.mirroring(server.url.split("?", maxsplit=1)[0]):
            until(lambda: tape.part()["state"] == "down")
        assert "cannot be trusted" in tape.part()["detail"]
        assert len(check_dense(client)) == 20


def test_an_absent_redis_keeps_nothing_from_starting_answering_and_stopping(tmp_path):
    settings = {"REDIS_URL": f"redis://:hush-hush@127.0.0.1:{free_port()}/0"}
    with running_server(tmp_path, "--demo", settings=settings) as server:
        options = flight.FlightCallOptions(
            headers=[(b"authorization", b"Bearer " + server.key.encode())]
        )
        with flight.connect(server.flight_url) as client:
            ticket = flight.Ticket(b"latest:MNQ")
            until(lambda: client.do_get(ticket, options).read_all().num_rows, 60)
        board = json.loads(Paths(server.data_dir).status("mirror").read_bytes())
        assert board["parts"]["redis"]["state"] == "degraded"
        assert "does not answer" in board["parts"]["redis"]["detail"]
    assert "hush-hush" not in (tmp_path / "server.log").read_text()
    assert json.dumps(board).count("hush-hush") == 0


def test_the_doctor_says_what_is_wrong_with_redis_and_what_to_do(tape, server, tmp_path):
    assert look_at_redis(server.url, tape.paths) == (True, f"127.0.0.1:{server.port}, no tape yet")
    tape.paths.tape_id.write_text(tape.tape_id)
    with tape.mirroring(), server.client() as client:
        tape.trade(3)
        tape.wait_mirrored(client)
        assert look_at_redis(server.url, tape.paths)[1].endswith("trades to seq 3")
        is_well, told = look_at_redis(server.url, Paths(tmp_path / "other"))
        assert (is_well, "another database" in told) == (False, True)
        client.config_set("maxmemory-policy", "allkeys-lru")
        is_well, told = look_at_redis(server.url, tape.paths)
        assert (is_well, "noeviction" in told) == (False, True)
    server.kill()
    is_well, told = look_at_redis(server.url, tape.paths)
    assert (is_well, "does not answer" in told) == (False, True)
    server.start()
