"""A follower and a real Redis: its rows are the first server's, at every moment."""

import pytest

from core.errors import SettingsError
from storage.copy_store import check_is_copy, check_is_no_copy
from storage.keeper import Keeper, KeeperOptions
from storage.layout import BLOCKS_OFFSET
from storage.paths import Paths
from storage.seal import Sealer
from tests.fakes.deadline import until
from tests.fakes.redis_server import running_redis
from tests.fakes.shared_tape import (
    CLOCK,
    following,
    fresh_trades,
    marks_of,
    plain_rows,
    shared_tape,
)


def keeper_of(tape):
    return Keeper(tape.store, Sealer(tape.lake_url, CLOCK), tape.lake_url, KeeperOptions(), CLOCK)


def assert_equal(tape, follower, *symbols, table="trades"):
    tape.store.commit()
    last_seq = tape.store.watermarks(table).durable_seq
    until(lambda: follower.seq(table) == last_seq, 30)
    for symbol in symbols:
        ours = follower.rows(table, symbol)
        assert ours.equals(plain_rows(tape.views, table, symbol)), symbol
        assert ours.num_rows or not symbols


def test_a_follower_has_the_very_rows_with_their_seqs_in_any_mixture(tape, client, tmp_path):
    for number in range(60):
        tape.trade(number % 7 + 1, "MNQ" if number % 3 else "NQ")
    other = fresh_trades("MNQ", 9, conditions=list("abcabcabc"), valid=[True] * 8 + [False])
    with tape.mirroring(), following(tmp_path / "copy", tape) as follower:
        tape.store.append(other)
        rolled = fresh_trades("NQ", 5, kind=["new", "correction", "cancel", "new", "new"])
        tape.store.append(type(rolled)("trades", "NQ", "NQH6", "scid", rolled.columns))
        tape.trade(40_000, "SPY")
        assert_equal(tape, follower, "MNQ", "NQ", "SPY")


def test_slow_tables_follow_as_well(tape, client, tmp_path):
    row = {"symbol": "NQ_NDX", "ticker": "NQ_NDX", "ts_recv": 1_000_000, "package": "classic"}
    row |= {"strikes": [{"strike": 1.0, "gex_vol": 2.0, "gex_oi": 3.0, "priors": [1.0, 2.0]}]}
    gap = {"symbol": "MNQ", "ts_recv": 5, "source": "x", "table_name": "trades", "reason": "y"}
    with tape.mirroring(), following(tmp_path / "copy", tape) as follower:
        for time_us in range(5):
            tape.store.append_rows("gex", [{**row, "ts_event": time_us}, {**row, "ts_event": 7}])
        tape.store.append_rows("gaps", [{**gap, "ts_event": 9, "gap_id": 1, "from_ts": 1}])
        assert_equal(tape, follower, "NQ_NDX", table="gex")
        assert_equal(tape, follower, "MNQ", table="gaps")


def test_the_latest_trade_is_that_of_the_front_contract_on_both(tape, client, tmp_path):
    tape.store.set_front("MNQ", "MNQZ5")
    tape.trade(3)
    back = fresh_trades("MNQ", 2)
    tape.store.append(type(back)("trades", "MNQ", "MNQH6", "test", back.columns))
    with tape.mirroring(), following(tmp_path / "copy", tape) as follower:
        assert_equal(tape, follower, "MNQ")
        until(lambda: follower.views.hot.front("MNQ") == "MNQZ5")
        latest = follower.views.view().latest("MNQ")
        assert latest.equals(tape.views.view().latest("MNQ"))
        assert latest["seq"].to_pylist() == [3]


def test_a_restarted_follower_goes_on_after_its_last_row(tape, client, tmp_path):
    with tape.mirroring():
        for _ in range(3):
            tape.trade(700, "MNQ")
            tape.trade(11, "NQ")
            with following(tmp_path / "copy", tape) as follower:
                assert_equal(tape, follower, "MNQ", "NQ")
        taken = follower.board.snapshot()["counters"]["rows"]
    assert taken == 711


def test_sealed_rows_come_from_the_shared_lake_and_each_row_once(tape, client, tmp_path):
    old = [CLOCK.now_ns() // 1_000 - 7_200_000_000] * 100
    tape.store.append(fresh_trades("MNQ", 100, ts_event=old))
    tape.trade(50, "MNQ")
    keeper_of(tape).seal_now(["MNQ"])
    tape.trade(25, "MNQ")
    with tape.mirroring():
        until(lambda: marks_of(client, "trades").get("first_seq") == 101)
        with following(tmp_path / "copy", tape) as follower:
            assert_equal(tape, follower, "MNQ")
            assert follower.views.hot.first_seq("trades") == 101
            assert follower.rows("trades", "MNQ").num_rows == 175
            keeper_of(tape).seal_now(["MNQ"])
            version = tape.views.hot.lake_version("trades")
            until(lambda: follower.views.hot.lake_version("trades") == version)
            tape.trade(5, "MNQ")
            assert_equal(tape, follower, "MNQ")
            assert follower.rows("trades", "MNQ").num_rows == 180


def test_a_follower_that_fell_behind_the_hot_hour_begins_where_redis_begins(tape, client, tmp_path):
    old = [CLOCK.now_ns() // 1_000 - 7_200_000_000] * 300
    with tape.mirroring():
        tape.store.append(fresh_trades("MNQ", 100, ts_event=old[:100]))
        with following(tmp_path / "copy", tape) as follower:
            assert_equal(tape, follower, "MNQ")
    tape.store.append(fresh_trades("MNQ", 300, ts_event=old))
    tape.trade(7)
    keeper_of(tape).seal_now(["MNQ"])
    with tape.mirroring():
        until(lambda: marks_of(client, "trades").get("first_seq") == 401)
        with following(tmp_path / "copy", tape) as follower:
            assert_equal(tape, follower, "MNQ")
            assert follower.views.hot.first_seq("trades") == 401
            assert follower.rows("trades", "MNQ").num_rows == 407


def test_a_flush_of_redis_costs_a_follower_nothing(tape, client, tmp_path):
    tape.trade(3_000)
    with tape.mirroring(), following(tmp_path / "copy", tape) as follower:
        assert_equal(tape, follower, "MNQ")
        client.flushall()
        tape.trade(100)
        assert_equal(tape, follower, "MNQ")
        assert follower.rows("trades", "MNQ")["seq"].to_pylist() == list(range(1, 3_101))


def test_rows_that_redis_lost_are_never_stepped_over(tape, client, tmp_path):
    with tape.mirroring():
        tape.trade(20, "MNQ")
        tape.trade(20, "NQ")
        tape.wait_mirrored(client)
    client.delete("tickflight:trades:NQ")
    with following(tmp_path / "copy", tape) as follower:
        until(lambda: follower.part()["state"] == "degraded")
        assert "not on Redis" in follower.part()["detail"]
        assert follower.seq() == 0
        with tape.mirroring():
            assert_equal(tape, follower, "MNQ", "NQ")


def test_a_follower_says_how_far_behind_it_is_and_serves_on_without_redis(tmp_path):
    with (
        running_redis(tmp_path / "redis") as server,
        shared_tape(tmp_path / "data", server.url) as tape,
        tape.mirroring(),
        following(tmp_path / "copy", tape) as follower,
    ):
        tape.trade(40)
        assert_equal(tape, follower, "MNQ")
        until(lambda: follower.part()["state"] == "ok")
        follower.copy.show()
        gauges = follower.board.snapshot()["gauges"]
        assert gauges["behind_rows"] == 0
        assert gauges["lag_ms"] < 5_000
        server.kill()
        until(lambda: follower.part()["state"] == "degraded")
        assert follower.rows("trades", "MNQ").num_rows == 40
        tape.trade(2)
        server.start()
        assert_equal(tape, follower, "MNQ")


def test_a_folder_with_a_tape_of_its_own_never_becomes_a_copy_nor_a_copy_a_tape(
    tape, client, tmp_path
):
    with pytest.raises(SettingsError, match="tape of its own"):
        check_is_copy(tape.paths)
    check_is_no_copy(tape.paths)
    with tape.mirroring(), following(tmp_path / "copy", tape) as follower:
        tape.trade(1)
        assert_equal(tape, follower, "MNQ")
    check_is_copy(Paths(tmp_path / "copy"))
    with pytest.raises(SettingsError, match="nothing can be added"):
        check_is_no_copy(Paths(tmp_path / "copy"))


def test_a_copy_of_one_tape_is_never_continued_with_another(tape, client, tmp_path):
    with tape.mirroring(), following(tmp_path / "copy", tape) as follower:
        tape.trade(4)
        assert_equal(tape, follower, "MNQ")
    client.flushall()
    with shared_tape(tmp_path / "other", tape.url, tape_id="another") as other:
        other.trade(9)
        with other.mirroring(), following(tmp_path / "copy", other) as follower:
            until(lambda: follower.part()["state"] == "down")
            assert "another tape" in follower.part()["detail"]
            assert follower.seq() == 4


def test_numbers_set_aside_for_the_lake_are_set_aside_on_both(tape, client, tmp_path):
    row = {"symbol": "SPY", "ticker": "SPY", "ts_recv": 1, "ts_event": 1}
    tape.store.append_rows("gex", [row, row])
    tape.store.reserve("gex", 100)
    with tape.mirroring(), following(tmp_path / "copy", tape) as follower:
        tape.store.append_rows("gex", [row])
        tape.store.reserve("gex", 7)
        assert_equal(tape, follower, "SPY", table="gex")
        assert follower.seq("gex") == 110
        assert follower.rows("gex", "SPY")["seq"].to_pylist() == [1, 2, 103]
    entries = client.xrange("tickflight:log:gex")
    told = [(int(f[b"first_seq"]), int(f[b"last_seq"]), int(f[b"rows"])) for _, f in entries]
    assert sum(rows for *_, rows in told) == 3
    assert sum(last - first + 1 for first, last, _ in told) == 110
    assert (3, 102, 0) in told


def test_a_key_of_somebody_else_in_place_of_the_tape_is_said(tape, client, tmp_path):
    client.set("tickflight:tape", "mine")
    with following(tmp_path / "copy", tape) as follower:
        until(lambda: follower.part()["state"] == "down")
        assert "WRONGTYPE" in follower.part()["detail"]


def test_a_damaged_copy_is_built_anew(tape, client, tmp_path):
    tape.trade(500)
    with tape.mirroring():
        with following(tmp_path / "copy", tape) as follower:
            assert_equal(tape, follower, "MNQ")
        for segment in (tmp_path / "copy" / "hot" / "trades").glob("*.seg"):
            with segment.open("r+b") as file:
                file.seek(BLOCKS_OFFSET)
                file.write(b"damage")
        tape.trade(20)
        with following(tmp_path / "copy", tape) as follower:
            assert_equal(tape, follower, "MNQ")
            assert follower.rows("trades", "MNQ").num_rows == 520
