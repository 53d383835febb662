"""Flight SQL as drivers other than ADBC speak it: plain statements, catalog commands, sessions."""

import pyarrow as pa
import pytest
from pyarrow import flight

from flight_server.catalog import SCHEMAS
from flight_server.flight_sql import CATALOG_KINDS, open_any, pack_any
from flight_server.keys import KeyRequest
from flight_server.protobuf import bytes_in, format_field
from storage.paths import Paths
from storage.query import QueryLimits, QueryService
from tests.unit.flight_server.house import flight_house, refused


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flight-sql")
    paths = Paths(folder)
    limits = QueryLimits(seconds=30, rows=10**6, bytes=10**9, memory_bytes=10**9)
    service = QueryService(paths, str(paths.lake()), limits, lanes=1)
    with flight_house(folder, queries=service) as house:
        house.trade([1.0, 2.0, 3.0])
        service.start()
        yield house
        service.stop()


def answer(house, command, key=None):
    """What a driver does: ask what there is, then fetch its one endpoint."""
    info = house.info(command, key)
    (endpoint,) = info.endpoints
    table = house.reader(endpoint.ticket.ticket, key).read_all()
    assert table.schema.equals(info.schema)
    return table


def test_a_statement_as_jdbc_and_grafana_send_it(house):
    sql = b"SELECT price FROM main.trades ORDER BY price DESC LIMIT 2"
    found = answer(house, pack_any("CommandStatementQuery", format_field(1, sql)))
    assert found["price"].to_pylist() == [3.0, 2.0]


@pytest.mark.parametrize(("name", "kind"), CATALOG_KINDS.items())
def test_every_catalog_command_answers_in_its_schema(house, name, kind):
    found = answer(house, pack_any(name, b""))
    assert found.schema.equals(SCHEMAS[kind])
    found.validate(full=True)
    assert (found.num_rows == 0) == kind.endswith("_keys")


@pytest.mark.parametrize("kind", [b"table", b"TABLE", b"BASE TABLE"])
def test_tables_are_found_by_whatever_a_driver_calls_their_type(house, kind):
    body = format_field(3, b"tr%") + format_field(4, kind)
    assert answer(house, pack_any("CommandGetTables", body))["table_name"].to_pylist() == ["trades"]


def test_another_catalog_has_nothing(house):
    body = format_field(1, b"elsewhere")
    assert answer(house, pack_any("CommandGetTables", body)).num_rows == 0
    assert answer(house, pack_any("CommandGetDbSchemas", body)).num_rows == 0


def test_facts_about_the_server_are_those_asked_for(house):
    asked = format_field(1, bytes([0, 3]))  # packed numbers: its name, and whether it is read-only
    found = answer(house, pack_any("CommandGetSqlInfo", asked))
    assert found.to_pylist() == [
        {"info_name": 0, "value": "tickflight"},
        {"info_name": 3, "value": True},
    ]


def test_a_prepared_statement_says_its_parameters_and_misses_their_values(house):
    request = pack_any(
        "ActionCreatePreparedStatementRequest",
        format_field(1, b"SELECT price FROM trades WHERE price > ?"),
    )
    (result,) = house.client().do_action(
        flight.Action("CreatePreparedStatement", request), house.options()
    )
    name, fields = open_any(result.body.to_pybytes())
    assert name == "ActionCreatePreparedStatementResult"
    parameters = pa.ipc.read_schema(pa.py_buffer(bytes_in(fields, 3)))
    assert parameters.names == ["1"]
    handle = bytes_in(fields, 1)
    _, told = refused(
        house.info, pack_any("CommandPreparedStatementQuery", format_field(1, handle))
    )
    assert "1 parameters" in told["message"]
    close = pack_any("ActionClosePreparedStatementRequest", format_field(1, handle))
    action = flight.Action("ClosePreparedStatement", close)
    assert list(house.client().do_action(action, house.options())) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CommandStatementUpdate", "forbidden"),
        ("CommandStatementIngest", "forbidden"),
        ("CommandStatementSubstraitPlan", "bad_ticket"),
    ],
)
def test_what_is_not_served_says_so(house, name, code):
    assert refused(house.info, pack_any(name, b""))[1]["code"] == code


def test_the_scope_is_asked_of_catalog_commands_and_of_actions(house):
    key = house.ring.create(KeyRequest("reading", ("read", "write")))
    assert refused(house.info, pack_any("CommandGetCatalogs", b""), key)[1]["code"] == "forbidden"
    for name in ("CreatePreparedStatement", "ClosePreparedStatement", "CloseSession"):
        body = pack_any("ActionCreatePreparedStatementRequest", format_field(1, b"SELECT 1"))
        _, told = refused(house.act, name, body, key)
        assert told["code"] == "forbidden"
