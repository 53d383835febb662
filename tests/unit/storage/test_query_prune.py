"""Bounds learned from a plan: never tighter than the statement, and tight where it matters."""

from datetime import UTC, datetime

import duckdb
import pytest

from core.schema import TABLES
from storage.query_prune import SLACK_US, Bounds, Probe
from storage.query_views import TICKS_VIEW


@pytest.fixture(scope="module")
def probe():
    return Probe({name: table.plain_schema for name, table in TABLES.items()}, [TICKS_VIEW])


def us(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def bounds(probe, sql):
    with probe.cursor() as cursor:
        return probe.bounds(cursor, sql)


JAN = Bounds(frozenset({"MNQ"}), us("2026-01-01") - SLACK_US, us("2026-01-02") + 1 + SLACK_US)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM trades WHERE symbol = 'MNQ' AND ts_event >= '2026-01-01' AND ts_event < '2026-01-02'",
        "FROM ticks WHERE symbol IN ('MNQ') AND timestamp::DATE = '2026-01-01'",
        "WITH x AS (FROM ticks) SELECT max(price) FROM x WHERE symbol = 'MNQ' "
        "AND timestamp >= '2026-01-01' AND timestamp < '2026-01-02'",
        "SELECT a.price FROM trades a JOIN (FROM trades) b USING (symbol, ts_event) "
        "WHERE symbol = 'MNQ' AND a.ts_event >= '2026-01-01' AND b.ts_event < '2026-01-02'",
    ],
)
def test_symbol_and_time_are_learned_through_views_ctes_and_joins(probe, sql):
    assert bounds(probe, sql)["trades"] == JAN


@pytest.mark.parametrize(
    "where",
    [
        "true",
        "symbol <> 'MNQ'",
        "NOT (symbol = 'MNQ' AND ts_event > '2026-01-01')",
        "symbol = 'MNQ' OR price > 1",
        "symbol LIKE 'M%' OR symbol = 'ES'",
        "ts_event > '2026-01-01' AND ts_event < '2026-01-02' OR ts_event > '2027-01-01'",
        "symbol = 'it''s OR symbol = ''MNQ'",
        "price > (SELECT max(price) FROM trades)",
        "CASE WHEN symbol = 'MNQ' THEN true ELSE size > 1 END",
    ],
)
def test_what_cannot_be_read_bounds_nothing(probe, where):
    assert bounds(probe, f"FROM trades WHERE {where}")["trades"] == Bounds()


def test_two_reads_of_a_table_are_bounded_together(probe):
    found = bounds(probe, "FROM trades WHERE symbol = 'A' UNION ALL FROM trades WHERE symbol = 'B'")
    assert found["trades"].symbols == {"A", "B"}
    whole = bounds(
        probe, "FROM trades WHERE symbol = 'A' AND price > (SELECT max(price) FROM trades)"
    )
    assert whole["trades"] == Bounds()


def test_an_aggregate_is_not_answered_from_the_empty_table(probe):
    assert bounds(probe, "SELECT count(*), max(ts_event) FROM trades")["trades"] == Bounds()


def test_now_is_bounded_with_slack(probe):
    found = bounds(probe, "FROM trades WHERE ts_event > now() - INTERVAL 1 DAY")["trades"]
    assert found.start_us is not None
    assert found.end_us is None


def test_a_wrong_statement_is_an_error_of_the_planner(probe):
    with pytest.raises(duckdb.Error):
        bounds(probe, "SELECT nothing FROM trades")
