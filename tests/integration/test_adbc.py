"""The real ADBC driver against the real program: frames, parameters, catalog, refusals."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from adbc_driver_flightsql import DatabaseOptions, dbapi
from pyarrow import flight

from storage.intake import IntakeClient
from storage.paths import Paths
from tests.conftest import running_server, tickflight
from tests.fakes.ticks import trades

HEADER = DatabaseOptions.AUTHORIZATION_HEADER.value
SYMBOLS = ("MNQ", "NQ")
ROWS = 50


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("adbc")) as running:
        intake = IntakeClient(Paths(running.data_dir))
        for symbol in SYMBOLS:
            intake.append(trades(symbol, ROWS))
        intake.close()
        yield running


def key(server, name, *options):
    folder = server.data_dir.parent
    return tickflight(folder, "key", "create", name, "--scope", "sql", *options).split()[-1]


def connect(server, text):
    bearer = {HEADER: f"Bearer {text}"}
    return dbapi.connect(server.flight_url, db_kwargs=bearer, autocommit=True)


@pytest.fixture(scope="module")
def connection(server):
    with connect(server, key(server, "adbc")) as connection:
        yield connection


def ask(connection, sql, values=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetch_arrow_table().to_pylist()


def test_statements_answer_from_memory_and_through_duckdb(connection):
    assert ask(connection, "SELECT 1 AS one") == [{"one": 1}]
    assert len(ask(connection, "SELECT * FROM trades WHERE symbol = 'MNQ'")) == ROWS
    counts = "SELECT symbol, count(*) AS n FROM tickflight.main.trades GROUP BY 1 ORDER BY 1"
    assert ask(connection, counts) == [{"symbol": symbol, "n": ROWS} for symbol in SYMBOLS]


def test_frames_of_polars_and_pandas(connection):
    sql = "SELECT price, size FROM trades ORDER BY seq LIMIT 3"
    assert pl.read_database(sql, connection).shape == (3, 2)
    assert pd.read_sql(sql, connection).shape == (3, 2)
    with connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.fetch_polars().columns == ["price", "size"]


@pytest.mark.parametrize(
    ("condition", "value", "is_true"),
    [
        ("symbol = ?", "NQ", True),
        ("symbol = ?", "N'Q", False),
        ("price > ?", 0.5, True),
        ("seq >= ?", 10**12, False),
        ("valid = ?", True, True),
        ("size >= ?", Decimal("0.5"), True),
        ("ts_event > ?", datetime(2020, 1, 1, tzinfo=UTC), True),
        ("ts_event < ?", datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=1), False),
        ("ts_event > ?", date(2020, 1, 1), True),
        ("symbol IS DISTINCT FROM ?", None, True),
    ],
)
def test_parameters_of_every_kind(connection, condition, value, is_true):
    sql = f"SELECT count(*) > 0 AS found FROM trades WHERE {condition}"
    assert ask(connection, sql, [value]) == [{"found": is_true}]


def test_several_parameters_and_one_in_limit(connection):
    sql = "SELECT symbol FROM trades WHERE symbol = ? AND price > ? LIMIT ?"
    assert ask(connection, sql, ["NQ", 0.0, 2]) == [{"symbol": "NQ"}] * 2


def test_the_catalog_has_every_table_with_its_columns(connection):
    (catalog,) = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    assert catalog["catalog_name"] == "tickflight"
    (schema,) = catalog["catalog_db_schemas"]
    tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
    assert {"trades", "quotes", "gex", "ticks", "partitions"} <= set(tables)
    assert tables["ticks"]["table_type"] == "VIEW"
    columns = [column["column_name"] for column in tables["ticks"]["table_columns"]]
    assert columns[:4] == ["symbol", "timestamp", "price", "volume"]
    some = connection.adbc_get_objects(depth="tables", table_name_filter="bars%").read_all()
    names = some.to_pylist()[0]["catalog_db_schemas"][0]["db_schema_tables"]
    assert [table["table_name"] for table in names] == ["bars_1m", "bars_1s"]
    assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]
    assert connection.adbc_get_info()["vendor_name"] == "tickflight"


@pytest.mark.parametrize("table", ["quotes", "ticks", "partitions", "services"])
def test_a_tables_schema_is_that_of_its_rows(connection, table):
    schema = connection.adbc_get_table_schema(table)
    with connection.cursor() as cursor:
        shown = cursor.adbc_execute_schema(f"SELECT * FROM {table}")
    assert [(field.name, field.type) for field in schema] == [(f.name, f.type) for f in shown]


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("INSERT INTO trades VALUES (1)", "read-only"),
        ("DROP TABLE trades", "read-only"),
        ("COPY trades TO 'x'", "read-only"),
        ("SELECT * FROM read_csv('x')", "not allowed"),
        ("SELECT nothing FROM nowhere", "no table"),
        (" ", "empty"),
    ],
)
def test_what_is_no_question_is_refused(connection, sql, word):
    with pytest.raises(dbapi.Error, match=word):
        ask(connection, sql)


def test_rows_are_not_ingested_this_way(connection):
    with connection.cursor() as cursor, pytest.raises(dbapi.Error, match="read-only"):
        cursor.adbc_ingest("mine", pa.table({"a": [1]}), mode="create")


def test_more_than_one_row_of_values_is_refused(connection):
    with connection.cursor() as cursor, pytest.raises(dbapi.Error):
        cursor.executemany("SELECT ?", [[1], [2]])


def test_a_wrong_key_and_a_key_without_the_scope(server):
    wrong = connect(server, "tf_aaaaaaaa_" + "A" * 43)
    with wrong, pytest.raises(dbapi.Error, match="key is wrong"):
        ask(wrong, "SELECT 1")
    folder = server.data_dir.parent
    reading = tickflight(folder, "key", "create", "reading", "--scope", "read").split()[-1]
    with (
        connect(server, reading) as reader,
        pytest.raises(dbapi.Error, match="lacks the scope sql"),
    ):
        ask(reader, "SELECT 1")


def test_user_and_password_with_the_key_as_password(server):
    login = {"username": "anybody", "password": key(server, "login")}
    with dbapi.connect(server.flight_url, db_kwargs=login, autocommit=True) as connection:
        assert ask(connection, "SELECT 2 AS two") == [{"two": 2}]


def test_a_key_for_one_symbol_sees_no_other(server):
    with connect(server, key(server, "narrow", "--symbol", "NQ")) as narrow:
        for sql in ("SELECT DISTINCT symbol FROM trades", "SELECT DISTINCT symbol FROM ticks"):
            assert ask(narrow, sql) == [{"symbol": "NQ"}]
        assert ask(narrow, "SELECT seq FROM trades WHERE symbol = ?", ["MNQ"]) == []


def test_statements_are_written_down_as_they_read(server, connection):
    ask(connection, "SELECT 41 + ?", [1])
    text = key(server, "auditor", "--scope", "read")
    options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {text}".encode())])
    client = flight.connect(server.flight_url)
    sql = "SELECT DISTINCT method, ticket FROM queries WHERE ticket LIKE '%41 + ?%'"
    found = []
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while len(found) < 4 and datetime.now(UTC) < deadline:
        rows = client.do_get(flight.Ticket(sql), options).read_all().to_pylist()
        found = [row for row in rows if row["ticket"] != sql]
    tickets = {row["method"]: row["ticket"] for row in found}
    assert tickets["do_get"] == tickets["do_put"] == '{"sql": "SELECT 41 + ?", "params": [1]}'
    assert "CreatePreparedStatement SELECT 41 + ?" in {row["ticket"] for row in found}


@pytest.mark.parametrize("table", ["quotes", "trades"])
@pytest.mark.parametrize(
    "sql", ["SELECT * FROM {} WHERE symbol = 'MNQ'", "SELECT count(*) FROM {}"]
)
def test_sql_says_up_to_where_the_table_it_reads_was_seen(server, sql, table):
    bearer = [(b"authorization", b"Bearer " + key(server, f"{table}{len(sql)}").encode())]
    with flight.connect(server.flight_url) as client:
        ticket = flight.Ticket(sql.format(table))
        told = client.do_get(ticket, flight.FlightCallOptions(headers=bearer)).schema.metadata
    seen = len(SYMBOLS) * ROWS if table == "trades" else 0
    assert int(told[b"visible_seq"]) == seen
