"""Whatever is asked: values stay values, refused names stay refused, pruning loses no row."""

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadSql, Forbidden
from core.schema import TRADES
from storage.query_prune import Probe
from storage.query_sandbox import Sandbox
from storage.query_tables import USER_TABLES
from storage.query_text import literal, redacted

SANDBOX = Sandbox(USER_TABLES)
PROBE = Probe({"trades": TRADES.plain_schema}, [])
DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01

SYMBOLS = ("MNQ", "NQ", "ES", "it's", "A AND B", "")
DAYS = tuple(f"2026-01-{day:02d}" for day in range(1, 8))

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40),
    st.binary(max_size=20),
)


def refusal_of(sql):
    """What the sandbox says against a statement; None where it passes."""
    try:
        SANDBOX.check(sql)
    except (BadSql, Forbidden) as error:
        return error.message
    return None


@given(values)
def test_a_value_stays_a_value(value):
    statement = SANDBOX.check("SELECT $1 AS a", [literal(value)])
    assert duckdb.execute(statement.sql).fetchall() == [(value,)]


# What must never run, in any place a grammar has for it.
EVIL = (
    "read_text('/etc/passwd')",
    "read_parquet('/lake/x.parquet')",
    "glob('*')",
    "duckdb_settings()",
    "pragma_database_size()",
    "information_schema.tables",
    "duckdb_tables",
    "pg_catalog.pg_class",
    "sqlite_master",
    "'x.parquet'",
    '"/lake/x.parquet"',
    "tape_ab.hot_trades_0",
    "memory.main.trades",
    "query('SELECT 1')",
)
PLACES = (
    "FROM {}",
    "SELECT 1 FROM trades, {}",
    "SELECT (SELECT count(*) FROM {}) FROM trades",
    "FROM trades WHERE EXISTS (FROM {})",
    "FROM trades WHERE price IN (SELECT 1 FROM {})",
    "WITH a AS (FROM {}) FROM trades",
    "WITH a AS MATERIALIZED (FROM {}) FROM a",
    "WITH RECURSIVE a AS (SELECT 1 AS i UNION ALL SELECT 1 FROM {}) FROM a",
    "FROM trades UNION ALL BY NAME FROM {}",
    "FROM trades LEFT JOIN {} x ON true",
    "FROM trades POSITIONAL JOIN {}",
    "FROM trades, LATERAL (FROM {})",
    "SELECT ARRAY(FROM {})",
    "SELECT sum(1) FILTER (EXISTS (FROM {})) FROM trades",
    "SELECT list_transform([1], lambda x: (SELECT count(*) FROM {}))",
    "FROM trades ORDER BY (SELECT count(*) FROM {})",
    "FROM trades LIMIT (SELECT count(*) FROM {})",
    "FROM trades QUALIFY (SELECT count(*) FROM {}) > 1",
    "SELECT CASE WHEN true THEN (SELECT count(*) FROM {}) END",
    "DESCRIBE (FROM {})",
    "SUMMARIZE FROM {}",
    "FROM (VALUES ((SELECT count(*) FROM {})))",
    "FROM range((SELECT count(*) FROM {}))",
    "FROM (FROM {}) PIVOT (count(*) FOR a IN (1))",
    "FROM (FROM {}) TABLESAMPLE 10%",
)
wrappers = st.lists(st.sampled_from(PLACES[:-2]), min_size=1, max_size=3)


@given(st.sampled_from(EVIL), st.sampled_from(PLACES), wrappers)
def test_a_refused_source_is_refused_in_every_place(evil, place, outer):
    sql = place.format(evil)
    for wrapper in outer:
        refusal = refusal_of(sql)
        assert refusal is not None, f"passed: {sql}"
        assert "/lake" not in refusal
        assert "/etc" not in refusal
        sql = wrapper.format(f"({sql})")


@given(st.text(max_size=200))
def test_any_text_is_judged_without_a_crash(text):
    assert refusal_of(text) != ""


@given(st.lists(st.sampled_from(("data", "lake", "symbol=MNQ", "a.parquet")), min_size=2))
def test_no_path_survives_redaction(parts):
    path = "/" + "/".join(parts)
    for text in (f'cannot open "{path}"', f"IO Error: {path}: gone", f"({path})"):
        assert path not in redacted(text)


comparisons = st.sampled_from(("=", "<>", "<", "<=", ">", ">="))
atoms = st.one_of(
    st.builds("symbol {} {}".format, comparisons, st.sampled_from(SYMBOLS).map(literal)),
    st.lists(st.sampled_from(SYMBOLS).map(literal), min_size=1, max_size=3).map(
        lambda names: f"symbol IN ({', '.join(names)})"
    ),
    st.builds("ts_event {} '{}'".format, comparisons, st.sampled_from(DAYS)),
    st.builds("ts_event BETWEEN '{}' AND '{}'".format, *[st.sampled_from(DAYS)] * 2),
    st.builds("ts_event::DATE = '{}'".format, st.sampled_from(DAYS)),
    st.builds("date_trunc('day', ts_event) {} '{}'".format, comparisons, st.sampled_from(DAYS)),
    st.sampled_from(("size > 3", "symbol LIKE 'M%'", "symbol IS NULL", "true", "seq % 2 = 0")),
    st.builds("ts_event > (SELECT min(ts_event) FROM trades WHERE {})".format, st.just("size > 5")),
)
predicates = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=5,
)
SHAPES = (
    "SELECT symbol, ts_event FROM trades WHERE {0}",
    "WITH x AS (FROM trades) SELECT symbol, ts_event FROM x WHERE {0}",
    "SELECT symbol, ts_event FROM (FROM trades WHERE {0}) WHERE {1}",
    "SELECT symbol, ts_event FROM trades WHERE {0} UNION ALL "
    "SELECT symbol, ts_event FROM trades WHERE {1}",
    "SELECT a.symbol, a.ts_event FROM trades a SEMI JOIN (FROM trades WHERE {1}) b "
    "USING (symbol, ts_event) WHERE {0}",
    "SELECT symbol, ts_event FROM trades WHERE {0} ORDER BY ts_event DESC LIMIT 5",
)


def _rows():
    names = [name for name in SYMBOLS for _ in range(14)]
    times = [START_US + half * DAY_US // 2 for _ in SYMBOLS for half in range(14)]
    count = len(names)
    return pa.table(
        {
            "symbol": names,
            "ts_event": pa.array(times, pa.timestamp("us")),
            "size": [n % 9 for n in range(count)],
            "seq": list(range(count)),
        }
    )


def _rows_in_duckdb():
    connection = duckdb.connect()
    connection.register("rows", _rows())
    connection.execute("CREATE TABLE trades AS FROM rows")
    return connection


DATA = _rows_in_duckdb()


@settings(max_examples=300)
@given(st.sampled_from(SHAPES), predicates, predicates)
def test_pruning_never_loses_a_row(shape, one, two):
    """The answer from the rows within the bounds is the answer from all rows."""
    sql = shape.format(one, two)
    with PROBE.cursor() as cursor:
        bounds = PROBE.bounds(cursor, sql).get("trades")
    if bounds is None:
        return
    rules = ["true"]
    if bounds.symbols is not None:
        rules.append(f"symbol IN ({', '.join(map(literal, sorted(bounds.symbols))) or 'NULL'})")
    if bounds.start_us is not None:
        rules.append(f"ts_event >= make_timestamp({bounds.start_us})")
    if bounds.end_us is not None:
        rules.append(f"ts_event < make_timestamp({bounds.end_us})")
    with DATA.cursor() as cursor:
        whole = cursor.execute(sql).fetchall()
        cursor.execute(f"CREATE TEMP TABLE trades AS FROM main.trades WHERE {' AND '.join(rules)}")
        pruned = cursor.execute(sql).fetchall()
    assert len(whole) == len(pruned)
    if "LIMIT" not in sql:
        assert sorted(whole) == sorted(pruned)
