"""The last trade of a symbol: of its front contract, and one that still stands."""

from dataclasses import replace

import numpy as np
import pytest

from core.batch import TickBatch
from storage.disk import OsDisk
from storage.paths import Paths
from storage.seal import Sealer
from storage.store import Store, StoreOptions
from storage.view import Views
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import trades

OPTIONS = StoreOptions(commit_ms=10_000, tables=frozenset({"trades", "gaps"}))
FRONT, NEXT = "MNQZ6", "MNQH7"


class House:
    """A store that can be started anew, and what a reader sees of it."""

    def __init__(self, folder):
        self.paths = Paths(folder)
        self.start()

    def start(self, **options):
        self.store = Store.open(
            self.paths, replace(OPTIONS, **options), disk=OsDisk(), clock=ManualClock()
        )
        self.views = Views(self.paths, str(self.paths.lake()))

    def restart(self, **options):
        self.store.close()
        self.start(**options)

    def add(self, contract, count, first, **columns):
        batch = trades("MNQ", count, first, **columns)
        self.store.append(TickBatch("trades", "MNQ", contract, "test", batch.columns))

    def revise(self, contract, number, kind, **columns):
        self.add(contract, 1, number, kind=np.array([kind], object), **columns)

    @property
    def latest(self):
        row = self.views.view().latest("MNQ")
        return row and (row["contract"][0].as_py(), row["source_seq"][0].as_py())


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.store.close()


def test_the_front_contract_is_answered_though_the_next_traded_later(house):
    house.store.set_front("MNQ", FRONT)
    house.add(FRONT, 5, 10)
    house.add(NEXT, 5, 20)
    assert house.latest == (FRONT, 14)
    house.add(FRONT, 1, 30)
    assert house.latest == (FRONT, 30)


def test_a_roll_under_way_turns_to_the_new_contract_at_once(house):
    house.store.set_front("MNQ", FRONT)
    house.add(NEXT, 5, 10)
    house.add(FRONT, 5, 20)
    house.store.set_front("MNQ", NEXT)
    assert house.latest == (NEXT, 14)


def test_both_contracts_are_found_again_after_a_restart(house):
    house.add(FRONT, 5, 10)
    house.add(NEXT, 5, 20)
    house.restart()
    assert house.latest == (NEXT, 24), "no front is known yet"
    house.store.set_front("MNQ", FRONT)
    assert house.latest == (FRONT, 14)


def test_the_lake_too_is_asked_for_the_front_contract(house):
    house.add(FRONT, 5, 10)
    house.add(NEXT, 5, 20)
    sealer = Sealer(str(house.paths.lake()), ManualClock())
    slices = house.views.hot.slices("trades", "MNQ")
    sealer.seal("trades", "MNQ", [part.batch for part in slices], slices[-1].last_seq)
    newest_us = max(part.max_ts_us for part in slices)
    house.restart(newest_sealed_us={"MNQ": newest_us + 1})
    house.store.set_front("MNQ", FRONT)
    assert house.latest == (FRONT, 14)
    house.store.set_front("MNQ", "MNQM7")
    assert house.latest == (NEXT, 24), "a contract that never traded leaves the last of any"


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_cancelled_trade_is_not_the_latest(house, is_restarted):
    house.add(FRONT, 5, 10)
    house.revise(FRONT, 14, "cancel", valid=np.array([False]))
    house.revise(FRONT, 13, "cancel", valid=np.array([False]))
    if is_restarted:
        house.restart()
    assert house.latest == (FRONT, 12)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_corrected_trade_gives_way_to_its_correction(house, is_restarted):
    house.add(FRONT, 5, 10)
    house.revise(FRONT, 14, "correction", price=np.array([77.0]))
    if is_restarted:
        house.restart()
    assert house.views.view().latest("MNQ")["price"][0].as_py() == 77.0


def test_a_cancel_that_names_no_trade_takes_none_away(house):
    house.add(FRONT, 5, 10, source_seq=np.zeros(5, np.int64))
    house.restart()  # what is looked for again is looked for in the new segment alone
    unnamed = np.zeros(1, np.int64)
    house.revise(FRONT, 20, "cancel", valid=np.array([False]), source_seq=unnamed)
    assert house.latest == (FRONT, 0)


def test_where_all_are_cancelled_there_is_no_latest(house):
    house.add(FRONT, 1, 10)
    house.revise(FRONT, 10, "cancel", valid=np.array([False]))
    assert house.latest is None
    house.add(FRONT, 1, 11)
    assert house.latest == (FRONT, 11)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_trade_cancelled_in_its_own_batch_is_not_the_latest(house, is_restarted):
    house.add(FRONT, 5, 10)
    house.add(
        FRONT,
        2,
        15,
        kind=["new", "cancel"],
        valid=np.array([True, False]),
        source_seq=np.array([15, 15]),
    )
    if is_restarted:
        house.restart()
    assert house.latest == (FRONT, 14)


def test_a_revision_of_one_contract_leaves_the_others_print_of_that_number(house):
    house.store.set_front("MNQ", FRONT)
    house.add(FRONT, 5, 10)
    house.add(NEXT, 5, 10)
    house.revise(NEXT, 14, "cancel")
    assert house.latest == (FRONT, 14)
    house.revise(FRONT, 14, "cancel")
    assert house.latest == (FRONT, 13)
    house.restart()
    house.store.set_front("MNQ", NEXT)
    assert house.latest == (NEXT, 13)
