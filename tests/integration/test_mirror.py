"""The mirror and a real Redis: every row once, whatever happens to either side."""

import json

import polars as pl

from storage.bus import Bus, Changes
from storage.keeper import Keeper, KeeperOptions
from storage.seal import Sealer
from tests.fakes.deadline import until
from tests.fakes.shared_tape import (
    CLOCK,
    check_dense,
    entries_of,
    fresh_trades,
    marks_of,
    shared_tape,
)


def test_every_durable_row_is_in_its_stream_once_and_its_entry_stands_alone(tape, client):
    tape.trade(300, "MNQ")
    tape.trade(20_000, "NQ")
    with tape.mirroring():
        tape.wait_mirrored(client)
        for number in range(40):
            tape.trade(number + 1, "MNQ" if number % 3 else "SPY")
        tape.wait_mirrored(client)
    rows = check_dense(client)
    assert set(rows["symbol"]) == {"MNQ", "NQ", "SPY"}
    assert rows.filter(pl.col("symbol") == "NQ")["price"].to_list()[:3] == [100.0, 100.25, 100.5]
    assert set(rows["contract"]) == {"MNQZ5", "NQZ5", "SPYZ5"}
    assert rows["bid"].null_count() > 0


def test_a_row_that_is_only_visible_is_not_shared(tmp_path, redis_server, client):
    with shared_tape(tmp_path / "slow", redis_server.url, commit_ms=3_600_000) as tape:
        tape.trade(5)
        tape.store.commit()
        with tape.mirroring():
            tape.wait_mirrored(client)
            tape.trade(7)
            seen = int(client.hget("tickflight:tape", "round"))
            until(lambda: int(client.hget("tickflight:tape", "round")) > seen)
            assert marks_of(client, "trades")["last_seq"] == 5
            tape.wait_mirrored(client)
    assert len(check_dense(client)) == 12


def test_the_last_valid_trade_is_one_hash_and_never_an_older_one(tape, client):
    tape.trade(3)
    late = fresh_trades("MNQ", 1, price=[5.0], ts_event=[1_000_000])
    void = fresh_trades("MNQ", 1, price=[7.0], valid=[False])
    with tape.mirroring():
        for batch in (late, void):
            tape.store.append(batch)
        tape.wait_mirrored(client)
        found = client.hgetall("tickflight:latest:MNQ")
    assert found[b"symbol"] == b"MNQ"
    assert (found[b"seq"], found[b"price"], found[b"size"]) == (b"3", b"100.5", b"3")
    assert set(found) == {b"symbol", b"ts_event", b"seq", b"price", b"size", b"bid", b"ask"}
    client.delete("tickflight:latest:MNQ")
    with tape.mirroring():
        until(lambda: client.hget("tickflight:latest:MNQ", "seq") == b"3")


def test_live_trades_are_told_as_json_without_void_ones(tape, client):
    tape.trade(1)
    with tape.mirroring(), client.pubsub(ignore_subscribe_messages=True) as listener:
        tape.wait_mirrored(client)
        listener.subscribe("tickflight:live:MNQ")
        until(lambda: client.pubsub_numsub("tickflight:live:MNQ")[0][1] == 1)
        tape.store.append(fresh_trades("MNQ", 3, valid=[True, False, True]))
        told = json.loads(until(lambda: listener.get_message(timeout=0.1))["data"])
    assert told["symbol"] == "MNQ"
    assert told["seq"] == [2, 4]
    assert (told["first_seq"], told["last_seq"]) == (2, 4)
    assert told["price"] == [100.0, 100.5]
    assert told["size"] == [1, 3]
    assert told["side"] == [-1, 1]
    assert all(time_ns > 1_700_000_000_000_000_000 for time_ns in told["ts_event"])


def test_whoever_begins_to_listen_misses_no_trade_from_then_on(tape, client):
    with tape.mirroring():
        for subscribe, pattern in (("subscribe", "MNQ"), ("psubscribe", "M*")):
            with client.pubsub(ignore_subscribe_messages=True) as listener:
                tape.trade(1)  # nobody listens
                tape.wait_mirrored(client)
                getattr(listener, subscribe)(f"tickflight:live:{pattern}")
                until(lambda: client.pubsub_numpat() or client.pubsub_channels())
                seqs = []
                for _ in range(5):
                    first = tape.store.append(fresh_trades("MNQ", 2))
                    message = until(lambda told=listener: told.get_message(timeout=0.1))
                    seqs += json.loads(message["data"])["seq"]
                    assert seqs[-2:] == [first, first + 1]
            until(lambda: not client.pubsub_numpat() and not client.pubsub_channels())


def test_snapshots_are_in_a_stream_of_their_own_and_the_newest_in_a_hash(tape, client):
    with tape.mirroring():
        for zero in (1.0, 2.0):
            row = {"symbol": "NQ_NDX", "ticker": "NQ_NDX", "package": "classic", "spot": 9.5}
            row |= {"category": "gex_full", "zero_gamma": zero, "ts_event": int(zero * 1e15)}
            tape.store.append_rows("gex", [{**row, "ts_recv": int(1e15)}])
        tape.wait_mirrored(client, "gex")
    found = json.loads(client.hget("tickflight:gex:NQ_NDX", "classic/gex_full"))
    assert (found["zero_gamma"], found["spot"]) == (2.0, 9.5)
    assert check_dense(client, "gex")["zero_gamma"].to_list() == [1.0, 2.0]


def test_a_mirror_killed_anywhere_goes_on_without_gap_or_double(tape, client):
    for life in range(4):
        with tape.mirroring():
            tape.trade(500, "MNQ")
            tape.trade(300, "NQ")
            seen = life * 800
            until(lambda seen=seen: marks_of(client, "trades").get("last_seq", 0) > seen)
    with tape.mirroring():
        tape.wait_mirrored(client)
    assert len(check_dense(client)) == 3_200


def test_two_mirrors_at_once_cannot_double_a_row(tape, client):
    with tape.mirroring(), tape.mirroring():
        for number in range(60):
            tape.trade(50, "MNQ" if number % 2 else "NQ")
            tape.store.commit()
        tape.wait_mirrored(client)
    assert len(check_dense(client)) == 3_000


def test_commands_left_behind_by_a_lost_connection_do_nothing_later(redis_server, client):
    bus = Bus(redis_server.url, "late")
    bus.open()
    first = Changes(commands=[(b"HSET", b"tickflight:tape", b"round", b"1")])
    assert bus.transact(0, first) is not None
    assert bus.transact(0, Changes(commands=[(b"SET", b"late", b"1")])) is None
    assert client.get("late") is None
    bus.close()


def test_a_flushed_redis_is_filled_again_with_the_hot_hour(tape, client):
    tape.trade(40_000)
    with tape.mirroring():
        tape.wait_mirrored(client)
        client.flushall()
        until(lambda: marks_of(client, "trades").get("last_seq") == 40_000)
        tape.trade(10)
        tape.wait_mirrored(client)
        assert len(check_dense(client)) == 40_010
        client.delete("tickflight:trades:MNQ")
        until(lambda: client.exists("tickflight:trades:MNQ"))
        tape.wait_mirrored(client)
    assert len(check_dense(client)) == 40_010


def test_what_is_old_and_sealed_is_trimmed_and_what_is_not_sealed_stays(tape, client):
    keeper = Keeper(tape.store, Sealer(tape.lake_url, CLOCK), tape.lake_url, KeeperOptions(), CLOCK)
    now_us = CLOCK.now_ns() // 1_000
    old = [now_us - 7_200_000_000] * 100
    tape.store.append(fresh_trades("MNQ", 100, ts_event=old))
    tape.store.append(fresh_trades("NQ", 100, ts_event=old))
    with tape.mirroring():
        tape.wait_mirrored(client)
        tape.trade(50)
        tape.wait_mirrored(client)
    assert marks_of(client, "trades")["first_seq"] == 1
    keeper.seal_now(["MNQ"])
    with tape.mirroring():
        until(lambda: marks_of(client, "trades")["first_seq"] == 101)
        tape.wait_mirrored(client)
        assert {fields[b"first_seq"] for _, fields in entries_of(client, "trades")[1]} == {
            b"101",
            b"201",
        }
    keeper.seal_now(["NQ"])
    with tape.mirroring():
        until(lambda: marks_of(client, "trades")["first_seq"] == 201)
    assert len(check_dense(client)) == 50


def test_the_tape_of_another_folder_is_never_mixed_in(tmp_path, tape, redis_server, client):
    tape.trade(5)
    with tape.mirroring():
        tape.wait_mirrored(client)
    with shared_tape(tmp_path / "other", redis_server.url, tape_id="another") as other:
        other.trade(9)
        with other.mirroring():
            until(lambda: other.part()["state"] == "down")
        assert "another data folder" in other.part()["detail"]
    assert len(check_dense(client)) == 5


def test_a_folder_set_back_to_an_older_state_is_refused_and_nothing_overwritten(
    tmp_path, tape, redis_server, client
):
    tape.trade(10)
    with tape.mirroring():
        tape.wait_mirrored(client)
    with shared_tape(tmp_path / "older", redis_server.url) as older:
        older.trade(4)
        older.store.commit()
        with older.mirroring():
            until(lambda: older.part()["state"] == "down")
        assert "the tape ends at 4" in older.part()["detail"]
    assert len(check_dense(client)) == 10


def test_a_key_of_somebody_else_is_said_and_left_alone(tape, client):
    client.set("tickflight:trades:MNQ", "mine")
    tape.trade(3)
    with tape.mirroring():
        until(lambda: tape.part()["state"] == "down")
    assert "WRONGTYPE" in tape.part()["detail"]
    assert client.get("tickflight:trades:MNQ") == b"mine"


def test_an_entry_of_somebody_else_is_said_and_no_row_is_left_out_for_it(tape, client):
    tape.trade(3)
    with tape.mirroring():
        tape.wait_mirrored(client)
    client.xadd("tickflight:trades:MNQ", {"mine": 1})  # its id is the time
    with tape.mirroring():
        until(lambda: tape.part()["state"] == "down")
        assert "tickflight:trades:MNQ" in tape.part()["detail"]
        tape.trade(2)
        client.delete("tickflight:trades:MNQ")
        until(lambda: marks_of(client, "trades").get("last_seq") == 5, 40)
    assert len(check_dense(client)) == 5
