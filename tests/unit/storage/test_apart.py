"""Rows of a fast table that never were hot, beside rows that are."""

import numpy as np
import pytest

from core.batch import TickBatch
from core.schema import DEPTH_COMMANDS, TABLES
from storage.apart import NAME, noted, numbered, without
from storage.disk import OsDisk
from storage.keeper import Keeper, KeeperOptions
from storage.paths import Paths
from storage.query import QueryLimits, QueryService, Question
from storage.recovery import Hole
from storage.seal import Sealer
from storage.store import Store, StoreOptions
from storage.view import Views

NOW_US = 1_795_185_000_000_000
DAY_US = 86_400_000_000


def batch(rows, start_us=NOW_US, first=1):
    columns = {
        "ts_event": start_us + np.arange(rows),
        "ts_recv": np.full(rows, NOW_US),
        "command": np.full(rows, DEPTH_COMMANDS.index("add_bid"), np.int16),
        "side": np.ones(rows, np.int8),
        "price": 20_000 + np.arange(rows) * 0.25,
        "size": np.arange(rows) + 1,
        "orders": np.ones(rows, np.int32),
        "end_of_batch": np.arange(rows) % 2 == 1,
        "source_seq": np.arange(first, first + rows),
    }
    return TickBatch("depth", "MNQ", "MNQZ26", "sierra", columns)


class House:
    def __init__(self, root, clock):
        self.paths, self.lake = Paths(root / "data"), str(root / "lake")
        self.clock = clock
        self.open()

    def open(self):
        sealer = Sealer(self.lake, self.clock)
        snapshot = sealer.manifest("depth").snapshot()
        options = StoreOptions(sealed_seqs={"depth": snapshot.last_seq})
        self.store = Store.open(self.paths, options, disk=OsDisk(), clock=self.clock)
        self.keeper = Keeper(self.store, sealer, self.lake, KeeperOptions(), self.clock)
        self.views = Views(self.paths, self.lake)

    def reopen(self):
        self.store.close()
        self.open()

    def seal_apart(self, *batches):
        def parts():
            for part in batches:
                yield numbered("depth", part, self.store.reserve("depth", part.rows))

        return self.keeper.seal_apart("depth", "MNQ", parts())

    def seqs(self, **bounds):
        rows = self.views.view().scan("depth", "MNQ", **bounds).read_all()
        return sorted(rows["seq"].to_pylist())

    def gaps(self):
        view = self.views.view()
        return [
            row for s in view.symbols("gaps") for row in view.scan("gaps", s).read_all()["reason"]
        ]


@pytest.fixture
def house(tmp_path, manual_clock):
    house = House(tmp_path, manual_clock)
    yield house
    house.store.close()


def test_hot_rows_and_rows_set_apart_are_each_seen_once_before_and_after_a_seal(house):
    house.store.append(batch(100))
    house.seal_apart(batch(30, NOW_US - DAY_US), batch(20, NOW_US - DAY_US + 30))
    house.store.append(batch(20, NOW_US + 500))
    for _ in range(2):
        assert house.seqs() == list(range(1, 171))
        assert house.seqs(start_us=NOW_US) == [*range(1, 101), *range(151, 171)]
        assert house.seqs(end_us=NOW_US) == list(range(101, 151))
        house.keeper.seal_now(["MNQ"])
    house.reopen()
    assert house.seqs() == list(range(1, 171))
    assert house.gaps() == []
    assert house.store.append(batch(1, NOW_US + 900)) == 171


def test_the_query_worker_sees_them_once_too(house):
    house.store.append(batch(100))
    house.seal_apart(batch(50, NOW_US - DAY_US))
    house.store.append(batch(20, NOW_US + 500))
    limits = QueryLimits(seconds=20, rows=10_000, bytes=10_000_000, memory_bytes=1 << 30)
    service = QueryService(house.paths, house.lake, limits, lanes=1)
    service.start()
    try:
        asked = "SELECT count(*) AS n, count(DISTINCT seq) AS d, sum(size)::BIGINT AS s FROM depth"
        for _ in range(2):
            (row,) = service.run(Question(asked)).read_all().to_pylist()
            assert (row["n"], row["d"]) == (170, 170)
            assert row["s"] == sum(range(101)) + sum(range(51)) + sum(range(21))
            house.keeper.seal_now(["MNQ"])
    finally:
        service.stop()


def test_numbers_set_aside_for_nothing_are_no_loss_and_not_given_again(house):
    house.store.append(batch(10))
    assert house.store.reserve("depth", 5) == 11
    house.reopen()
    assert house.store.append(batch(3, NOW_US + 100)) == 16
    house.reopen()
    assert house.gaps() == []
    assert house.seqs() == [*range(1, 11), 16, 17, 18]


def test_rows_set_apart_are_as_they_would_have_been_when_hot(house):
    house.store.append(batch(40))
    house.seal_apart(batch(40, NOW_US - DAY_US))
    rows = house.views.view().scan("depth", "MNQ").read_all().cast(TABLES["depth"].plain_schema)
    apart, hot = rows.slice(0, 40), rows.slice(40)
    for name in set(rows.column_names) - {"ts_event", "seq"}:
        assert apart[name].to_pylist() == hot[name].to_pylist(), name


def test_holes_are_only_what_was_not_set_aside(tmp_path):
    hole = Hole("depth", 10, 30)
    assert without([hole], [(1, 9), (12, 14), (28, 40)]) == [
        Hole("depth", 10, 11),
        Hole("depth", 15, 27),
    ]
    assert without([hole], [(10, 30)]) == []
    (tmp_path / NAME).write_bytes(b"1 9\n12 14\n28 4")
    assert noted(OsDisk(), tmp_path) == [(1, 9), (12, 14)]
