import random
from pathlib import Path

import pytest

from storage.seal import Sealer
from storage.verify import verify
from tests.fakes.lake_rows import batch, hours_later, tape


@pytest.fixture
def lake(tmp_path, manual_clock):
    rows = tape(60) + hours_later(tape(40), 1, 201)
    Sealer(str(tmp_path), manual_clock).seal("trades", "MNQ", [batch(rows)], 400)
    return tmp_path


def test_a_sound_lake_scores_all_its_rows(lake):
    score = verify(str(lake), tables=["trades"])
    assert (score.files, score.checked_rows, score.bad_rows, score.faults) == (2, 100, 0, ())
    assert score.percent == 100.0
    assert verify(str(lake)).files == 6, "bars are verified too"


def test_an_empty_lake_has_nothing_to_complain_of(tmp_path):
    assert verify(str(tmp_path)).percent == 100.0


def test_a_flipped_byte_anywhere_is_found_and_named(lake):
    path = next((lake / "trades").rglob("15-*.parquet"))
    good = path.read_bytes()
    places = [*range(24), *range(24, len(good) - 24, 97), *range(len(good) - 24, len(good))]
    for place in places:
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x04]) + good[place + 1 :])
        score = verify(str(lake), tables=["trades"])
        assert [fault.path for fault in score.faults] == [str(path)], place
        assert (score.checked_rows, score.good_rows) == (100, 60)
    path.write_bytes(good)
    assert verify(str(lake)).faults == ()


def test_missing_and_cut_files_are_faults(lake):
    first, second = sorted((lake / "trades").rglob("*.parquet"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-9])
    reasons = [fault.reason for fault in verify(str(lake), tables=["trades"]).faults]
    assert all("bytes, found" in reason for reason in reasons)
    assert len(reasons) == 2


def test_a_sample_is_the_same_for_the_same_seed(lake):
    def sample(seed):
        return verify(str(lake), sample=3, rng=random.Random(seed))

    assert sample(1) == sample(1)
    assert sample(1).files == 3
    for path in Path(lake).rglob("*.parquet"):
        path.write_bytes(b"")
    assert len(sample(2).faults) == 3
