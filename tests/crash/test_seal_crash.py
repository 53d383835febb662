"""A seal or a fold is cut off at every step, and by SIGKILL at any moment; nothing is lost."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.clock import US_PER_S
from storage.compact import compact
from storage.lake import as_lake
from storage.seal import Sealer
from storage.verify import verify
from tests.fakes.lake_rows import (
    HOUR_14_US,
    Trade,
    batch,
    hours_later,
    lake_bars,
    lake_seqs,
    plain_bars,
    tape,
)
from tests.fakes.manual_clock import ManualClock


class Cut(Exception):
    """The power went."""


class CutAt:
    """Lets `count` steps pass and stops at the next."""

    def __init__(self, count):
        self.left = count

    def __call__(self, name):
        if self.left == 0:
            raise Cut(name)
        self.left -= 1


OLD = tape(20)
NEW = [
    Trade(seq=101, ts_us=HOUR_14_US + 2_500, price=9.75, size=3),
    Trade(seq=102, ts_us=HOUR_14_US + US_PER_S, source_seq=5, kind="cancel", valid=False),
    *hours_later(tape(5), 1, 103),
]


def check_whole(lake, rows):
    assert lake_seqs(lake) == sorted(row.seq for row in rows), "every row once"
    for table, width_us in (("bars_1s", US_PER_S), ("bars_1m", 60 * US_PER_S)):
        assert lake_bars(lake, table) == plain_bars(rows, width_us)
    assert verify(str(lake)).percent == 100.0
    assert not list(Path(lake).rglob("*.new"))


def unlisted(lake):
    """Trade files that no version names."""
    alive = Sealer(str(lake), ManualClock()).manifest("trades").refresh().paths
    return {str(path) for path in (lake / "trades").rglob("*.parquet")} - alive


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A lake with OLD sealed."""
    lake = tmp_path_factory.mktemp("sealed")
    Sealer(str(lake), ManualClock()).seal("trades", "MNQ", [batch(OLD)], 100)
    return lake


def test_a_seal_cut_at_any_step_ends_with_every_row_once(sealed, tmp_path):
    count, is_cut = 0, True
    while is_cut:
        lake = shutil.copytree(sealed, tmp_path / str(count))
        cut = Sealer(str(lake), ManualClock(), step=CutAt(count))
        try:
            cut.seal("trades", "MNQ", [batch(NEW)], 200)
            is_cut = False
        except Cut:
            count += 1
        is_sealed = len(lake_seqs(lake)) > len(OLD)
        sealer = Sealer(str(lake), ManualClock())
        sealer.recover()
        assert unlisted(lake) == set()
        check_whole(lake, [*OLD, *NEW] if is_sealed else OLD)
        assert bool(sealer.seal("trades", "MNQ", [batch(NEW)], 200)) != is_sealed
        check_whole(lake, [*OLD, *NEW])
    assert count > 40, "every step was tried"


def test_a_fold_cut_at_any_step_loses_nothing(sealed, tmp_path):
    whole = shutil.copytree(sealed, tmp_path / "whole")
    Sealer(str(whole), ManualClock()).seal("trades", "MNQ", [batch(NEW)], 200)
    count, is_cut = 0, True
    while is_cut:
        lake = shutil.copytree(whole, tmp_path / str(count))
        told = {"before_date": "2026-11-21", "clock": ManualClock()}
        try:
            compact(str(lake), "trades", **told, step=CutAt(count))
            is_cut = False
        except Cut:
            assert lake_seqs(lake) == sorted(row.seq for row in [*OLD, *NEW])
        Sealer(str(lake), ManualClock()).recover()
        compact(str(lake), "trades", **told)
        assert len(Sealer(str(lake), ManualClock()).manifest("trades").refresh()) == 1
        check_whole(lake, [*OLD, *NEW])
        count += 1
    assert count > 7, "every step was tried"


CHILD = """
import sys
from core.clock import SystemClock
from storage.seal import Sealer
from tests.fakes.lake_rows import batch, tape

def step(name):
    print(name, flush=True)

sealer = Sealer(sys.argv[1], SystemClock(), step=step)
sealer.recover()
first = sealer.manifest("trades").snapshot().sealed_seq.get("MNQ", 0) + 1
while True:
    rows = tape(50, first, start_us=1_795_183_200_000_000 + first * 10_000_000)
    sealer.seal("trades", "MNQ", [batch(rows)], first + 99)
    first += 100
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_sealer_leaves_a_lake_that_goes_on(tmp_path, seed):
    chance = random.Random(seed)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as child:
            assert child.stdout is not None
            for _ in range(chance.randrange(1, 60)):
                assert child.stdout.readline(), "the child must not end by itself"
            child.kill()
        with as_lake(str(tmp_path)).writing():
            pass  # a dead process holds no lock
    sealer = Sealer(str(tmp_path), ManualClock())
    sealer.recover()
    hi = sealer.manifest("trades").snapshot().sealed_seq["MNQ"]
    rows = [
        row
        for first in range(1, hi, 100)
        for row in tape(50, first, start_us=HOUR_14_US + first * 10_000_000)
    ]
    check_whole(tmp_path, rows)
    assert unlisted(tmp_path) == set()
