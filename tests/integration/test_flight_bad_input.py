"""What a client may get wrong: each with its own code and words that say what to do."""

import pytest
from pyarrow import flight

from storage.query import QueryLimits, QueryService
from tests.unit.flight_server.house import FlightHouse, refused

HOUR_AHEAD = "2099-01-01"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One server with SQL for all tests that only ask."""
    folder = tmp_path_factory.mktemp("flight")
    house = FlightHouse(folder)
    house.trade([1.0, 2.0, 4.0])
    limits = QueryLimits(seconds=5.0, rows=1_000_000, bytes=10**9, memory_bytes=10**9)
    service = QueryService(house.paths, str(house.paths.lake()), limits)
    service.start()
    object.__setattr__(house.sources, "queries", service)
    yield house
    service.stop()
    house.close()


BAD = {
    "unknown ticket": ("news:MNQ", "bad_ticket", "tickets are"),
    "nothing": ("", "bad_ticket", "tickets are"),
    "empty symbol": ("latest:", "bad_ticket", "latest:MNQ"),
    "bad range": ("ticks:MNQ?start=2026-11-20&end=2026-11-19", "bad_ticket", "end"),
    "future range": (f"ticks:MNQ?start={HOUR_AHEAD}", "bad_ticket", "past"),
    "10 MB ticket": ("SELECT '" + "x" * 10_000_000 + "'", "bad_ticket", "shorten"),
    "garbage bytes": (b"\x80\x81\xfe\x00", "bad_ticket", "tickets are"),
    "unknown parameter": ("tail:MNQ?rows=3", "bad_ticket", "it knows n"),
    "seconds": ("ticks:MNQ?start=1795185000", "bad_ticket", "1795185000000000000"),
    "unknown symbol": ("ticks:QQQQ", "unknown_symbol", "MNQ"),
    "too old": ("ticks:MNQ?start=2001-01-01&end=2001-01-02", "outside_retention", "import"),
    "bad sql": ("SELECT nonsense FROM trades", "bad_sql", ""),
    "sql that does not parse": ("SELECT FROM WHERE", "bad_sql", ""),
    "unknown table": ("SELECT * FROM secrets", "bad_sql", ""),
    "not a question": ("DROP TABLE trades", "bad_sql", "read-only"),
    "two statements": ("SELECT 1; SELECT 2", "bad_sql", ""),
    "a file": ("SELECT * FROM read_csv('/etc/passwd')", "forbidden", ""),
    "a writing question": ("WITH a AS (INSERT INTO trades SELECT 1) SELECT 1", "forbidden", ""),
    "a missing parameter": ('{"sql": "SELECT ?"}', "bad_sql", ""),
}


@pytest.mark.parametrize(("ticket", "code", "advice"), BAD.values(), ids=BAD.keys())
def test_a_bad_ticket_has_its_code_and_says_what_to_do(house, ticket, code, advice):
    for door in (house.get, house.info):
        _, told = refused(door, ticket)
        assert told["code"] == code, told
        assert advice in told["hint"] + told["message"]
        assert told["hint"]


@pytest.mark.parametrize("key", ["", "wrong", "tf_aaaaaaaa_" + "A" * 43])
def test_a_bad_key_is_unauthenticated_whatever_was_asked(house, key):
    for ticket, _, _ in (BAD["unknown ticket"], BAD["bad sql"], ("latest:MNQ", "", "")):
        error, told = refused(house.get, ticket, key)
        assert isinstance(error, flight.FlightUnauthenticatedError)
        assert told["code"] == "unauthenticated"


def test_a_statement_without_end_is_too_slow(house):
    error, told = refused(
        house.get, "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b"
    )
    assert isinstance(error, flight.FlightTimedOutError)
    assert told["code"] == "too_slow"


def test_a_result_without_end_is_too_much(house):
    assert refused(house.get, "SELECT * FROM range(10000000)")[1]["code"] == "too_much"


def test_an_unknown_action_names_the_known_ones(house):
    _, told = refused(house.act, "fly")
    assert told["code"] == "bad_ticket"
    assert "describe" in told["hint"]


@pytest.mark.parametrize("path", [(), ("trades", "MNQ")])
def test_a_descriptor_that_is_no_ticket_says_how_to_make_one(house, path):
    descriptor = flight.FlightDescriptor.for_path(*path)
    _, told = refused(house.client().get_flight_info, descriptor, house.options())
    assert told["code"] == "bad_ticket"
    assert "for_command" in told["hint"]


def test_sql_is_answered_with_parameters_and_watermarks(house):
    table = house.get(
        '{"sql": "SELECT sum(price) AS s FROM trades WHERE symbol = ?", "params": ["MNQ"]}'
    )
    assert table["s"].to_pylist() == [7.0]
    assert table.schema.metadata[b"visible_seq"] == b"3"
    assert house.info("SELECT price FROM trades").schema.names == ["price"]
    listed = house.info("SELECT 1 AS one").endpoints[0].ticket.ticket
    assert house.get(listed)["one"].to_pylist() == [1]


def test_sql_sees_only_the_symbols_of_its_key(house):
    from flight_server.keys import TAPE_SCOPES, KeyRequest

    house.trade([9.0], symbol="SPY")
    key = house.ring.create(KeyRequest("narrow", TAPE_SCOPES, ("SPY",)))
    rows = house.get("SELECT DISTINCT symbol FROM trades", key)
    assert rows["symbol"].to_pylist() == ["SPY"]


def test_bars_are_whole_and_aligned_and_the_same_from_rollups_and_from_trades(house):
    minute_us = 60_000_000
    start_us = (house.now_us // minute_us - 3) * minute_us
    prices = [10.0, 12.0, 9.0, 11.0, 20.0, 21.0]
    house.trade(prices, symbol="NQ", start_us=start_us + 1_000_000, step_us=19_000_000)
    first_ns = (start_us + 30_000_000) * 1_000
    found = house.get(f"bars:NQ?every=1m&start={first_ns}")
    rows = found.to_pylist()
    ohlc = [(r["open"], r["high"], r["low"], r["close"], r["volume"], r["count"]) for r in rows]
    assert ohlc == [(10.0, 12.0, 9.0, 11.0, 4, 4), (20.0, 21.0, 20.0, 21.0, 2, 2)]
    assert rows[0]["vwap"] == pytest.approx(10.5)
    known = f"bars:NQ?every=1m&start={first_ns}&known_at={house.now_us * 1000}"
    assert house.get(known).to_pylist() == rows
    both = house.get(f"bars:NQ?every=1h&start={first_ns}").to_pylist()
    assert sum(row["volume"] for row in both) == 6
    assert house.get("bars:VIX").num_rows == 0
    assert refused(house.get, "bars:QQQQ")[1]["code"] == "unknown_symbol"
