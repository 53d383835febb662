import random
from pathlib import Path

import pytest

from bench.ingest import make_trades
from storage.disk import OsDisk
from storage.layout import layout_of
from storage.paths import Paths
from storage.seal import Sealer
from storage.spot import Spotter, check_hot
from storage.store import Store
from tests.fakes.lake_rows import HOUR_14_US, Trade, batch, tape


class Halted(Exception):
    """The seal was stopped here."""


@pytest.fixture
def sealer(tmp_path, manual_clock):
    return Sealer(str(tmp_path), manual_clock)


@pytest.fixture
def spotter(sealer, tmp_path):
    sealer.seal("trades", "MNQ", [batch(tape(5_000))], 10_000)
    return Spotter(str(tmp_path), random.Random(1))


def test_sealed_rows_are_as_their_digest_says_and_bars_as_their_trades(spotter):
    digests = [spotter.check_digest() for _ in range(8)]
    assert {spot.table for spot in digests} == {"trades", "bars_1s", "bars_1m"}
    assert {spot.outcome for spot in digests} == {"match"}
    rollup = spotter.check_rollup()
    assert (rollup.outcome, rollup.table, rollup.witness) == ("match", "bars_1m", "rollup")
    assert rollup.rows > 0


def test_an_empty_lake_has_no_sample(tmp_path):
    spotter = Spotter(str(tmp_path), random.Random(1))
    assert spotter.check_digest() is None
    assert spotter.check_rollup() is None


def test_rows_changed_on_disk_differ(spotter, sealer):
    (partition,) = sealer.manifest("trades").snapshot().pruned()
    raw = bytearray(Path(partition.path).read_bytes())
    raw[len(raw) // 3] ^= 0xFF
    Path(partition.path).write_bytes(raw)
    found = [spotter.check_digest() for _ in range(20)]
    bad = [spot for spot in found if spot.table == "trades"]
    assert bad
    assert {(spot.outcome, spot.matched) for spot in bad} == {("mismatch", 0)}


def test_bars_that_lag_behind_their_trades_are_no_sample_until_made(
    spotter, sealer, tmp_path, manual_clock
):
    def halt(name):
        if name == "bars_commit":
            raise Halted

    late = [Trade(seq=20_001, ts_us=HOUR_14_US + 1)]
    with pytest.raises(Halted):
        Sealer(str(tmp_path), manual_clock, step=halt).seal("trades", "MNQ", [batch(late)], 20_001)
    assert spotter.check_rollup() is None
    sealer.recover()
    assert spotter.check_rollup().outcome == "match"


def test_hot_rows_are_as_they_were_committed_and_a_changed_one_differs(tmp_path, manual_clock):
    paths = Paths(tmp_path)
    store = Store.open(paths, disk=OsDisk(), clock=manual_clock)
    try:
        assert check_hot(paths, random.Random(1)) is None
        store.append(make_trades("MNQ", 500, HOUR_14_US))
        store.commit()
        spot = check_hot(paths, random.Random(1))
        assert (spot.outcome, spot.rows, spot.symbol) == ("match", 500, "MNQ")
        assert (spot.from_us, spot.to_us) == (HOUR_14_US, HOUR_14_US + 499)
        layout = layout_of("trades")
        price = next(column for column in layout.columns if column.name == "price")
        with paths.segment("trades", 1).open("r+b") as file:
            file.seek(layout.block_start(0) + price.offset + 80)
            file.write(b"\xff")
        assert check_hot(paths, random.Random(1)).outcome == "mismatch"
    finally:
        store.close()
