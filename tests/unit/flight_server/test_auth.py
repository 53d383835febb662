import base64

import pytest

from core.errors import Forbidden, TooMuch, Unauthenticated
from flight_server.access import check_access
from flight_server.answers import sql_question
from flight_server.auth import RateLimiter, key_in
from flight_server.keys import Agent
from flight_server.tickets import parse_ticket
from tests.fakes.manual_clock import OPEN_NS


def agent(rate=10.0, scopes=("read",), symbols=None):
    return Agent("bot", "id", frozenset(scopes), symbols and frozenset(symbols), rate)


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, ""),
        ({"authorization": ["Bearer tf_a"]}, "tf_a"),
        ({"authorization": ["bEaReR   tf_a "]}, "tf_a"),
        ({"authorization": [basic("user:tf_a")]}, "tf_a"),
        ({"authorization": [basic("user:tf_a").rstrip("=")]}, "tf_a"),
        ({"authorization": [basic(":a:b")]}, "a:b"),
        ({"x-api-key": [" tf_a "]}, "tf_a"),
        ({"auth-token-bin": [b"tf_a"]}, "tf_a"),
        ({"authorization": ["Bearer tf_a"], "auth-token-bin": [b"tf_b"]}, "tf_a"),
    ],
)
def test_a_key_is_found_wherever_it_is(headers, key):
    assert key_in(headers) == key


@pytest.mark.parametrize("value", ["Digest x", "", "Basic ***", "Basic " + "\u00e9"])
def test_a_header_that_cannot_be_read_says_so_without_repeating_it(value):
    with pytest.raises(Unauthenticated) as caught:
        key_in({"authorization": [value]})
    assert caught.value.hint


def test_a_bucket_lets_a_burst_through_and_then_the_rate(manual_clock):
    rates = RateLimiter(manual_clock)
    for _ in range(10):
        rates.take(agent())
    with pytest.raises(TooMuch) as caught:
        rates.take(agent())
    assert "100 ms" in caught.value.hint
    manual_clock.advance_s(0.25)
    rates.take(agent())
    rates.take(agent())
    with pytest.raises(TooMuch):
        rates.take(agent())


def test_a_long_rest_saves_up_no_more_than_one_burst(manual_clock):
    rates = RateLimiter(manual_clock)
    rates.take(agent())
    manual_clock.advance_s(3_600)
    for _ in range(10):
        rates.take(agent())
    with pytest.raises(TooMuch):
        rates.take(agent())


def test_a_rate_below_one_a_second_still_lets_a_call_through(manual_clock):
    rates = RateLimiter(manual_clock)
    rates.take(agent(0.1))
    with pytest.raises(TooMuch):
        rates.take(agent(0.1))
    manual_clock.advance_s(10)
    rates.take(agent(0.1))


@pytest.mark.parametrize(
    ("ticket", "symbols", "is_allowed"),
    [
        ("gex:MNQ", ("MNQ",), True),
        ("gex:MNQ", ("NQ_NDX",), True),
        ("gex:NQ_NDX", ("NQ_NDX",), True),
        ("gex:NQ_NDX", ("NQ",), True),
        ("gex:ES_SPX", ("NQ",), False),
        ("ticks:NQ_NDX", ("NQ",), False),
        ("gex:SPY", ("MNQ",), False),
        ("latest:MNQ,SPY", ("MNQ",), False),
        ("latest:*", ("MNQ",), True),
        ("tail:MNQ", ("MNQ",), True),
    ],
)
def test_symbols_are_judged_as_they_were_asked(ticket, symbols, is_allowed):
    ask = parse_ticket(ticket.encode(), now_ns=OPEN_NS)
    if is_allowed:
        check_access(agent(symbols=symbols), ask)
        return
    with pytest.raises(Forbidden):
        check_access(agent(symbols=symbols), ask)


def test_sql_shows_a_key_for_a_root_the_ticker_its_gamma_is_under():
    ask = parse_ticket(b"SELECT * FROM gex", now_ns=OPEN_NS)
    assert sql_question(agent(symbols=("MNQ", "SPY")), ask).symbols == {"MNQ", "NQ_NDX", "SPY"}
    assert sql_question(agent(), ask).symbols is None
