"""The talk of one connection: strict order, one token once, trouble kept to its channel."""

import orjson
import pytest

from core.errors import FeedLost
from ingest import dxlink_wire as wire
from ingest.dxlink_session import CHANNEL_TRIES_MAX, Session
from ingest.dxlink_wire import HISTORY, STREAM, TICKER, Item
from ingest.rolls import Instrument

SPY = Instrument("SPY", "SPY", "SPY", "nyse")
UNAUTHORIZED = {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"}
AUTHORIZED = {"type": "AUTH_STATE", "channel": 0, "state": "AUTHORIZED"}


@pytest.fixture
def session():
    return Session("QT-1", (SPY,), 30.0, 0)


def opened(channel):
    return {"type": "CHANNEL_OPENED", "channel": channel}


def types(messages):
    return [message["type"] for message in messages]


def make_live(session):
    for message in (UNAUTHORIZED, AUTHORIZED, *map(opened, (TICKER, STREAM, HISTORY))):
        session.receive(message)
    assert session.state == "live"


def test_each_word_waits_for_the_one_before_it(session):
    assert types(session.start()) == ["SETUP"]
    assert session.receive({"type": "SETUP", "channel": 0, "keepaliveTimeout": 60}) == []
    assert types(session.receive(UNAUTHORIZED)) == ["AUTH"]
    assert types(session.receive(AUTHORIZED)) == ["CHANNEL_REQUEST"] * 3
    assert types(session.receive(opened(STREAM))) == ["FEED_SETUP", "FEED_SUBSCRIPTION"]
    assert session.state == "opening"
    session.receive(opened(TICKER))
    session.receive(opened(HISTORY))
    assert session.state == "live"


def test_an_open_server_needs_no_token(session):
    assert types(session.receive(AUTHORIZED)) == ["CHANNEL_REQUEST"] * 3


def test_a_refused_token_ends_the_connection(session):
    session.receive(UNAUTHORIZED)
    with pytest.raises(FeedLost, match="refused"):
        session.receive(UNAUTHORIZED)


def test_an_expired_token_ends_the_connection(session):
    make_live(session)
    with pytest.raises(FeedLost, match="expired"):
        session.receive(UNAUTHORIZED)


def test_trouble_in_a_channel_stays_there(session):
    make_live(session)
    error = {"type": "ERROR", "channel": HISTORY, "error": "BAD_ACTION", "message": "too big"}
    assert session.receive(error) == []
    closed = session.receive({"type": "CHANNEL_CLOSED", "channel": HISTORY})
    assert closed == [wire.channel_request(HISTORY)]


def test_a_channel_that_never_stays_open_costs_the_connection(session):
    make_live(session)
    closed = {"type": "CHANNEL_CLOSED", "channel": STREAM}
    for _ in range(CHANNEL_TRIES_MAX):
        session.receive(closed)
    with pytest.raises(FeedLost, match="does not stay open"):
        session.receive(closed)


@pytest.mark.parametrize("error", ["TIMEOUT", "UNAUTHORIZED", "UNSUPPORTED_PROTOCOL"])
def test_an_error_of_the_whole_connection_ends_it(session, error):
    with pytest.raises(FeedLost, match=error):
        session.receive({"type": "ERROR", "channel": 0, "error": error, "message": "bye"})


def test_a_token_is_never_shown(session):
    assert "QT-1" not in repr(session)


def test_long_subscriptions_are_sent_in_short_messages():
    items = [Item("Quote", f"SYMBOL{number}") for number in range(2_000)]
    messages = wire.subscribe(TICKER, items, is_reset=True)
    assert max(len(orjson.dumps(message)) for message in messages) <= wire.CHUNK_BYTES
    assert sum(len(message["add"]) for message in messages) == 2_000
    assert [message.get("reset", False) for message in messages][:2] == [True, False]
