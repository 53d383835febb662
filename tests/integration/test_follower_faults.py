"""A follower whose Redis hangs or is far away: it says so, and misses and doubles nothing."""

import pytest

from tests.fakes.deadline import until
from tests.fakes.redis_server import running_redis
from tests.fakes.shared_tape import following, plain_rows, shared_tape
from tests.fakes.slow_link import slow_link


@pytest.fixture
def server(tmp_path):
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def tape(tmp_path, server):
    with shared_tape(tmp_path / "data", server.url) as tape, tape.mirroring():
        yield tape


def gauges_of(follower):
    follower.copy.show()
    return follower.board.snapshot()["gauges"]


def assert_has_all(tape, follower, *symbols):
    """Every row of the tape once, in the order of seq, and nothing else."""
    tape.store.commit()
    last_seq = tape.durable_seq
    until(lambda: follower.seq() == last_seq, 40)
    found = [follower.rows("trades", symbol) for symbol in symbols]
    for rows, symbol in zip(found, symbols, strict=True):
        assert rows.equals(plain_rows(tape.views, "trades", symbol)), symbol
    seqs = sorted(seq for rows in found for seq in rows["seq"].to_pylist())
    assert seqs == list(range(1, last_seq + 1))


def test_a_hanging_redis_is_said_with_how_far_behind_that_leaves_the_copy(tape, server, tmp_path):
    with following(tmp_path / "copy", tape) as follower:
        tape.trade(300)
        assert_has_all(tape, follower, "MNQ")
        until(lambda: follower.part()["state"] == "ok")
        server.pause()
        tape.trade(200)
        tape.trade(50, "NQ")
        until(lambda: follower.part()["state"] == "degraded")
        assert "does not answer" in follower.part()["detail"]
        until(lambda: gauges_of(follower)["lag_ms"] > 2_000)
        assert follower.rows("trades", "MNQ").num_rows == 300  # what it has is served on
        server.resume()
        assert_has_all(tape, follower, "MNQ", "NQ")
        until(lambda: follower.part()["state"] == "ok")
        until(lambda: gauges_of(follower)["lag_ms"] < 1_000)
        tape.trade(10, "NQ")
        assert_has_all(tape, follower, "MNQ", "NQ")


def failures_of(follower):
    return follower.board.snapshot()["counters"].get("failures", 0)


def test_hangs_in_the_middle_of_much_news_double_nothing(tape, server, tmp_path):
    with following(tmp_path / "copy", tape) as follower:
        for _ in range(2):
            tape.trade(20_000)
            tape.trade(7, "NQ")
            before = failures_of(follower)
            server.pause()
            until(lambda before=before: failures_of(follower) > before)
            server.resume()
        assert_has_all(tape, follower, "MNQ", "NQ")


def test_a_copy_behind_a_slow_link_says_how_far_and_comes_level(tape, server, tmp_path):
    for _ in range(40):  # as entries of a day are: many, and some of other symbols between
        tape.trade(600)
        tape.trade(100, "NQ")
        tape.store.commit()
    with (
        server.client() as client,
        slow_link(server.port, bytes_per_s=1_000_000, is_from_server=True) as port,
    ):
        tape.wait_mirrored(client)
        url = f"redis://127.0.0.1:{port}/0"
        with following(tmp_path / "copy", tape, url) as follower:
            until(lambda: 0 < gauges_of(follower)["behind_rows"] < 28_000)
            assert "rows" in follower.part()["detail"]
            assert "behind" in follower.part()["detail"]
            tape.trade(500, "NQ")  # while it is catching up
            assert_has_all(tape, follower, "MNQ", "NQ")
            until(lambda: gauges_of(follower)["behind_rows"] == 0)
            assert "failures" not in follower.board.snapshot()["counters"]
