"""The fakes are the real thing to a client we did not write, and our door opens onto them."""

import gc

import anyio
import pytest

from core.errors import FeedLost, FeedRefused
from ingest.tastytrade import Tastytrade
from tests.fakes.deadline import until
from tests.fakes.dxlink_rest import RestServer
from tests.fakes.dxlink_server import DxlinkServer


def ask(rest, question, secret="secret"):
    async def session():
        async with Tastytrade(rest.url, secret, "refresh") as door:
            return await question(door)

    return anyio.run(session)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_unmodified_sdk_streams_prints_from_the_fake():
    from tastytrade import DXLinkStreamer, Session
    from tastytrade.dxfeed import TimeAndSale

    async def listen(rest, server):
        session = Session("secret", "refresh")
        session._client.base_url = rest.url
        async with session, DXLinkStreamer(session) as streamer:
            await streamer.subscribe(TimeAndSale, ["SPY"])
            with anyio.fail_after(10):
                await anyio.to_thread.run_sync(until, lambda: server.clients[0].channels[13].items)
                fresh = await anyio.to_thread.run_sync(server.trade, 20, ["SPY"])
                plain = [e for e in fresh if e.bid != "NaN"]
                return plain, [await streamer.get_event(TimeAndSale) for _ in plain]

    with DxlinkServer() as server, RestServer(server.url) as rest:
        sent, got = anyio.run(listen, rest, server)
        assert [(e.index, float(e.price)) for e in got] == [(e.index, e.price) for e in sent]
        assert not server.violations
    gc.collect()  # the SDK leaves its streams open; let it be said in this test


def test_the_sdk_does_not_write_what_it_sees_into_the_log(caplog):
    with RestServer() as rest:
        ask(rest, lambda door: door.fetch_quote_token())
    assert not [record for record in caplog.records if record.name.startswith("tastytrade")]


def test_the_door_fetches_a_token_and_the_living_contracts():
    with RestServer("ws://127.0.0.1:9/realtime") as rest:
        token = ask(rest, lambda door: door.fetch_quote_token())
        assert (token.url, token.token, token.is_delayed) == (rest.dxlink_url, "QT-1", False)
        assert "QT-1" not in repr(token)
        front, following = ask(rest, lambda door: door.fetch_futures(["MNQ"]))
        assert (front.root, front.contract, front.is_front) == ("MNQ", "MNQZ26", True)
        assert (following.streamer_symbol, following.is_next) == ("/MNQH27:XCME", True)


def test_a_delayed_feed_is_told_apart_from_a_live_one():
    with RestServer("ws://127.0.0.1:9/delayed") as rest:
        assert ask(rest, lambda door: door.fetch_quote_token()).is_delayed


def test_wrong_credentials_are_refused_and_an_outage_is_worth_trying_again():
    with RestServer() as rest:
        with pytest.raises(FeedRefused, match="credentials") as refused:
            ask(rest, lambda door: door.fetch_quote_token(), secret="wrong")
        assert "wrong" not in str(refused.value)
        rest.failures = [(502, "<html>bad gateway</html>")]
        with pytest.raises(FeedLost):
            ask(rest, lambda door: door.fetch_quote_token())
    with pytest.raises(FeedLost):
        ask(rest, lambda door: door.fetch_quote_token())


@pytest.mark.parametrize(
    "answer",
    [
        (200, "<html>"),
        (200, []),
        (200, {"data": {"token": "QT"}}),
        (200, {"data": {"dxlink-url": 7, "token": "QT"}}),
        (200, {"data": ["QT"]}),
        (500, {"error": "sorry"}),
        (403, {"errors": []}),
    ],
)
def test_an_answer_in_another_form_is_an_outage_and_no_end(answer):
    with RestServer() as rest:
        rest.answers["/api-quote-tokens"] = answer
        with pytest.raises(FeedLost):
            ask(rest, lambda door: door.fetch_quote_token())


def test_a_contract_the_sdk_cannot_read_is_an_outage_and_no_end():
    with RestServer() as rest:
        del rest.futures[1]["tick-size"]
        with pytest.raises(FeedLost, match="form"):
            ask(rest, lambda door: door.fetch_futures(["MNQ"]))


@pytest.mark.parametrize(
    ("status", "body", "kind", "word"),
    [
        (400, {"error_code": "invalid_grant", "error_description": "no"}, FeedRefused, "grant"),
        (401, {"error_code": "invalid_client"}, FeedRefused, "invalid_client"),
        (403, {"error": {"code": "quote_streamer.customer_not_found_error", "message": "x"}},
         FeedRefused, "customer_not_found"),
        (429, {"error": {"code": "too_many_requests", "message": "x"}}, FeedLost, "too_many"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_by_its_code(status, body, kind, word):
    with RestServer() as rest:
        rest.failures = [(status, body)]
        with pytest.raises(kind, match=word):
            ask(rest, lambda door: door.fetch_quote_token())
