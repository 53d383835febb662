"""Long answers: following, falling behind, limits, clients that leave, and a server that stops."""

import json
import threading

import numpy as np
import pytest
from pyarrow import flight

from core.clock import HOUR_US, NS_PER_S
from flight_server.running import RunningCalls, ask_to_end, read_running
from flight_server.streams import Limits
from tests.unit.flight_server.house import FlightHouse, flight_house, refused, wait_until


@pytest.fixture
def house(tmp_path):
    with flight_house(tmp_path) as house:
        yield house


def seqs_until(reader, last_seq):
    found = []
    while not found or found[-1] < last_seq:
        found += reader.read_chunk().data.column("seq").to_pylist()
    return found


def test_live_replays_from_a_point_and_then_follows_without_gap_or_double(house):
    house.trade(np.arange(40_000.0))
    stop = threading.Event()

    def feed():
        while not stop.is_set():
            house.trade([1.0, 2.0, 3.0])

    feeder = threading.Thread(target=feed)
    reader = house.reader("live:MNQ?from_seq=100")
    feeder.start()
    try:
        found = seqs_until(reader, 60_000)
    finally:
        stop.set()
        feeder.join()
    assert found == list(range(100, found[-1] + 1))
    reader.cancel()


def test_live_from_beyond_the_end_is_refused_and_told_where_the_end_is(house):
    with pytest.raises(flight.FlightServerError) as refused:
        house.reader("live:MNQ?from_seq=999999").read_chunk()
    told = json.loads(refused.value.extra_info)
    assert told["code"] == "bad_ticket"
    assert "go on with from_seq=" in told["hint"]


def test_live_from_now_on_leaves_out_what_was_before(house):
    house.trade([1.0, 2.0])
    reader = house.reader("live:MNQ")
    assert reader.schema.metadata[b"visible_seq"] == b"2"
    house.trade([3.0])
    chunk = reader.read_chunk().data
    assert chunk.column("price").to_pylist() == [3.0]
    reader.cancel()


def test_live_follows_several_symbols_in_one_stream(house):
    reader = house.reader("live:MNQ,NQ?from_seq=1")
    for place in range(20):
        house.trade([float(place)], symbol="MNQ" if place % 2 else "NQ")
    found = []
    while len(found) < 20:
        found += reader.read_chunk().data.column("seq").to_pylist()
    assert sorted(found) == list(range(1, 21))
    reader.cancel()


def test_a_client_that_goes_away_ends_its_live_stream(house):
    house.trade([1.0])
    client = house.client()
    reader = house.reader("live:MNQ?from_seq=1", client=client)
    reader.read_chunk()
    assert len(house.book.active) == 1
    reader.cancel()
    wait_until(lambda: not house.book.active)
    wait_until(lambda: house.audit.noted_count == 1)
    assert house.calls()[0]["outcome"] in ("ok", "cancelled")


def test_a_running_call_is_told_of_and_ended_from_another_process(house):
    house.trade([1.0])
    running = RunningCalls(house.book.active, house.paths.calls)
    reader = house.reader("live:MNQ?from_seq=1")
    reader.read_chunk()
    running.publish()
    (call,) = read_running(house.paths.calls)
    assert (call.key, call.ticket) == ("tester", "live:MNQ?from_seq=1")
    # A request that was meant for the server before this one ends nothing.
    ask_to_end(house.paths.calls, f"{call.id.partition('-')[0]}-1")
    running.obey()
    assert not next(iter(house.book.active.values())).is_cancelled
    ask_to_end(house.paths.calls, call.id)
    running.obey()
    wait_until(lambda: not house.book.active)
    assert reader.read_all().num_rows == 0  # it has ended
    running.publish()
    assert read_running(house.paths.calls) == []


def test_a_client_that_leaves_a_long_answer_frees_it(house):
    house.trade(np.arange(400_000.0))
    reader = house.reader("ticks:MNQ")
    reader.read_chunk()
    assert len(house.book.active) == 1
    reader.cancel()
    wait_until(lambda: not house.book.active)


def test_a_stopping_server_ends_live_streams_in_order_and_soon(tmp_path):
    house = FlightHouse(tmp_path)
    house.trade([1.0])
    reader = house.reader("live:MNQ?from_seq=1")
    reader.read_chunk()
    begun_ns = house.clock.monotonic_ns()
    house.close()
    assert house.clock.monotonic_ns() - begun_ns < 3 * NS_PER_S
    with pytest.raises((StopIteration, flight.FlightError)):
        reader.read_chunk()


def test_a_client_that_reads_nothing_does_not_keep_the_server_from_stopping(tmp_path):
    house = FlightHouse(tmp_path)
    house.trade(np.arange(1_000_000.0))
    reader = house.reader("ticks:MNQ")
    reader.read_chunk()
    begun_ns = house.clock.monotonic_ns()
    is_clean = house.server.stop()
    assert house.clock.monotonic_ns() - begun_ns < 4.5 * NS_PER_S
    reader.cancel()
    assert is_clean in (True, False)
    house.store.close()


def test_row_and_byte_limits_break_an_answer_off_with_a_reason(tmp_path):
    for limits in (Limits(20_000, 10**12), Limits(10**9, 1_000_000)):
        with flight_house(tmp_path / str(limits.rows), limits=limits) as house:
            house.trade(np.arange(100_000.0))
            _, told = refused(house.get, "ticks:MNQ")
            assert told["code"] == "too_much"
            assert "shorter" in told["hint"]
            assert house.get("tail:MNQ?n=100").num_rows == 100


def test_many_clients_at_once_each_get_their_own_answer(house):
    house.trade(np.arange(1_000.0))
    wrong = []

    def ask(rows):
        client = house.client()
        for _ in range(10):
            prices = house.reader(f"tail:MNQ?n={rows}", client=client).read_all()["price"]
            if prices.to_pylist() != list(np.arange(1_000.0)[-rows:]):
                wrong.append(rows)

    threads = [threading.Thread(target=ask, args=(rows,)) for rows in (1, 10, 100, 999)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_words_that_come_up_in_the_middle_of_a_stream_are_read_right(house):
    start_us = house.now_us - HOUR_US
    for place in range(5):
        kinds = np.array([f"word{place}"] * 3, object)
        house.trade([float(place)] * 3, start_us=start_us + place * 10_000, conditions=kinds)
    reader = house.reader("live:MNQ?from_seq=1")
    found = []
    while len(found) < 15:
        found += reader.read_chunk().data.column("conditions").to_pylist()
    house.trade([9.0], conditions=np.array(["fresh"], object))
    while "fresh" not in found:
        found += reader.read_chunk().data.column("conditions").to_pylist()
    assert found == [f"word{place}" for place in range(5) for _ in range(3)] + ["fresh"]
    reader.cancel()
