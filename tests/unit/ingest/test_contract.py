from datetime import date

import pytest

from core.errors import FeedGarbled
from ingest.contract import Contract, front_contract, parse_stem, third_friday

DAY = date(2026, 11, 20)


@pytest.mark.parametrize(
    ("stem", "root", "contract"),
    [
        ("ESH24_FUT_CME", "ES", "ESH24"),
        ("MNQZ25_FUT_CME", "MNQ", "MNQZ25"),
        ("NQM26-CME", "NQ", "NQM26"),
        ("NQZ6.CME", "NQ", "NQZ26"),
        ("mesz6", "MES", "MESZ26"),
        ("M2KH27_FUT_CME", "M2K", "M2KH27"),
        ("6EZ26_FUT_CME", "6E", "6EZ26"),
        ("ZNZ26", "ZN", "ZNZ26"),
        ("SPY", "SPY", "SPY"),
        ("QQQ-NQTV", "QQQ", "QQQ"),
        ("$VIX", "VIX", "VIX"),
    ],
)
def test_stems_give_root_and_contract(stem, root, contract):
    assert parse_stem(stem, DAY) == Contract(root, contract)


def test_a_stock_is_its_own_contract_and_no_future():
    assert not parse_stem("SPY", DAY).is_future
    assert parse_stem("ESZ6", DAY).is_future


@pytest.mark.parametrize(
    ("day", "stem", "contract"),
    [
        (date(2026, 11, 20), "NQH7", "NQH27"),
        (date(2026, 1, 2), "NQZ5", "NQZ25"),
        (date(2029, 12, 20), "NQH0", "NQH30"),
        (date(2026, 1, 2), "NQH1", "NQH31"),
        (date(2024, 1, 2), "NQH9", "NQH29"),
    ],
)
def test_a_one_digit_year_is_the_one_nearest_to_the_data(day, stem, contract):
    assert parse_stem(stem, day).contract == contract


@pytest.mark.parametrize("stem", ["", "...", "_ES", "ES H24", "ES/../H24", "日経"])
def test_other_names_are_refused_with_what_to_do(stem):
    with pytest.raises(FeedGarbled, match="expected a file name") as caught:
        parse_stem(stem, DAY)
    assert "--symbol" in caught.value.hint


@pytest.mark.parametrize(
    ("day", "contract"),
    [
        (date(2026, 1, 1), "MNQH26"),
        (date(2026, 12, 9), "MNQZ26"),
        (date(2026, 12, 10), "MNQH27"),
        (date(2026, 12, 31), "MNQH27"),
        (date(2026, 3, 12), "MNQM26"),
    ],
)
def test_the_front_contract_rolls_eight_days_before_the_third_friday(day, contract):
    assert front_contract("MNQ", day).contract == contract


def test_third_fridays_are_found_in_any_month():
    assert third_friday(2026, 12) == date(2026, 12, 18)
    assert third_friday(2024, 3) == date(2024, 3, 15)
