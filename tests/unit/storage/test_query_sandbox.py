"""What the sandbox lets through, and what it refuses and why."""

import duckdb
import pytest

from core.errors import BadSql, Forbidden
from storage.query_sandbox import (
    ALLOWED_PG,
    REFUSED_FUNCTIONS,
    REFUSED_PATTERN,
    VOLATILE_ALLOWED,
    Sandbox,
)
from storage.query_tables import USER_TABLES

SANDBOX = Sandbox(USER_TABLES)

SERVED = [
    "SELECT price, sum(size) OVER (ORDER BY seq) FROM trades WHERE symbol = 'MNQ' LIMIT 3",
    "FROM trades",
    "TABLE trades",
    "VALUES (1), (2)",
    "DESCRIBE trades",
    "SUMMARIZE SELECT price FROM trades",
    "WITH x AS (SELECT 1 AS a) SELECT * FROM x, range(3) t(i), trades",
    "WITH RECURSIVE r AS (SELECT 1 i UNION ALL SELECT i + 1 FROM r WHERE i < 3) FROM r",
    "SELECT * FROM trades PIVOT (sum(size) FOR symbol IN ('MNQ', 'NQ'))",
    "SELECT * FROM (UNPIVOT trades ON price, bid INTO NAME what VALUE number)",
    "SELECT t.price, g.zero_gamma FROM ticks t ASOF JOIN gex g ON t.timestamp >= g.ts_event",
    "SELECT * FROM bars('MNQ', INTERVAL 5 MINUTE, '2026-01-01', now()::TIMESTAMP)",
    "SELECT list_transform([1, 2], lambda x: x + 1), [x * 2 for x in [1]], {'a': 1}, #1",
    "SELECT DISTINCT ON (symbol) symbol, price FROM trades QUALIFY row_number() OVER () = 1",
    "SELECT symbol FROM trades UNION ALL SELECT symbol FROM quotes ORDER BY 1",
    "SELECT * EXCLUDE (price) REPLACE (1 AS size), COLUMNS('p.*') FROM trades TABLESAMPLE 10%",
    "SELECT quantile_cont(price, 0.5), arg_max(price, seq), pg_typeof(1) FROM trades GROUP BY ALL",
    "SELECT current_date, now(), random(), uuid()",
    "SELECT (SELECT max(price) FROM trades), EXISTS (FROM quotes), ARRAY(SELECT 1)",
]

REFUSED = [
    ("", BadSql, "no statement"),
    ("SELECT 1; SELECT 2", BadSql, "2 statements"),
    ("SELECT 1; DROP VIEW trades", BadSql, "2 statements"),
    ("COPY trades TO 'x.parquet'", BadSql, "found COPY"),
    ("COPY (SELECT 1) TO '/tmp/x'", BadSql, "found COPY"),
    ("EXPORT DATABASE 'x'", BadSql, "found EXPORT"),
    ("ATTACH 'x.db'", BadSql, "found ATTACH"),
    ("DETACH memory", BadSql, "found DETACH"),
    ("PRAGMA version", BadSql, "found PRAGMA"),
    ("CALL pragma_version()", BadSql, "found CALL"),
    ("SET memory_limit = '1TB'", BadSql, "found SET"),
    ("SET VARIABLE a = 1", BadSql, "found SET"),
    ("RESET memory_limit", BadSql, "only SELECT"),
    ("USE memory", BadSql, "found SET"),
    ("INSTALL httpfs", BadSql, "found LOAD"),
    ("LOAD httpfs", BadSql, "found LOAD"),
    ("BEGIN", BadSql, "found TRANSACTION"),
    ("ROLLBACK", BadSql, "found TRANSACTION"),
    ("CREATE TEMP TABLE x AS SELECT 1", BadSql, "found CREATE"),
    ("CREATE SECRET s (TYPE s3)", BadSql, "only SELECT"),
    ("INSERT INTO trades VALUES (1)", BadSql, "found INSERT"),
    ("DELETE FROM trades", BadSql, "found DELETE"),
    ("PREPARE p AS SELECT 1", BadSql, "found PREPARE"),
    ("EXECUTE p", BadSql, "found EXECUTE"),
    ("EXPLAIN SELECT 1", BadSql, "found EXPLAIN"),
    ("CHECKPOINT", BadSql, "only SELECT"),
    ("VACUUM", BadSql, "found VACUUM"),
    ("PIVOT trades ON symbol USING sum(size)", BadSql, "PIVOT"),
    ("WITH a AS (INSERT INTO trades VALUES (1) RETURNING *) FROM a", Forbidden, "INSERT"),
    ("WITH a AS (DELETE FROM trades RETURNING *) FROM a", Forbidden, "DELETE"),
    ("WITH a AS (UPDATE trades SET price = 1 RETURNING *) FROM a", Forbidden, "UPDATE"),
    ("SHOW TABLES", BadSql, "SHOW"),
    ("SHOW ALL TABLES", BadSql, "SHOW"),
    ("SELECT * FROM (SHOW TABLES)", BadSql, "SHOW"),
    ("SELECT * FROM 'trades.parquet'", BadSql, "no table"),
    ("DESCRIBE 'x.parquet'", BadSql, "no table"),
    ("SELECT price IN (FROM 'x.csv') FROM trades", BadSql, "no table"),
    ("FROM duckdb_settings", BadSql, "no table"),
    ("FROM sqlite_master", BadSql, "no table"),
    ("FROM information_schema.tables", Forbidden, "schema"),
    ("FROM pg_catalog.pg_class", Forbidden, "schema"),
    ("FROM memory.main.trades", Forbidden, "schema"),
    ("FROM tickflight.other.trades", Forbidden, "schema"),
    ("FROM tape_00ff.hot_trades_0", Forbidden, "schema"),
    ("FROM main.duckdb_settings", BadSql, "no table"),
    ("FROM trades AT (VERSION => 1)", BadSql, "AT"),
    ("FROM read_parquet('x')", Forbidden, "read_parquet"),
    ("FROM read_csv('/etc/passwd')", Forbidden, "read_csv"),
    ("FROM read_text('/proc/self/environ')", Forbidden, "read_text"),
    ("FROM glob('*')", Forbidden, "glob"),
    ("FROM duckdb_settings()", Forbidden, "duckdb_settings"),
    ("FROM duckdb_secrets()", Forbidden, "duckdb_secrets"),
    ("FROM pragma_database_size()", Forbidden, "pragma_database_size"),
    ("FROM query('SELECT 1')", Forbidden, "query"),
    ("FROM query_table('trades')", Forbidden, "query_table"),
    ("FROM checkpoint()", Forbidden, "checkpoint"),
    ("FROM truncate_duckdb_logs()", Forbidden, "truncate_duckdb_logs"),
    ("SELECT (SELECT count(*) FROM read_blob('/etc/passwd'))", Forbidden, "read_blob"),
    ("SELECT main.read_text('x')", Forbidden, "schema"),
    ("SELECT getenv('HOME')", Forbidden, "getenv"),
    ("SELECT current_setting('memory_limit')", Forbidden, "current_setting"),
    ("SELECT getvariable('tape_files_1')", Forbidden, "getvariable"),
    ("SELECT pg_sleep(60)", Forbidden, "pg_sleep"),
    ("SELECT sleep_ms(60000)", Forbidden, "sleep_ms"),
    ("SELECT nextval('s')", Forbidden, "nextval"),
    ("SELECT write_log('x')", Forbidden, "write_log"),
    ("SELECT repeat('x', 1000000000)", Forbidden, "repeat"),
    ("SELECT pg_get_viewdef(1)", Forbidden, "pg_get_viewdef"),
    ("SELECT json_serialize_sql('SELECT 1')", Forbidden, "json_serialize_sql"),
    ('WITH "x.parquet" AS (SELECT 1) FROM "x.parquet"', BadSql, "WITH name"),
    ("WITH duckdb_tables AS (SELECT 1) SELECT 1", BadSql, "WITH name"),
    ("WITH tape_rows_1 AS (SELECT 1) SELECT 1", BadSql, "WITH name"),
    ("SELECT DEFAULT", BadSql, "DEFAULT"),
    ("SELECT '\0'", BadSql, "zero byte"),
    ("SELECT " + "(" * 300 + "1" + ")" * 300 + " + x FROM notable", BadSql, "no table"),
    ("SELECT '" + "x" * 300_000 + "'", BadSql, "longer than"),
    ("SELEC 1", BadSql, "syntax error"),
]


@pytest.mark.parametrize("sql", SERVED)
def test_a_plain_question_over_our_tables_passes(sql):
    assert SANDBOX.check(sql).tables <= set(USER_TABLES)


@pytest.mark.parametrize(("sql", "error", "word"), REFUSED)
def test_everything_else_is_refused_with_a_reason(sql, error, word):
    with pytest.raises(error, match=word) as caught:
        SANDBOX.check(sql)
    assert caught.value.message


def test_tables_read_are_named_in_the_verdict():
    statement = SANDBOX.check("SELECT * FROM Trades JOIN (FROM gex) USING (symbol)")
    assert statement.tables == {"trades", "gex"}
    assert not statement.bars_macro


def test_the_bars_macro_is_noticed_where_it_is_used():
    assert SANDBOX.check("FROM bars('NQ', INTERVAL 1 DAY, '2026-01-01', '2026-02-01')").bars_macro


def test_main_is_dropped_because_tools_write_it():
    statement = SANDBOX.check(
        'SELECT "main"."trades".price, \'é\' FROM "main" . "trades", main.gex'
    )
    assert 'FROM "trades", gex' in statement.sql
    named = SANDBOX.check('SELECT price FROM "tickflight"."main"."trades", tickflight.main.gex')
    assert 'FROM "trades", gex' in named.sql


def test_values_take_the_place_of_parameters():
    statement = SANDBOX.check("SELECT '€?', ? FROM trades WHERE price > ?", ["'it''s'", "2"])
    sql = statement.sql.replace("FROM trades WHERE price", "WHERE 3")
    assert duckdb.execute(sql).fetchall() == [("€?", "it's")]
    again = SANDBOX.check("SELECT $2 + $1 + $1", ["(-1)", "10"])
    assert duckdb.execute(again.sql).fetchall() == [(8,)]


def test_values_and_parameters_must_agree():
    with pytest.raises(BadSql, match="2 parameters, 1 values"):
        SANDBOX.check("SELECT $1, $2", ["1"])
    with pytest.raises(BadSql, match="0 parameters, 1 values"):
        SANDBOX.check("SELECT 1", ["1"])
    with pytest.raises(BadSql, match="1 parameters, 1 values"):
        SANDBOX.check("SELECT $name", ["1"])


def test_every_volatile_function_of_this_duckdb_was_judged():
    """A new version may bring functions with effects; each must be allowed or refused here."""
    rows = duckdb.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type <> 'table' "
        "AND (has_side_effects OR stability NOT IN ('CONSISTENT', 'CONSISTENT_WITHIN_QUERY'))"
    ).fetchall()
    for (name,) in rows:
        is_refused = name in REFUSED_FUNCTIONS or (
            name not in ALLOWED_PG and REFUSED_PATTERN.match(name)
        )
        assert bool(is_refused) != (name in VOLATILE_ALLOWED), f"judge {name}"


def test_no_function_that_touches_files_is_allowed():
    rows = duckdb.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'"
    ).fetchall()
    served = {"range", "generate_series", "unnest"}
    for (name,) in rows:
        if name in served:
            continue
        with pytest.raises(Forbidden):
            SANDBOX.check(f'FROM "{name}"()')
