"""A root's front contract, dated and kept."""

from dataclasses import replace

import pytest

from core.clock import DAY_NS
from core.errors import FeedGarbled
from ingest.rolls import Listed, RollMap
from storage.disk import OsDisk
from tests.fakes.manual_clock import OPEN_NS

Z = Listed("MNQ", "MNQZ26", "/MNQZ26:XCME", True, False, OPEN_NS + 28 * DAY_NS)
H = Listed("MNQ", "MNQH27", "/MNQH27:XCME", False, True, OPEN_NS + 119 * DAY_NS)
ROLLED = [
    Listed("MNQ", "MNQZ26", "/MNQZ26:XCME", False, False, Z.expires_ns),
    Listed("MNQ", "MNQH27", "/MNQH27:XCME", True, False, H.expires_ns),
]
ROLL_NS = OPEN_NS + 24 * DAY_NS


@pytest.fixture
def rolls(tmp_path):
    return RollMap(tmp_path / "rolls.json", OsDisk())


def test_the_front_contract_is_the_one_the_service_marks(rolls):
    (roll,) = rolls.update([H, Z], OPEN_NS)
    assert (roll.contract, roll.next_contract) == ("MNQZ26", "MNQH27")
    assert rolls.update([Z, H], OPEN_NS + 1) == []


def test_a_roll_closes_the_old_entry_and_keeps_it(rolls):
    rolls.update([Z, H], OPEN_NS)
    rolls.update(ROLLED, ROLL_NS)
    assert rolls.front("MNQ").contract == "MNQH27"
    assert rolls.front_at("MNQ", ROLL_NS - 1).contract == "MNQZ26"
    assert rolls.front_at("MNQ", ROLL_NS).contract == "MNQH27"
    assert rolls.front_at("MNQ", OPEN_NS - 1) is None


def test_both_contracts_are_listened_to_near_expiry(rolls):
    rolls.update([Z, H], OPEN_NS)
    early = rolls.instruments(["MNQ"], OPEN_NS)
    late = rolls.instruments(["MNQ"], Z.expires_ns - 8 * DAY_NS)
    assert [i.contract for i in early] == ["MNQZ26"]
    assert [i.contract for i in late] == ["MNQZ26", "MNQH27"]


def test_the_nearest_living_contract_stands_in_where_none_is_marked(rolls):
    unmarked = [
        Listed(c.root, c.contract, c.streamer_symbol, False, False, c.expires_ns) for c in (H, Z)
    ]
    assert rolls.update(unmarked, OPEN_NS)[0].contract == "MNQZ26"
    assert rolls.update(unmarked, Z.expires_ns)[0].contract == "MNQH27"


def test_tickers_need_no_map_and_an_index_has_no_prints(rolls):
    spy, vix = rolls.instruments(["SPY", "VIX"], OPEN_NS)
    assert (spy.contract, spy.market, spy.has_prints) == ("SPY", "nyse", True)
    assert not vix.has_prints


def test_the_map_outlives_the_process(rolls, tmp_path):
    rolls.update([Z, H], OPEN_NS)
    again = RollMap(tmp_path / "rolls.json", OsDisk())
    assert again.rolls == rolls.rolls


def test_a_damaged_map_says_what_to_do(tmp_path):
    (tmp_path / "rolls.json").write_text('[{"root": 1}]')
    with pytest.raises(FeedGarbled, match="roll map") as garbled:
        RollMap(tmp_path / "rolls.json", OsDisk())
    assert "delete" in garbled.value.hint


@pytest.mark.parametrize("marks", [(False, False), (True, True)])
def test_a_front_that_is_not_marked_once_is_the_nearest_and_told(rolls, marks):
    found = [replace(c, is_front=mark) for c, mark in zip((Z, H), marks, strict=True)]
    rolls.update(found[::-1], OPEN_NS)
    assert rolls.front("MNQ").contract == "MNQZ26"
    assert rolls.unclear == {"MNQ": sum(marks)}
    rolls.update([Z, H], OPEN_NS)
    assert rolls.unclear == {}
