"""Each snapshot once, whoever brings it, on a real store."""

import json
import threading
from collections import Counter
from datetime import UTC

import pyarrow as pa
import pytest

from core.clock import HOUR_US
from core.errors import FeedGarbled
from core.schema import TABLES
from core.settings import load_settings
from ingest.gex_columns import TOLD, flat_columns
from ingest.gex_snapshot import About, gex_batch, kind_of, parse_snapshot
from ingest.gex_spool import SpoolWriter, check_name, spooled_parts
from ingest.gex_tape import DAYS_MAX, GexTape
from ingest.gex_uw import parse_market_agg, parse_option_trade
from storage.opening import open_keeper, open_store
from storage.prepared import prepare
from tests.fakes import gexbot_made as made
from tests.fakes.manual_clock import ManualClock


class SentReady:
    """The tape as the webhooks reach it: rows made ready elsewhere, told by a few values."""

    def __init__(self, tape):
        self._tape = tape

    def __getattr__(self, name):
        return getattr(self._tape, name)

    def append_new(self, table, rows):
        names = TOLD[table]
        columns = [rows.column(name) for name in names]
        columns[1] = columns[1].cast("int64")
        told = zip(*(column.to_pylist() for column in columns), strict=True)
        sent = json.loads(json.dumps(list(told)))
        return self._tape.append_prepared(table, sent, prepare(table, rows.columns))


class House:
    """A data folder opened as the ingest process opens it."""

    def __init__(self, root, clock=None, way=lambda tape: tape):
        self.way = way
        self.settings = load_settings({"DATA_DIR": str(root)}, environ={}, env_file=root / "none")
        self.clock = clock or ManualClock(made.CLOSE_S * 10**9)
        self.open()

    def open(self):
        self.store = open_store(self.settings, self.clock)
        self.keeper = open_keeper(self.settings, self.store, self.clock)
        self.tape = self.way(GexTape(self.store, self.keeper, self.clock))

    def rows(self, symbol="NQ_NDX", table="gex"):
        reader = self.keeper.view().scan(table, symbol)
        return [row for batch in reader for row in batch.to_pylist()]


@pytest.fixture(params=[lambda tape: tape, SentReady], ids=["columns", "ready"])
def house(tmp_path, request):
    house = House(tmp_path, way=request.param)
    yield house
    house.store.close()


def batch(*found, via="api", **about):
    now_ns = (made.CLOSE_S + 60) * 10**9
    about = About(via, now_ns, **about)
    return gex_batch([parse_snapshot(kind_of(one), one, about) for one in found])


def flat_batch(table, rows):
    schema = TABLES[table].unnumbered_schema
    return pa.RecordBatch.from_arrays(flat_columns(table, rows), schema=schema)


def second(row):
    return int(row["ts_event"].replace(tzinfo=UTC).timestamp())


def spool(tmp_path, *batches):
    writer = SpoolWriter(tmp_path / "spool")
    for rows in batches:
        writer.add(rows)
    writer.close()
    return spooled_parts(tmp_path / "spool")


def test_a_repeated_second_is_stored_once_whatever_way_it_comes(house):
    rows = batch(made.chain(), made.chain(), made.chain(made.OPEN_S + 1))
    assert house.tape.append_new("gex", rows) == [True, False, True]
    assert house.tape.append_new("gex", batch(made.chain(), via="uw")) == [False]
    assert [row["via"] for row in house.rows()] == ["api", "api"]


def test_profiles_of_several_greeks_in_one_second_are_all_kept(house):
    gamma = made.greeks() | {"ticker": "NQ_NDX"}
    delta = gamma | {"major_positive": 1.0}
    assert house.tape.append_new("gex", batch(gamma, delta, gamma)) == [True, True, False]
    house.store.close()
    house.open()
    assert house.tape.append_new("gex", batch(delta, gamma, via="uw")) == [False, False]


def test_colliding_times_are_never_moved_apart(house):
    house.tape.append_new("gex", batch(made.chain(), made.chain() | {"spot": 1.0}))
    (row,) = house.rows()
    assert second(row) == made.OPEN_S
    assert row["spot"] == made.chain()["spot"]


def test_series_of_one_ticker_and_second_do_not_hide_each_other(house):
    for category in ("gex_zero", "gex_full"):
        rows = batch(made.chain(), package="classic", category=category)
        assert house.tape.append_new("gex", rows) == [True]
    assert house.tape.append_new("gex", batch(made.majors(), made.maxchange())) == [True, True]
    assert len(house.rows()) == 4


def test_what_is_stored_is_known_after_a_restart_sealed_or_not(house):
    house.tape.append_new("gex", batch(made.chain()))
    house.keeper.seal_now(["NQ_NDX"])
    house.tape.append_new("gex", batch(made.chain(made.OPEN_S + 1)))
    house.store.close()
    house.open()
    rows = batch(*(made.chain(made.OPEN_S + i) for i in range(3)))
    assert house.tape.append_new("gex", rows) == [False, False, True]


def test_memory_of_days_is_bounded_and_forgetting_one_forgets_no_row(house):
    days = DAYS_MAX + 3
    for day in range(days):
        house.tape.append_new("gex", batch(made.chain(made.OPEN_S - 86_400 * day)))
    assert len(house.tape._days) == DAYS_MAX
    rows = batch(*(made.chain(made.OPEN_S - 86_400 * day) for day in range(days)))
    assert not any(house.tape.append_new("gex", rows))
    assert len(house.rows()) == days


def test_an_option_trade_is_known_by_its_id_and_totals_are_all_kept(house):
    now_ns = (made.CLOSE_S + 60) * 10**9
    trades = [parse_option_trade("c", made.option_trade(n), now_ns) for n in (1, 1, 2)]
    trades += [parse_option_trade("c", made.option_trade() | {"id": None}, now_ns)] * 2
    rows = flat_batch("option_trades", trades)
    assert house.tape.append_new("option_trades", rows) == [True, False, True, True, True]
    totals = flat_batch("market_agg", [parse_market_agg("m", "", made.market_agg(), now_ns)] * 2)
    assert house.tape.append_new("market_agg", totals) == [True, True]


def test_a_file_is_published_into_its_hours_without_what_is_stored(house, tmp_path):
    house.tape.append_new("gex", batch(made.chain(made.OPEN_S + 5)))
    seconds = range(made.OPEN_S, made.OPEN_S + 7_200, 60)
    hours = spool(
        tmp_path, *(batch(made.chain(s), via="hist") for s in [*seconds, made.OPEN_S + 5])
    )
    assert house.tape.publish("NQ_NDX", hours) == len(seconds)
    assert house.tape.publish("NQ_NDX", hours) == 0
    found = [second(row) for row in house.rows()]
    assert found == sorted([*seconds, made.OPEN_S + 5])
    files = house.keeper.view().snapshot("gex").pruned()
    rows = Counter()
    for file in files:
        rows[file.min_ts_us // HOUR_US % 24] += file.rows
        assert file.min_ts_us // HOUR_US == file.max_ts_us // HOUR_US
    assert rows == {14: 30, 15: 60, 16: 30}
    assert house.tape.append_new("gex", batch(made.chain(made.OPEN_S + 60))) == [False]
    seqs = [row["seq"] for row in house.rows()]
    assert sorted(seqs) == list(range(1, len(seconds) + 2))


def test_a_live_row_of_the_day_being_published_waits_and_is_not_doubled(house, tmp_path):
    seconds = range(made.OPEN_S, made.OPEN_S + 600)
    hours = spool(tmp_path, *(batch(made.chain(s), via="hist") for s in seconds))
    rows = batch(*(made.chain(s) for s in seconds))
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(house.tape.publish("NQ_NDX", hours))),
        threading.Thread(target=lambda: results.append(sum(house.tape.append_new("gex", rows)))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 600]
    assert len(house.rows()) == 600


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", "A", "x..y", "/tmp"])
def test_a_spool_folder_leads_nowhere_else(name):
    with pytest.raises(FeedGarbled):
        check_name(name)


def test_rows_of_the_made_up_market_are_nobodys_duplicate(house):
    rows = batch(made.chain())
    demo = rows.set_column(
        rows.schema.get_field_index("source"), "source", pa.array(["demo"], pa.utf8())
    )
    assert house.tape.append_new("gex", demo) == [True]
    assert house.tape.append_new("gex", rows) == [True]
    assert house.tape.append_new("gex", rows) == [False]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbol": ""}, "symbol is empty"),
        ({"ticker": ""}, "ticker is empty"),
        ({"ts_event": -(2**62)}, "ts_event is before 1990"),
        ({"ts_event": (made.CLOSE_S + 301) * 10**6}, "ts_event is more than 5 minutes ahead"),
        ({"spot": float("inf")}, "spot is not a finite number"),
        ({"spot": float("nan")}, "spot is not a finite number"),
    ],
)
def test_a_row_that_cannot_be_is_a_reject_and_its_neighbours_are_stored(house, change, reason):
    rows = batch(*(made.chain(made.OPEN_S + i) for i in range(3)))
    for name, value in change.items():
        values = rows.column(name).to_pylist()
        values[1] = value
        column = pa.array(values, rows.schema.field(name).type)
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    assert house.tape.append_new("gex", rows) == [True, None, True]
    assert [second(row) - made.OPEN_S for row in house.rows()] == [0, 2]
    (kept,) = house.rows("*" if "symbol" in change else "NQ_NDX", "rejects")
    assert kept["reason"].startswith(reason)
    assert json.loads(kept["raw"])["package"] == "classic"
    house.keeper.seal_now(["NQ_NDX", "*"])


def test_a_spot_that_was_not_told_is_no_fault_and_totals_are_guarded_too(house):
    now_ns = made.CLOSE_S * 10**9
    assert house.tape.append_new("gex", batch(made.maxchange())) == [True]
    totals = [parse_market_agg("c", "", made.market_agg(), now_ns) for _ in range(2)]
    totals[1]["symbol"] = ""
    rows = flat_batch("market_agg", totals)
    assert house.tape.append_new("market_agg", rows) == [True, None]
