import numpy as np
import pytest

from core.errors import FeedGarbled
from ingest.scale import find_scale

QUARTERS = 4800 + np.arange(40) * 0.25


def scale_of(prices, root, *, is_future=True, **more):
    return find_scale(np.array(prices, np.float32), root, is_future=is_future, **more)


@pytest.mark.parametrize(
    ("prices", "root", "scale"),
    [
        (QUARTERS, "ES", 1),
        (QUARTERS * 100, "ES", 100),
        (QUARTERS[:1] * 100, "ES", 100),
        (QUARTERS / 7 // 0.25 * 25, "ES", 100),
        ([4800, 4801, 4802], "ES", 1),
        ([4800], "MES", 1),
        (QUARTERS * 5 * 100, "NQ", 100),
        ([38_000, 38_001], "YM", 1),
        ([3_800_000, 3_800_100], "YM", 100),
        ([7012, 7013], "CL", 100),
    ],
    ids=[
        "unscaled",
        "scaled",
        "one trade",
        "a third of today's level",
        "whole points",
        "one whole point",
        "NQ",
        "YM",
        "YM scaled",
        "CL scaled",
    ],
)
def test_the_scale_of_known_futures_follows_from_their_steps_and_usual_prices(prices, root, scale):
    assert scale_of(prices, root) == scale


@pytest.mark.parametrize(
    ("prices", "root", "scale"),
    [
        ([475.12, 475.13], "SPY", 1),
        ([475, 476], "SPY", 1),
        ([47_512, 47_513], "SPY", 100),
        (np.arange(1642, 1680), "VIX", 100),
        (np.arange(47_512, 47_540), "ACME", 100),
    ],
    ids=["cents", "whole dollars", "scaled", "index", "unknown stock"],
)
def test_the_scale_of_stocks_and_indices(prices, root, scale):
    assert scale_of(prices, root, is_future=False) == scale


def test_a_reference_price_decides_between_powers_of_ten():
    assert scale_of([642_350], "XX", reference=6400.0) == 100
    assert scale_of([6423], "XX", reference=6400.0) == 1
    assert scale_of([6], "XX", reference=6400.0) == 1


def test_a_file_without_trades_needs_no_scale():
    assert scale_of([], "ES") == 1
    assert scale_of([np.nan, 0.0, -4.0], "ES") == 1


def test_whole_prices_of_an_unknown_future_are_refused_instead_of_guessed():
    with pytest.raises(FeedGarbled, match=r"may be 12345 or 123\.45"):
        scale_of([12_345], "XX")


def test_two_trades_of_an_unknown_stock_are_too_few_to_tell():
    with pytest.raises(FeedGarbled, match="only whole numbers"):
        scale_of([47_512, 47_513], "ACME", is_future=False)


def test_a_known_future_off_its_grid_is_refused():
    with pytest.raises(FeedGarbled, match=r"ES prices in steps of 0\.25"):
        scale_of([4800.1, 4800.2], "ES")


def test_a_known_future_far_from_its_usual_price_is_refused():
    with pytest.raises(FeedGarbled, match="near 5000, found 480025"):
        scale_of([480_025.25, 480_025.0], "ES")
