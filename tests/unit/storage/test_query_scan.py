"""A bare range gives exactly what SQL gives, and anything else is not taken for one."""

import numpy as np
import pytest

from core.clock import SystemClock
from core.errors import TooMuch
from storage.query_engine import Engine, EngineOptions
from storage.query_scan import ScanLimits, parse_scan, scanned
from storage.query_tables import Scope
from storage.query_text import literal
from storage.view import Views
from tests.fakes.query_tape import HOUR_US, START_US, QueryTape
from tests.unit.storage.test_query_views import ask

LIMITS = ScanLimits(rows=10**6, bytes=10**9)

TAKEN = [
    "SELECT * FROM trades WHERE symbol = 'MNQ'",
    "FROM trades WHERE symbol='MNQ'",
    "select price, seq, Symbol from Trades where symbol='MNQ' and ts_event>='2025-11-20 14:30:00'",
    "SELECT * FROM ticks WHERE symbol = 'MNQ' AND timestamp BETWEEN '2025-11-20 14:10:00' "
    "AND TIMESTAMP '2025-11-20T15:20:00.5' ORDER BY timestamp ASC, ts_ns, seq",
    "FROM trades WHERE ts_event > '2025-11-20' AND symbol = 'MNQ' AND ts_event < '2025-11-21'",
    "FROM ticks WHERE symbol = 'MNQ' AND timestamp < '2025-11-20 14:00:00'",
    "FROM ticks WHERE symbol = 'NOBODY'",
    "SELECT kind, grade, conditions, valid, bid FROM trades WHERE symbol = 'MNQ'",
    "FROM quotes WHERE symbol = 'MNQ' ORDER BY ts_event",
]
NOT_TAKEN = [
    "FROM trades",
    "FROM trades WHERE symbol = 'MNQ' OR symbol = 'NQ'",
    "FROM trades WHERE symbol = 'MNQ' AND symbol = 'NQ'",
    "FROM trades WHERE symbol <> 'MNQ'",
    "FROM trades WHERE NOT symbol = 'MNQ'",
    "FROM trades t WHERE symbol = 'MNQ'",
    "FROM main.trades WHERE symbol = 'MNQ'",
    "FROM trades, quotes WHERE symbol = 'MNQ'",
    "SELECT price AS p FROM trades WHERE symbol = 'MNQ'",
    "SELECT price + 1 FROM trades WHERE symbol = 'MNQ'",
    "SELECT DISTINCT price FROM trades WHERE symbol = 'MNQ'",
    "SELECT count(*) FROM trades WHERE symbol = 'MNQ'",
    "SELECT price, price FROM trades WHERE symbol = 'MNQ'",
    "SELECT nothing FROM trades WHERE symbol = 'MNQ'",
    "SELECT \"price\" FROM trades WHERE symbol = 'MNQ'",
    "SELECT size FROM ticks WHERE symbol = 'MNQ'",
    "FROM ticks WHERE symbol = 'MNQ' AND ts_event > '2026-01-01'",
    "FROM trades WHERE symbol = 'MNQ' AND price > 1",
    "FROM trades WHERE symbol = 'MNQ' AND ts_event > 1",
    "FROM trades WHERE symbol = 'MNQ' AND ts_event > '2026-01-01Z'",
    "FROM trades WHERE symbol = 'MNQ' AND ts_event > '2026-13-01'",
    "FROM trades WHERE symbol = 'MNQ' AND ts_event > '2026-01-01 10:00:00+05'",
    "FROM trades WHERE symbol = 'MNQ' AND ts_event::DATE = '2026-01-01'",
    "FROM trades WHERE symbol = 'MNQ' ORDER BY ts_event DESC",
    "FROM trades WHERE symbol = 'MNQ' ORDER BY ts_event, seq",
    "FROM trades WHERE symbol = 'MNQ' ORDER BY price",
    "FROM trades WHERE symbol = 'MNQ' LIMIT 5 OFFSET 5",
    "FROM trades WHERE symbol = 'MNQ' LIMIT 5%",
    "FROM trades WHERE symbol = 'MNQ' LIMIT -1",
    "FROM trades WHERE symbol = 'MNQ'; DROP TABLE trades",
    "FROM trades WHERE symbol = 'MNQ' -- AND ts_event > '2026-01-01'",
    "FROM trades WHERE symbol = 'it''s'",
    "FROM trades WHERE symbol = MNQ",
    "FROM bars_1s WHERE symbol = 'MNQ'",
    "WITH trades AS (SELECT 1) FROM trades WHERE symbol = 'MNQ'",
    "SELECT FROM trades WHERE symbol = 'MNQ'",
    "SELECT",
    "",
]


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    made = QueryTape(tmp_path_factory.mktemp("scan"))
    made.add("MNQ", 2_000)
    made.seal("MNQ")
    made.add("MNQ", 100)
    made.add("MNQ", 500, hour=1, valid=np.arange(500) % 10 != 0)
    made.add("NQ", 300)
    yield made
    made.close()


@pytest.fixture(scope="module")
def engine(tape):
    return Engine(tape.paths, tape.lake_url, EngineOptions(1 << 30, 1), SystemClock())


@pytest.fixture(scope="module")
def view(tape):
    return Views(tape.paths, tape.lake_url).view()


def in_order(rows):
    keys = [(name, "ascending") for name in rows.schema.names]
    return rows.sort_by(keys).combine_chunks()


@pytest.mark.parametrize("known_at_us", [None, START_US + HOUR_US // 2])
@pytest.mark.parametrize("sql", TAKEN)
def test_a_bare_range_gives_what_sql_gives(engine, view, sql, known_at_us):
    scan = parse_scan(sql)
    assert scan is not None
    found = scanned(view, scan, known_at_us, LIMITS).read_all()
    expected = ask(engine, sql, Scope(known_at_us=known_at_us))
    assert found.schema.names == expected.schema.names
    assert found.schema.types == expected.schema.types
    assert in_order(found).to_pylist() == in_order(expected).to_pylist()
    if "ORDER BY" in sql and "timestamp" in sql:
        assert found["timestamp"].to_pylist() == expected["timestamp"].to_pylist()


@pytest.mark.parametrize("sql", NOT_TAKEN)
def test_anything_more_is_left_to_the_worker(sql):
    assert parse_scan(sql) is None


def test_limit_gives_the_first_rows_in_time(view):
    scan = parse_scan("FROM trades WHERE symbol = 'MNQ' ORDER BY ts_event LIMIT 7")
    found = scanned(view, scan, None, LIMITS).read_all()
    whole = scanned(view, parse_scan("FROM trades WHERE symbol = 'MNQ'"), None, LIMITS).read_all()
    assert found.equals(whole.slice(0, 7))
    none = parse_scan("FROM trades WHERE symbol = 'MNQ' LIMIT 0")
    assert scanned(view, none, None, LIMITS).read_all().num_rows == 0


def test_parameters_are_read_in_their_places():
    sql = "FROM ticks WHERE symbol = ? AND timestamp >= ?"
    scan = parse_scan(sql, [literal("MNQ"), literal("2025-11-20")])
    assert scan == parse_scan("FROM ticks WHERE symbol = 'MNQ' AND timestamp >= '2025-11-20'")
    assert parse_scan("FROM ticks WHERE symbol = $2", [literal("A"), literal("B")]) is None
    assert parse_scan("FROM ticks WHERE symbol = 'A'", [literal("B")]) is None
    evil = literal("A' OR symbol = 'B")
    assert parse_scan("FROM ticks WHERE symbol = $1", [evil]) is None


def test_too_many_rows_are_refused(view):
    scan = parse_scan("FROM trades WHERE symbol = 'MNQ'")
    with pytest.raises(TooMuch):
        scanned(view, scan, None, ScanLimits(100, 10**9)).read_all()
    with pytest.raises(TooMuch):
        scanned(view, scan, None, ScanLimits(10**9, 1_000)).read_all()


def test_ticks_of_a_range_leave_out_what_a_later_row_revises(tmp_path):
    made = QueryTape(tmp_path)
    made.add("MNQ", 100)
    engine = Engine(made.paths, made.lake_url, EngineOptions(1 << 30, 1), SystemClock())
    view = Views(made.paths, made.lake_url).view()
    sql = "FROM ticks WHERE symbol = 'MNQ'"
    revised = {"source_seq": np.array([10]), "kind": np.array(["cancel"], object)}
    made.add("MNQ", 1, **revised)
    for _ in range(2):
        found = scanned(view, parse_scan(sql), None, LIMITS).read_all()
        assert found.num_rows == 99
        assert 10 not in found["source_seq"].to_pylist()
        assert in_order(found).to_pylist() == in_order(ask(engine, sql)).to_pylist()
        made.seal("MNQ")
    made.close()
