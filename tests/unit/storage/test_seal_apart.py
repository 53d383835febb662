"""Rows that go straight to the lake, beside rows of the same table that are hot."""

from contextlib import contextmanager

import pytest

from core.clock import HOUR_US
from core.errors import SealFailed
from core.schema import TABLES
from storage.disk import OsDisk
from storage.keeper import Keeper, KeeperOptions
from storage.paths import Paths
from storage.seal import Sealer
from storage.slow import with_seq
from storage.store import Store, StoreOptions
from storage.view import Views
from tests.fakes.manual_clock import OPEN_NS, ManualClock

NOW_US = OPEN_NS // 1000
OLD_US = NOW_US - 48 * HOUR_US
GEX = TABLES["gex"]


def snapshots(times_us, spot=1.0):
    return [
        {
            "symbol": "SPY",
            "ticker": "SPY",
            "ts_event": t,
            "ts_recv": NOW_US,
            "spot": spot,
            "via": "uw",
        }
        for t in times_us
    ]


def sealed_part(times_us, first_seq):
    return with_seq(GEX, snapshots(times_us, spot=2.0), first_seq).cast(GEX.schema)


class House:
    def __init__(self, root, clock):
        self.paths, self.lake_url = Paths(root), str(root / "lake")
        options = StoreOptions(commit_ms=10_000, tables=frozenset({"gex", "gaps", "rejects"}))
        self.store = Store.open(self.paths, options, disk=OsDisk(), clock=clock)
        self.step = "nowhere"
        self.sealer = Sealer(self.lake_url, clock, step=self._fail)
        self.keeper = Keeper(self.store, self.sealer, self.lake_url, KeeperOptions(), clock)
        self.views = Views(self.paths, self.lake_url)

    def _fail(self, name):
        if name == self.step:
            raise SealFailed(name)

    def seqs(self, **span):
        reader = self.views.view().scan("gex", "SPY", **span)
        return [seq for batch in reader for seq in batch.column("seq").to_pylist()]


@pytest.fixture
def open_house(tmp_path):
    clock = ManualClock()

    @contextmanager
    def opened():
        house = House(tmp_path, clock)
        try:
            yield house
        finally:
            house.store.close()

    return opened


def test_rows_sealed_apart_are_seen_once_beside_hot_ones_and_after_they_are_sealed(open_house):
    with open_house() as house:
        house.store.append_rows("gex", snapshots([NOW_US, NOW_US + 1]))
        first = house.store.reserve("gex", 3)
        assert first == 3
        house.store.append_rows("gex", snapshots([NOW_US + 2]))
        parts = [sealed_part([OLD_US, OLD_US + 1], 3), sealed_part([OLD_US + HOUR_US], 5)]
        assert house.keeper.seal_apart("gex", "SPY", parts) == 2
        assert house.seqs() == [3, 4, 5, 1, 2, 6]
        assert house.seqs(end_us=OLD_US + HOUR_US) == [3, 4]
        assert house.sealer.manifest("gex").snapshot().sealed_seq == {}
        house.keeper.seal_now(["SPY"])
        assert house.seqs() == [3, 4, 5, 1, 2, 6]


def test_rows_of_an_hour_that_is_hot_may_be_sealed_apart_too(open_house):
    with open_house() as house:
        house.store.append_rows("gex", snapshots([NOW_US]))
        house.store.reserve("gex", 1)
        house.keeper.seal_apart("gex", "SPY", [sealed_part([NOW_US + 5], 2)])
        house.store.append_rows("gex", snapshots([NOW_US + 9]))
        assert house.seqs() == [1, 2, 3]
        house.keeper.seal_now(["SPY"])
        assert house.seqs() == [1, 2, 3]


def test_all_parts_are_listed_in_one_version_or_none(open_house):
    with open_house() as house:
        house.store.reserve("gex", 2)
        house.step = "commit"
        parts = [sealed_part([OLD_US], 1), sealed_part([OLD_US + HOUR_US], 2)]
        with pytest.raises(SealFailed):
            house.keeper.seal_apart("gex", "SPY", parts)
        assert house.seqs() == []
        house.step = "nowhere"
        house.store.reserve("gex", 2)
        parts = [sealed_part([OLD_US], 3), sealed_part([OLD_US + HOUR_US], 4)]
        house.keeper.seal_apart("gex", "SPY", parts)
        assert house.seqs() == [3, 4]
        version = house.sealer.manifest("gex").refresh().version
        assert version == 1  # made in 0, listed in 1


def test_numbers_set_aside_are_not_given_again_after_a_restart(open_house):
    with open_house() as house:
        house.store.append_rows("gex", snapshots([NOW_US]))
        house.store.reserve("gex", 3)
    with open_house() as house:
        assert house.store.append_rows("gex", snapshots([NOW_US + 1])) == 5
        assert house.views.view().watermarks("gex").visible_seq == 5
        assert house.seqs() == [1, 5]
        gaps = [b.num_rows for b in house.views.view().scan("gaps", "*")]
        assert sum(gaps) == 0


def test_a_restart_still_finds_rows_sealed_apart_beside_hot_ones(open_house):
    with open_house() as house:
        house.store.append_rows("gex", snapshots([NOW_US]))
        house.store.reserve("gex", 1)
        house.keeper.seal_apart("gex", "SPY", [sealed_part([NOW_US + 5], 2)])
    with open_house() as house:
        assert house.seqs() == [1, 2]
        house.store.append_rows("gex", snapshots([NOW_US + 9]))
        assert house.seqs() == [1, 2, 3]


def test_chosen_columns_are_those_of_a_scan_hot_and_cold(open_house):
    with open_house() as house:
        house.store.append_rows("gex", snapshots([NOW_US, NOW_US + 1]))
        house.store.reserve("gex", 2)
        house.keeper.seal_apart("gex", "SPY", [sealed_part([OLD_US, OLD_US + 7], 3)])
        view = house.views.view()
        found = view.columns("gex", "SPY", ["spot", "via"], start_us=OLD_US + 1, end_us=NOW_US + 1)
        assert found.to_pylist() == [{"spot": 2.0, "via": "uw"}, {"spot": 1.0, "via": "uw"}]
        assert view.columns("gex", "QQQ", ["spot"], start_us=0, end_us=NOW_US).num_rows == 0
