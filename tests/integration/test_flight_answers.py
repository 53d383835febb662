"""Tickets answered by a real server over a real store, through a real client and socket."""

import json

import numpy as np
import polars as pl
import pytest
from pyarrow import flight

from core.clock import HOUR_US
from core.schema import TABLES
from flight_server import flight_sql
from flight_server.client import Client
from flight_server.describe import ACTIONS
from tests.unit.flight_server.house import flight_house, refused


@pytest.fixture
def house(tmp_path):
    with flight_house(tmp_path) as house:
        yield house


def metadata(table):
    found = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    return int(found["visible_seq"]), int(found["durable_seq"]), json.loads(found.get("gaps", "[]"))


def test_latest_is_the_last_valid_trade_with_its_age(house):
    house.trade([1.0, 2.0, 3.0], valid=np.array([True, True, False]))
    table = house.get("latest:MNQ")
    row = table.to_pylist()[0]
    assert table.num_rows == 1
    assert (row["symbol"], row["price"], row["seq"], row["contract"]) == ("MNQ", 2.0, 2, "MNQZ6")
    assert 0 < row["age_ms"] < 60_000
    assert table.schema.field("symbol").type == "string"
    assert metadata(table)[0] == 3


def test_latest_of_several_symbols_is_one_row_each(house):
    house.trade([1.0])
    house.trade([2.0], symbol="NQ")
    rows = {row["symbol"]: row["price"] for row in house.get("latest:NQ,MNQ").to_pylist()}
    assert rows == {"MNQ": 1.0, "NQ": 2.0}
    assert sorted(house.get("latest:*")["symbol"].to_pylist()) == ["MNQ", "NQ"]


def test_latest_sees_a_trade_the_moment_it_is_appended(house):
    client = house.client()
    for price in (1.0, 2.0, 3.0):
        house.trade([price])
        assert house.reader("latest:MNQ", client=client).read_all()["price"].to_pylist() == [price]


def test_tail_gives_the_last_rows_oldest_first(house):
    house.trade(np.arange(50_000.0), start_us=house.now_us - HOUR_US, step_us=10_000)
    for rows in (1, 7, 1_000, 40_000, 60_000):
        prices = house.get(f"tail:MNQ?n={rows}")["price"].to_pylist()
        assert prices == list(np.arange(50_000.0)[-rows:])
    assert house.get("tail:MNQ").num_rows == 1_000


def test_tail_ends_with_what_was_known_at_a_moment(house):
    start_us = house.now_us - HOUR_US
    house.trade(np.arange(5_000.0), start_us=start_us, step_us=100_000)
    known = (start_us + 1_000_000) * 1_000
    asked = house.get(f"tail:MNQ?n=3&known_at={known}")
    everything = house.get(f"ticks:MNQ?known_at={known}")
    assert 0 < everything.num_rows < 5_000
    assert asked["price"].to_pylist() == everything["price"].to_pylist()[-3:]
    as_json = json.dumps({"ticket": "tail:MNQ?n=3", "known_at": known})
    assert house.get(as_json)["seq"].to_pylist() == asked["seq"].to_pylist()


def test_tail_of_a_symbol_without_rows_is_empty_and_keeps_its_columns(house):
    table = house.get("tail:VIX")
    assert table.num_rows == 0
    assert table.schema.names == TABLES["trades"].schema.names


def test_ticks_give_a_half_open_range_in_time_order_with_text_as_dictionary(house):
    start_us = house.now_us - HOUR_US
    house.trade(np.arange(40_000.0), start_us=start_us)
    house.trade([-1.0], start_us=start_us + 500)  # late
    first, last = start_us * 1_000, (start_us + 3_000) * 1_000
    table = house.get(f"ticks:MNQ?start={first}&end={last}")
    assert table["price"].to_pylist() == [0.0, -1.0, 1.0, 2.0]
    assert str(table.schema.field("contract").type).startswith("dictionary")
    everything = house.get("ticks:MNQ")
    assert everything.num_rows == 40_001
    assert pl.from_arrow(everything)["ts_event"].is_sorted()


def test_ticks_hide_what_was_received_after_known_at(house):
    start_us = house.now_us - HOUR_US
    received = start_us + np.array([0, 10_000_000])
    house.trade([1.0, 2.0], start_us=start_us, ts_recv=received)
    asked = house.get(f"ticks:MNQ?known_at={(start_us + 1_000_000) * 1_000}")
    assert asked["price"].to_pylist() == [1.0]


def test_unknown_symbol_outside_retention_and_no_rows_are_three_answers(house):
    house.trade([1.0])
    _, told = refused(house.get, "ticks:QQQQ")
    assert told["code"] == "unknown_symbol"
    assert "MNQ" in told["hint"]
    _, told = refused(house.get, "ticks:MNQ?start=2019-01-01&end=2019-01-02")
    assert told["code"] == "outside_retention"
    assert house.get("ticks:VIX").num_rows == 0
    now = house.now_us
    quiet = house.get(f"ticks:MNQ?start={(now - 9 * HOUR_US) * 1000}&end={(now - HOUR_US) * 1000}")
    assert quiet.num_rows == 0


@pytest.mark.parametrize(
    "ticket", ["latest:QQQQ", "tail:QQQQ", "gex:QQQQ", "book:QQQQ", "live:QQQQ"]
)
def test_every_ticket_knows_an_unknown_symbol(house, ticket):
    assert refused(house.get, ticket)[1]["code"] == "unknown_symbol"


def test_gaps_are_named_in_the_metadata_and_refused_by_strict(house):
    now = house.now_us
    house.trade(np.arange(10.0), start_us=now - 20_000_000)
    house.gap(now - 15_000_000, now - 10_000_000)
    house.gap(now - 15_000_000, now - 10_000_000, gap_id=2, table="quotes")
    house.gap(now - 15_000_000, now - 10_000_000, gap_id=3, symbol="NQ")
    wide = f"ticks:MNQ?start={(now - 30_000_000) * 1000}"
    before = f"ticks:MNQ?end={(now - 16_000_000) * 1000}"
    gaps = metadata(house.get(wide))[2]
    assert [gap["reason"] for gap in gaps] == ["line lost"]
    assert metadata(house.get(before))[2] == []
    _, told = refused(house.get, wide + "&strict=1")
    assert told["code"] == "gap_in_range"
    assert house.get(before + "&strict=1").num_rows == 10
    assert len(house.act("gaps")) == 3
    house.gap(now - 15_000_000, now - 10_000_000, state="backfilled")
    assert house.get(wide + "&strict=1").num_rows == 10


def test_gex_maps_a_root_to_its_ticker_and_gives_one_row_a_category(house):
    now = house.now_us
    rows = [
        {
            "symbol": "NQ_NDX",
            "ts_event": now - 5_000_000 + place,
            "ts_recv": now,
            "source": "gexbot",
            "ticker": "NQ_NDX",
            "package": "classic",
            "category": category,
            "spot": float(place),
            "via": "api",
        }
        for place, category in enumerate(["gex_zero", "gex_full", "gex_zero"])
    ]
    house.store.append_rows("gex", rows)
    found = house.get("gex:MNQ").to_pylist()
    assert {row["category"]: row["spot"] for row in found} == {"gex_full": 1.0, "gex_zero": 2.0}
    ranged = house.get(f"gex:NQ_NDX?start={(now - 9_000_000) * 1000}")
    assert ranged["spot"].to_pylist() == [0.0, 1.0, 2.0]
    assert house.get("gex:NQ").num_rows == 2
    assert house.get("gex:SPY").num_rows == 0
    _, told = refused(house.get, "gex:NDX")  # a scale of its own, never taken for NQ_NDX
    assert told["code"] == "unknown_symbol"


def test_flight_info_cuts_a_range_into_endpoints_that_together_are_the_whole(house):
    start_us = (house.now_us // HOUR_US - 3) * HOUR_US
    house.trade(np.arange(9_000.0), start_us=start_us, step_us=1_000_000)
    info = house.info("ticks:MNQ")
    assert info.total_records >= 9_000
    assert info.total_bytes > 9_000
    assert info.schema.names == TABLES["trades"].schema.names
    assert len(info.endpoints) == 3
    prices = []
    for endpoint in info.endpoints:
        prices += house.get(endpoint.ticket.ticket)["price"].to_pylist()
    assert prices == list(np.arange(9_000.0))


@pytest.mark.parametrize(
    "ticket", ["latest:MNQ", "tail:MNQ?n=3", "gex:MNQ", "book:MNQ", "live:MNQ", "depth:MNQ"]
)
def test_flight_info_names_the_columns_of_every_ticket(house, ticket):
    house.trade([1.0])
    info = house.info(ticket)
    assert "symbol" in info.schema.names
    descriptor = flight.FlightDescriptor.for_command(ticket.encode())
    asked = house.client().get_schema(descriptor, house.options())
    assert asked.schema.names == info.schema.names


def test_list_flights_lists_every_table(house):
    house.trade([1.0, 2.0])
    found = {
        info.descriptor.path[0].decode(): info
        for info in house.client().list_flights(options=house.options())
    }
    assert set(found) == set(TABLES)
    assert found["trades"].total_records == 2
    assert found["trades"].schema.field("price").metadata[b"meaning"]


def test_describe_tells_a_model_everything(house):
    house.trade([1.0])
    told = house.act("describe")
    tables = {table["name"]: table for table in told["tables"]}
    assert set(tables) == set(TABLES)
    assert all(c["meaning"] for table in tables.values() for c in table["columns"])
    assert set(tables["trades"]["coverage"]) == {"MNQ"}
    assert "latest:MNQ" in told["tickets"]
    assert told["redis"]["tickflight:latest:MNQ"].startswith("hash")
    assert told["symbols"] == ["MNQ", "NQ", "SPY", "VIX"]


def test_every_action_that_is_listed_is_answered(house):
    listed = {a.type for a in house.client().list_actions(house.options())}
    assert listed == set(ACTIONS) | set(flight_sql.ACTIONS)
    for name in set(ACTIONS) - {"cancel"}:
        assert house.act(name) is not None
    assert house.act("status")["watermarks"]["trades"] == {"visible_seq": 0, "durable_seq": 0}


def test_a_kept_open_exchange_answers_latest_again_and_again(house):
    descriptor = flight.FlightDescriptor.for_command(b"latest:MNQ")
    writer, reader = house.client().do_exchange(descriptor, house.options())
    with writer:
        for price in (1.0, 2.0, 3.0):
            house.trade([price])
            writer.write_metadata(b"more")
            assert reader.read_chunk().data.column("price").to_pylist() == [price]
        writer.done_writing()


def test_the_client_of_ours_asks_in_one_line(house):
    house.trade([1.0, 2.0])
    with Client(house.url, house.key) as client:
        assert client.latest("MNQ")["price"].to_pylist() == [2.0]
        assert client.latest()["symbol"].to_pylist() == ["MNQ"]
        assert client.ticks("MNQ", start="2020-01-01")["price"].to_pylist() == [1.0, 2.0]
        assert client.polars("tail:MNQ?n=1")["price"].to_list() == [2.0]
        assert client.act("whoami")["name"] == "tester"
