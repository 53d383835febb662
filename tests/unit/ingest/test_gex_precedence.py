"""Where two sources tell something else of one second, the better one's row stands."""

import json

import pyarrow as pa
import pytest

from core.clock import SystemClock
from storage.query_engine import Engine, EngineOptions
from storage.query_tables import Scope
from tests.fakes import gexbot_made as made
from tests.unit.ingest.test_gex_tape import House, SentReady, batch, spool


@pytest.fixture(params=[lambda tape: tape, SentReady], ids=["columns", "ready"])
def house(tmp_path, request):
    house = House(tmp_path, way=request.param)
    yield house
    house.store.close()


def snapshot(spot, via, second=made.OPEN_S):
    return batch(made.chain(second) | {"spot": spot}, via=via)


def told(house, **known_at):
    """What every answer shows: (via, spot) by tickets, which must be what SQL says."""
    rows = house.keeper.view().scan("gex", "NQ_NDX", standing_only=True, **known_at).read_all()
    found = list(zip(rows["via"].to_pylist(), rows["spot"].to_pylist(), strict=True))
    assert asked(house, Scope(**known_at)) == found
    return found


def asked(house, scope):
    lake_url = house.settings.lake_url
    engine = Engine(house.store.paths, lake_url, EngineOptions(1 << 30, 1), SystemClock())
    session = engine.session()
    try:
        statement = engine.check("SELECT via, spot FROM gex ORDER BY ts_event, seq", [])
        schema, batches = engine.open(session, statement, scope).batches()
        rows = pa.Table.from_batches(list(batches), schema)
    finally:
        session.close()
    return list(zip(rows["via"].to_pylist(), rows["spot"].to_pylist(), strict=True))


def test_history_stands_before_what_was_polled_and_both_stay_on_record(house, tmp_path):
    house.tape.append_new("gex", snapshot(100.0, "api"))
    parts = spool(tmp_path, snapshot(101.0, "hist"), snapshot(7.0, "hist", made.OPEN_S + 1))
    assert house.tape.publish("NQ_NDX", parts) == 2
    assert told(house) == [("hist", 101.0), ("hist", 7.0)]
    assert sorted(row["spot"] for row in house.rows()) == [7.0, 100.0, 101.0]
    assert house.tape.publish("NQ_NDX", parts) == 0
    house.keeper.seal_now(["NQ_NDX"])
    assert told(house) == [("hist", 101.0), ("hist", 7.0)]


def test_what_is_polled_after_its_history_came_is_a_repetition(house, tmp_path):
    assert house.tape.publish("NQ_NDX", spool(tmp_path, snapshot(101.0, "eod"))) == 1
    assert house.tape.append_new("gex", snapshot(100.0, "api")) == [False]
    assert told(house) == [("eod", 101.0)]


def test_what_is_polled_stands_before_what_was_relayed_and_history_before_both(house, tmp_path):
    assert house.tape.append_new("gex", snapshot(99.0, "uw")) == [True]
    assert house.tape.append_new("gex", snapshot(100.0, "api")) == [True]
    assert house.tape.append_new("gex", snapshot(98.0, "uw")) == [False]
    assert told(house) == [("api", 100.0)]
    house.store.close()
    house.open()
    assert house.tape.append_new("gex", snapshot(97.0, "ws")) == [False]
    assert house.tape.publish("NQ_NDX", spool(tmp_path, snapshot(101.0, "hist"))) == 1
    assert told(house) == [("hist", 101.0)]
    assert len(house.rows()) == 3


@pytest.mark.parametrize(("first", "later"), [("uw", "api"), ("api", "hist"), ("uw", "eod")])
def test_the_same_values_from_a_better_source_are_no_second_row(house, first, later):
    assert house.tape.append_new("gex", snapshot(100.0, first)) == [True]
    assert house.tape.append_new("gex", snapshot(100.0, later)) == [False]
    assert told(house) == [(first, 100.0)]
    assert len(house.rows()) == 1


def test_a_value_the_better_source_said_again_is_not_replaced_by_a_lesser_one(house):
    house.tape.append_new("gex", snapshot(100.0, "uw"))
    house.tape.append_new("gex", snapshot(100.0, "hist"))
    assert house.tape.append_new("gex", snapshot(101.0, "api")) == [False]
    assert told(house) == [("uw", 100.0)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_one_batch_the_best_source_stands_wherever_it_is(house, order):
    rows = [snapshot(100.0, "uw"), snapshot(101.0, "api"), snapshot(102.0, "hist")]
    mixed = pa.concat_batches([rows[place] for place in order])
    assert house.tape.append_new("gex", mixed) == [True] * 3
    assert told(house) == [("hist", 102.0)]
    assert len(house.rows()) == 3
    assert house.tape.append_new("gex", mixed) == [False] * 3


def test_a_better_row_keeps_what_else_it_said(house):
    house.tape.append_new("gex", snapshot(100.0, "uw"))
    better = batch(made.chain() | {"spot": 101.0, "mystery": [1]}, via="api")
    assert house.tape.append_new("gex", better) == [True]
    said = json.loads(house.rows()[-1]["extra"])
    assert (said["mystery"], said["supersedes"]) == ([1], 1)


@pytest.mark.parametrize(
    "extra", [{"supersedes": 1}, {"x": {"supersedes": 1}}, {"x": '{"supersedes":1'}]
)
def test_nobody_but_the_writer_can_have_a_row_superseded(house, tmp_path, extra):
    house.tape.append_new("gex", snapshot(100.0, "hist"))
    forged = batch(
        made.chain(made.OPEN_S + 1) | extra, via="uw", package="classic", category="gex_zero"
    )
    assert house.tape.append_new("gex", forged) == [True]
    assert (
        house.tape.publish("NQ_NDX", spool(tmp_path, batch(made.chain(made.OPEN_S + 2) | extra)))
        == 1
    )
    assert len(told(house)) == 3


def test_before_the_better_row_was_known_the_first_one_stands(house):
    house.tape.append_new("gex", snapshot(100.0, "api"))
    (known,) = house.keeper.view().scan("gex", "NQ_NDX").read_all()["ts_recv"].cast("int64")
    later = snapshot(101.0, "hist")
    place = later.schema.get_field_index("ts_recv")
    moved = pa.array([known.as_py() + 1_000_000], pa.timestamp("us"))
    house.tape.append_new("gex", later.set_column(place, later.schema.field(place), moved))
    assert told(house, known_at_us=known.as_py()) == [("api", 100.0)]
    assert told(house) == [("hist", 101.0)]
