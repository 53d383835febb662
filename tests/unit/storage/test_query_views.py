"""Hot and cold as one table, exact at every moment; bars as the rollup makes them."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from core.board import Board
from core.clock import SystemClock
from core.schema import TABLES
from storage import query_hot
from storage.query_engine import Engine, EngineOptions
from storage.query_tables import Scope
from storage.rollup import WIDTHS_US, bars_of
from storage.standing import standing
from storage.view import Views
from tests.fakes.query_tape import HOUR_US, START_US, QueryTape


@pytest.fixture
def tape(tmp_path):
    made = QueryTape(tmp_path)
    yield made
    made.close()


@pytest.fixture
def engine(tape):
    return Engine(tape.paths, tape.lake_url, EngineOptions(1 << 30, 1), SystemClock())


def ask(engine, sql, scope=None):
    session = engine.session()
    try:
        statement = engine.check(sql, [])
        schema, batches = engine.open(session, statement, scope or Scope()).batches()
        return pa.Table.from_batches(list(batches), schema)
    finally:
        session.close()


def check_everything(engine, tape):
    rows = tape.truth()
    found = ask(engine, "SELECT * FROM trades ORDER BY seq")
    expected = rows.sort_by("seq").cast(TABLES["trades"].plain_schema)
    assert found.cast(expected.schema).equals(expected)
    stands = pc.filter(rows["seq"], pa.array(standing(rows))).to_pylist()
    assert sorted(ask(engine, "SELECT seq FROM ticks")["seq"].to_pylist()) == sorted(stands)
    assert sorted(scanned(tape)) == sorted(stands), "tickets and SQL keep to one rule"
    for name, width in WIDTHS_US.items():
        check_bars(ask(engine, f"FROM {name} ORDER BY symbol, ts_event"), bars_of(rows, width))


def scanned(tape, **known_at):
    """What the tickets of ranges show: the seqs of standing trades of every symbol."""
    view = Views(tape.paths, tape.lake_url).view()
    return [
        seq
        for symbol in tape.hot.symbols("trades")
        for seq in view.scan("trades", symbol, standing_only=True, **known_at)
        .read_all()["seq"]
        .to_pylist()
    ]


def check_bars(found, expected):
    expected = expected.cast(TABLES["bars_1s"].plain_schema)
    assert found.schema.names == expected.schema.names
    assert found.num_rows == expected.num_rows
    for name in found.schema.names:
        if pa.types.is_floating(expected.schema.field(name).type):
            np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), 1e-12)
        else:
            assert found[name].to_pylist() == expected[name].to_pylist(), name


def test_rows_are_seen_once_through_every_state(engine, tape, monkeypatch):
    monkeypatch.setattr(query_hot, "LOAD_ROWS", 500)
    monkeypatch.setattr(query_hot, "KEEP_SEALED_S", 0)
    tape.add("MNQ", 1_000)
    tape.add("NQ", 600)
    check_everything(engine, tape)  # from the segments
    engine.load_hot()
    assert engine.loaded.rows == 1_600
    check_everything(engine, tape)  # loaded
    tape.add("MNQ", 100)
    check_everything(engine, tape)  # loaded, and a tail
    tape.seal("MNQ")
    check_everything(engine, tape)  # sealed, still loaded
    engine.load_hot()
    engine.load_hot()
    assert engine.loaded.rows == 600
    check_everything(engine, tape)  # sealed and let go
    tape.add("MNQ", 50)
    check_everything(engine, tape)  # late rows of a sealed hour
    tape.add("MNQ", 800, hour=1)
    engine.load_hot()
    check_everything(engine, tape)
    tape.seal("NQ")
    tape.seal("MNQ")
    check_everything(engine, tape)


def test_bars_follow_a_correction_of_a_sealed_trade(engine, tape):
    tape.add("MNQ", 300)
    tape.seal("MNQ")
    revised = {"source_seq": np.array([10, 11])}
    tape.add("MNQ", 2, kind=np.array(["correction", "cancel"], object), **revised)
    check_everything(engine, tape)
    tape.seal("MNQ")
    check_everything(engine, tape)


def test_a_revision_of_one_contract_leaves_the_others_print_of_that_number(engine, tape):
    numbers = {"source_seq": np.arange(1, 51)}
    tape.add("MNQ", 50, **numbers)
    tape.add("MNQ", 50, contract="MNQH6", **numbers)
    kinds = np.array(["correction", "cancel"], object)
    tape.add("MNQ", 2, contract="MNQH6", kind=kinds, source_seq=np.array([10, 11]))
    check_everything(engine, tape)
    assert ask(engine, "SELECT count(*) AS n FROM ticks")["n"].to_pylist() == [99]
    tape.seal("MNQ")
    check_everything(engine, tape)


def test_known_at_hides_rows_that_came_later(engine, tape):
    tape.add("MNQ", 400)
    tape.seal("MNQ")
    tape.add("MNQ", 200)
    known_us = START_US + HOUR_US // 2
    rows = tape.truth()
    known = rows.filter(pa.array(rows["ts_recv"].cast(pa.int64()).to_numpy() <= known_us))
    scope = Scope(known_at_us=known_us)
    assert ask(engine, "FROM trades", scope).num_rows == known.num_rows
    assert ask(engine, "FROM ticks", scope).num_rows == known.num_rows
    bars = ask(engine, "FROM bars_1m ORDER BY symbol, ts_event", scope)
    check_bars(bars, bars_of(known, WIDTHS_US["bars_1m"]))


def test_a_gap_is_shown_once_as_it_stood_when_it_was_known(engine, tape):
    def tell(state, gap_id, at_us):
        row = {"symbol": "MNQ", "source": "test", "table_name": "trades", "reason": "cut"}
        row |= {"ts_event": at_us, "ts_recv": at_us, "from_ts": START_US, "state": state}
        tape.store.append_rows("gaps", [{**row, "gap_id": gap_id}])

    tell("open", 1, START_US)
    tell("open", 2, START_US)
    tell("backfilled", 1, START_US + HOUR_US)
    sql = "SELECT gap_id FROM gaps WHERE state = 'open' ORDER BY 1"
    assert ask(engine, sql)["gap_id"].to_pylist() == [2]
    early = f"SELECT gap_id FROM gaps WHERE ts_event < make_timestamp({START_US + 1})"
    assert ask(engine, early)["gap_id"].to_pylist() == [2]
    known = Scope(known_at_us=START_US + 1)
    assert ask(engine, sql, known)["gap_id"].to_pylist() == [1, 2]


def test_services_tells_how_every_part_is_without_its_words(engine, tape):
    sql = "SELECT process, part, state FROM services ORDER BY part"
    assert ask(engine, sql).num_rows == 0, "nothing runs"
    board = Board("ingest", tape.clock)
    board.state("hot store", "ok", "in /a/folder")
    board.state("sealer", "down", "why")
    tape.paths.run.mkdir()
    board.publish(tape.paths.status("ingest"))
    assert ask(engine, sql).to_pylist() == [
        {"process": "ingest", "part": "hot store", "state": "ok"},
        {"process": "ingest", "part": "sealer", "state": "down"},
    ]
    assert "detail" not in ask(engine, "FROM services").column_names
    assert ask(engine, sql, Scope(known_at_us=START_US)).num_rows == 0


@pytest.mark.parametrize("table", ["trades", "ticks", "bars_1m", "partitions"])
def test_a_key_sees_its_own_symbols_only(engine, tape, table):
    for symbol in ("MNQ", "NQ"):
        tape.add(symbol, 100)
        tape.seal(symbol)
        tape.add(symbol, 10)
    for allowed in (frozenset({"NQ"}), frozenset()):
        found = ask(engine, f"SELECT DISTINCT symbol FROM {table}", Scope(symbols=allowed))
        assert set(found["symbol"].to_pylist()) == allowed


def test_only_files_of_the_asked_range_are_opened(engine, tape):
    for hour in range(4):
        tape.add("MNQ", 50, hour)
        tape.seal("MNQ")
    (gone,) = (
        p for p in engine.tape.snapshot("trades").pruned() if p.min_ts_us < START_US + HOUR_US
    )
    tape.paths.lake().joinpath(gone.path).unlink()
    sql = "SELECT count(*) AS n FROM ticks WHERE symbol = 'MNQ' AND timestamp >= '2025-11-20 16:00'"
    assert ask(engine, sql)["n"].to_pylist() == [100]


def test_tables_without_rows_have_their_columns(engine):
    for name, table in TABLES.items():
        found = ask(engine, f"FROM {name}")
        assert found.num_rows == 0
        assert found.schema.names == table.schema.names


def test_the_types_of_an_answer_are_those_promised(engine, tape):
    tape.add("MNQ", 10)
    for name in ("trades", "bars_1s"):
        assert ask(engine, f"FROM {name}").schema.types == TABLES[name].plain_schema.types
    found = ask(engine, "FROM ticks")
    assert found.schema.names[:4] == ["symbol", "timestamp", "price", "volume"]


def test_ladders_come_back_hot_and_cold_alike(engine, tape):
    ladder = {"bid_px": [1.0] * 10, "bid_sz": [2] * 10, "ask_px": [3.0] * 10, "ask_sz": [4] * 10}
    row = {"symbol": "MNQ", "ts_event": START_US, "ts_ns": 0, "ts_recv": START_US, "source": "x"}
    tape.store.append_rows("book", [{**row, **ladder, "contract": "MNQZ5", "valid": True}])
    hot = ask(engine, "FROM book")
    tape.seal("MNQ", "book")
    cold = ask(engine, "FROM book")
    assert hot.equals(cold)
    assert hot.schema.types == TABLES["book"].plain_schema.types


def test_the_bars_macro_widens_bars(engine, tape):
    tape.add("MNQ", 500)
    tape.seal("MNQ")
    sql = "FROM bars('MNQ', INTERVAL 5 MINUTE, '2025-11-20', '2025-11-21')"
    found = ask(engine, sql)
    assert found["volume"].to_pylist() == (
        bars_of(tape.truth(), 300 * 1_000_000)["volume"].to_pylist()
    )


def test_asof_joins_are_not_planned_as_nested_loops(engine, tape):
    tape.add("MNQ", 500)
    tape.seal("MNQ")
    sql = (
        "SELECT t.price, b.close FROM ticks t ASOF JOIN bars_1m b "
        "ON t.symbol = b.symbol AND t.timestamp >= b.ts_event"
    )
    session = engine.session()
    engine.open(session, engine.check(sql, []), Scope())
    rows = session.cursor.execute("EXPLAIN (FORMAT json) " + sql).fetchall()
    setting = "SELECT current_setting('asof_loop_join_threshold')"
    assert session.cursor.execute(setting).fetchall() == [(0,)]
    session.close()
    joins = [name for name in re.findall(r'"name": "([^"]+)"', rows[0][1]) if "JOIN" in name]
    assert joins == ["ASOF_JOIN"]
