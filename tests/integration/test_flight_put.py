"""Rows given over Flight: stored, rejected with a reason, or refused with what was expected."""

import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pyarrow import flight

from tests.conftest import tickflight
from tests.unit.flight_server.house import refused

NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
TRADES = {
    "symbol": ["PUT", "PUT", "OTHER"],
    "ts_event": pa.array([NOW] * 3, pa.timestamp("us")),
    "price": [1.25, None, 3.0],
    "size": [1, 2, 3],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from tests.conftest import running_server

    with running_server(tmp_path_factory.mktemp("put")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    return flight.connect(server.flight_url)


def options(server, name, *more):
    folder = server.data_dir.parent
    key = tickflight(folder, "key", "create", name, "--scope", "write", *more).split()[-1]
    return flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + key.encode())])


@pytest.fixture(scope="module")
def allowed(server):
    return options(server, "writer", "--scope", "read", "--scope", "sql")


def put(client, allowed, table, columns):
    rows = pa.table(columns)
    writer, answers = client.do_put(flight.FlightDescriptor.for_path(table), rows.schema, allowed)
    with writer:
        writer.write_table(rows)
        writer.done_writing()
        return json.loads(answers.read().to_pybytes())


def asked(client, allowed, sql):
    return client.do_get(flight.Ticket(sql), allowed).read_all().to_pylist()


def test_trades_are_stored_or_rejected_and_both_are_told(client, allowed):
    told = put(client, allowed, "trades", TRADES)
    assert told == {"stored": 2, "rejected": 1, "duplicates": 0}
    rows = asked(client, allowed, "SELECT symbol, price, size, source FROM trades ORDER BY seq")
    assert rows == [
        {"symbol": "PUT", "price": 1.25, "size": 1, "source": "put:writer"},
        {"symbol": "OTHER", "price": 3.0, "size": 3, "source": "put:writer"},
    ]
    (reject,) = asked(client, allowed, "SELECT symbol, reason FROM rejects")
    assert reject == {"symbol": "PUT", "reason": "price is not a number"}


def test_a_row_with_its_sources_number_is_stored_once_and_a_correction_is_kept(client, allowed):
    columns = {
        "symbol": ["ONCE"] * 3,
        "ts_event": pa.array([NOW] * 3, pa.timestamp("us")),
        "price": [1.0, 2.0, 2.0],
        "size": [1, 2, 2],
        "bid": [None, 1.75, 1.75],
        "source_seq": [7, 8, 8],
    }
    first = put(client, allowed, "trades", columns)
    assert first == {"stored": 2, "rejected": 0, "duplicates": 1}
    again = put(client, allowed, "trades", columns)
    assert again == {"stored": 0, "rejected": 0, "duplicates": 3}
    corrected = {**columns, "kind": ["correction", "new", "cancel"], "price": [1.25, 2.0, 2.0]}
    told = put(client, allowed, "trades", corrected)
    assert told == {"stored": 2, "rejected": 0, "duplicates": 1}
    unnumbered = {name: column for name, column in columns.items() if name != "source_seq"}
    for _ in range(2):
        assert put(client, allowed, "trades", unnumbered)["stored"] == 3


def test_rows_of_no_symbol_or_of_one_no_ticket_can_name_are_rejects(client, allowed):
    columns = {**TRADES, "symbol": ["", "../x", "odd symbol"], "price": [1.0, 2.0, 3.0]}
    assert put(client, allowed, "trades", columns)["rejected"] == 3
    sql = "SELECT symbol, reason FROM rejects WHERE reason LIKE 'symbol%' ORDER BY seq"
    found = asked(client, allowed, sql)
    assert [row["symbol"] for row in found] == ["*", "../x", "odd symbol"]


def test_quotes_are_stored_and_an_unknown_side_stays_unknown(client, allowed):
    columns = {
        "symbol": pa.array(["Q", "Q"]).dictionary_encode(),
        "ts_event": pa.array([NOW, NOW], pa.timestamp("ms", "Europe/Berlin")),
        "bid": [1.0, None],
        "ask": [1.25, 1.5],
        "bid_size": pa.array([3, 4], pa.int32()),
    }
    assert put(client, allowed, "quotes", columns)["stored"] == 2
    rows = asked(client, allowed, "SELECT bid, bid_size, ts_event FROM quotes ORDER BY seq")
    assert [(row["bid"], row["bid_size"]) for row in rows] == [(1.0, 3), (None, 4)]
    assert rows[0]["ts_event"] == NOW


def test_a_gex_snapshot_is_stored_once(client, allowed):
    columns = {
        "symbol": ["NQ_NDX"],
        "ts_event": pa.array([NOW], pa.timestamp("us")),
        "ticker": ["NQ_NDX"],
        "package": ["classic"],
        "category": ["gex_zero"],
        "spot": [25_000.0],
    }
    first = put(client, allowed, "gex", columns)
    assert first == {"stored": 1, "rejected": 0, "duplicates": 0}
    again = put(client, allowed, "gex", columns)
    assert again == {"stored": 0, "rejected": 0, "duplicates": 1}
    mixed = {name: [*list(column), column[0]] for name, column in columns.items()}
    mixed["ts_event"] = pa.array([NOW + timedelta(seconds=1)] * 2, pa.timestamp("us"))
    mixed["symbol"] = ["NQ_NDX", ""]
    told = put(client, allowed, "gex", mixed)
    assert told == {"stored": 1, "rejected": 1, "duplicates": 0}
    (reject,) = asked(client, allowed, "SELECT reason, raw FROM rejects WHERE table_name = 'gex'")
    assert reject["reason"] == "symbol is empty"
    assert json.loads(reject["raw"])["source"] == "put:writer"


@pytest.mark.parametrize(
    ("table", "change", "word"),
    [
        ("trades", {"price": None}, "price is missing"),
        ("trades", {"colour": ["a", "b", "c"]}, "colour is unknown"),
        ("trades", {"seq": [1, 2, 3]}, "seq is given by the tape itself"),
        ("trades", {"size": [1, None, 3]}, "1 nulls"),
        ("trades", {"size": ["a", "b", "c"]}, "expected int64"),
        ("trades", {"size": [1.5, 2.0, 3.0]}, "expected int64"),
        ("depth", {}, "to put into"),
        ("quotes", {}, "bid is missing"),
    ],
)
def test_a_wrong_schema_is_refused_and_says_what_was_expected(client, allowed, table, change, word):
    columns = {name: column for name, column in {**TRADES, **change}.items() if column is not None}
    _, told = refused(put, client, allowed, table, columns)
    assert told["code"] == "bad_ticket"
    assert word in told["message"]
    assert told["hint"]


def test_a_key_for_one_symbol_puts_no_other(server, client):
    narrow = options(server, "narrow", "--symbol", "PUT")
    _, told = refused(put, client, narrow, "trades", TRADES)
    assert told["code"] == "forbidden"
    assert "OTHER" in told["message"]
