"""The poller against a GEXBot on a real socket, with a store behind it that knows what it has."""

import json
import threading
from contextlib import contextmanager

import anyio
import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from core.board import Board
from core.clock import NS_PER_S
from core.session import Sessions
from core.settings import load_settings
from ingest.gexbot_client import Access, open_gexbot
from ingest.gexbot_plan import Plan
from ingest.gexbot_poller import PART, Place, Poller, start_poller
from tests.fakes import gexbot_made as made
from tests.fakes.deadline import until
from tests.fakes.gexbot_clock import ShiftedClock
from tests.fakes.gexbot_server import KEY, GexbotServer, error
from tests.unit.ingest.test_gex_tape import House

PATH = "/v2/NQ_NDX/classic/gex_zero"
RTH_NS = (made.OPEN_S + 3_600) * NS_PER_S
SATURDAY_NS = (made.OPEN_S + 86_400) * NS_PER_S


class Desk:
    """A poller that runs, and what it has told."""

    def __init__(self, root, gexbot, now_ns=RTH_NS):
        self.gexbot = gexbot
        self.clock = ShiftedClock(now_ns)
        self.house = House(root, self.clock)
        self.board = Board("ingest", self.clock)
        self.rejected = []
        self.stopping = threading.Event()

    @property
    def place(self):
        return Place(self.house.tape.append_new, self.rejected.extend, self.board)

    @contextmanager
    def polling(self, *tickers, base="/v2", key=KEY, period_s=0.02):
        access = Access(self.gexbot.url + base, key)

        async def live():
            async with open_gexbot(access, self.clock) as client:
                poller = Poller(client, self.place, Plan(Sessions()), self.clock, period_s=period_s)
                await poller.run(tickers, self.stopping)

        thread = threading.Thread(target=anyio.run, args=(live,))
        thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            thread.join()

    def part(self, name="gexbot NQ_NDX"):
        part = self.board.snapshot()["parts"].get(name)
        return part and part["state"]

    def counter(self, name):
        return self.board.snapshot()["counters"].get(f"gexbot.NQ_NDX.{name}", 0)


@pytest.fixture
def gexbot():
    with GexbotServer(made.OPEN_S + 3_590) as server:
        yield server


@pytest.fixture
def desk(tmp_path, gexbot):
    desk = Desk(tmp_path, gexbot)
    yield desk
    desk.house.store.close()


def test_a_second_is_stored_once_however_often_it_is_answered(desk, gexbot):
    with desk.polling("NQ_NDX"):
        until(lambda: desk.counter("repeats") >= 3)
        gexbot.second += 1
        until(lambda: desk.counter("rows") == 2)
    rows = desk.house.rows()
    assert [row["via"] for row in rows] == ["api", "api"]
    assert len(rows[0]["strikes"]) == 4
    assert rows[0]["extra"] is None
    gauges = desk.board.snapshot()["gauges"]
    assert 0 < gauges["gexbot.NQ_NDX.fetch_ms_p50"] <= gauges["gexbot.NQ_NDX.fetch_ms_p99"]
    assert "gexbot.NQ_NDX.store_ms_p95" in gauges
    assert 0 <= gauges["gexbot.NQ_NDX.stale_s"] < 60
    assert desk.part() == "ok"


def test_calls_carry_one_key_a_user_agent_and_keep_one_connection(desk, gexbot):
    with desk.polling("NQ_NDX", key=f"Bearer {KEY}"):
        until(lambda: gexbot.count(PATH) >= 5)
    call = next(call for call in gexbot.calls if call.path == PATH)
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["user-agent"] == "tickflight"
    assert call.query == {}
    assert gexbot.count("/v2/tickers") == 1
    assert len({call.port for call in gexbot.calls if call.path == PATH}) == 1


def test_the_old_api_takes_its_key_as_a_parameter():
    access = Access("https://api.gexbot.com", KEY)
    assert access.is_legacy
    assert access.params() == {"key": KEY}
    assert "authorization" not in access.headers()
    assert access.chain_path("NQ_NDX") == "/NQ_NDX/classic/zero"
    assert "s3cret" not in repr(access)
    for pasted in ("s3cret", KEY, f"Bearer {KEY}", f" Bearer {KEY} "):
        new = Access("https://api.gex.bot/v2", pasted)
        assert new.headers()["authorization"] == f"Bearer {KEY}"
        assert new.params() == {}


def test_each_ticker_goes_its_own_way(desk, gexbot):
    gexbot.answers["/v2/SPY/classic/gex_zero"] = [error(429, "Rate limit exceeded.")] * 50
    with desk.polling("NQ_NDX", "SPY"):
        until(lambda: desk.counter("polls") >= 5)
        assert desk.part("gexbot SPY") == "degraded"
        assert desk.part() == "ok"
    assert gexbot.count("/v2/SPY/classic/gex_zero") == 1


def test_too_many_calls_are_followed_by_the_wait_that_was_asked_for(desk, gexbot):
    gexbot.answers[PATH] = [error(429, "Rate limit exceeded.", {"retry-after": "120"})]
    with desk.polling("NQ_NDX"):
        until(lambda: desk.counter("slowed") == 1)
        until(lambda: desk.part() == "degraded")
        detail = desk.board.snapshot()["parts"]["gexbot NQ_NDX"]["detail"]
        assert "Rate limit exceeded." in detail
        assert "120.0 s" in detail
    assert gexbot.count(PATH) == 1


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (error(401, "Invalid API key."), "GEXBOT_API_KEY"),
        (error(403, "Your subscription does not include this."), "tier"),
        (error(404, "Not found."), "GEXBOT_TICKERS"),
        (error(400, "Authorization header not found."), "GEXBOT_"),
    ],
)
def test_a_refusal_stops_the_ticker_and_says_what_to_do(desk, gexbot, answer, word):
    gexbot.answers[PATH] = [answer]
    with desk.polling("NQ_NDX"):
        until(lambda: desk.part() == "down")
        assert word in desk.board.snapshot()["parts"]["gexbot NQ_NDX"]["detail"]
        until(lambda: desk.board.snapshot()["parts"][PART]["state"] == "ok")
    assert gexbot.count(PATH) == 1


def test_a_timeout_is_counted_and_the_next_moment_is_asked_again(desk, gexbot):
    gexbot.answers[PATH] = [JSONResponse(made.chain(made.OPEN_S)), 1.5]
    with desk.polling("NQ_NDX"):
        until(lambda: desk.counter("failures") == 1)
        until(lambda: desk.counter("rows") == 2)
    assert desk.counter("polls") < 80  # the moments that passed meanwhile are left out


def test_an_answer_that_drips_is_given_up_like_one_that_does_not_come(desk, gexbot):
    async def dripping():
        for _ in range(1_000):
            yield b" "
            await anyio.sleep(0.05)

    gexbot.answers[PATH] = [JSONResponse(made.chain(made.OPEN_S)), StreamingResponse(dripping())]
    with desk.polling("NQ_NDX"):
        until(lambda: desk.counter("failures") == 1)
        until(lambda: desk.counter("rows") == 2)


def test_a_new_connection_is_given_longer_than_one_that_stands(desk, gexbot):
    gexbot.answers[PATH] = [JSONResponse(made.chain(made.OPEN_S)), 1.5, 1.5]
    with desk.polling("NQ_NDX"):
        until(lambda: desk.counter("rows") == 2)
    assert desk.counter("failures") == 1, "the second slow answer came to a new connection"


def test_a_clock_that_steps_back_does_not_prolong_a_wait(desk, gexbot):
    gexbot.answers[PATH] = [error(429, "Rate limit exceeded.", {"retry-after": "1"})]
    with desk.polling("NQ_NDX"):
        until(lambda: desk.counter("slowed") == 1)
        desk.clock.step_s(-60)
        until(lambda: desk.counter("rows") == 1)


@pytest.mark.parametrize(
    "answer",
    [Response(b"busy", 503), RedirectResponse("/v2/tickers"), Response(b" " * 5_000_000)],
    ids=["503", "redirect", "too long"],
)
def test_what_is_no_answer_is_a_failure_and_nothing_is_stored(desk, gexbot, answer):
    gexbot.answers[PATH] = [answer]
    with desk.polling("NQ_NDX"):
        until(lambda: desk.counter("failures") == 1)
        until(lambda: desk.counter("rows") == 1)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"spot": NaN}',
        json.dumps(made.chain(ticker="SPX")).encode(),
        json.dumps(made.chain() | {"timestamp": None}).encode(),
        json.dumps({"error": "odd"}).encode(),
    ],
)
def test_a_body_that_is_no_snapshot_of_that_ticker_is_a_reject(desk, gexbot, body):
    gexbot.answers[PATH] = [Response(body)]
    with desk.polling("NQ_NDX"):
        until(lambda: desk.counter("rows") == 1)
    (kept,) = desk.rejected
    assert (kept.raw, kept.table, kept.symbol) == (body, "gex", "NQ_NDX")


def test_nothing_is_asked_while_the_market_is_closed(tmp_path, gexbot):
    desk = Desk(tmp_path, gexbot, SATURDAY_NS)
    with desk.polling("NQ_NDX"):
        until(lambda: desk.part() == "closed")
        until(lambda: gexbot.count("/v2/tickers") == 1)
    assert gexbot.count(PATH) == 0
    desk.house.store.close()


def test_without_a_key_the_poller_is_off_and_with_one_it_starts(tmp_path, gexbot):
    desk = Desk(tmp_path, gexbot)

    def settings(**more):
        return load_settings(more, environ={}, env_file=tmp_path / "none")

    assert start_poller(settings(), desk.place, desk.clock, desk.stopping) is None
    assert desk.part(PART) == "off"
    more = {"GEXBOT_API_KEY": KEY, "GEXBOT_BASE_URL": f"{gexbot.url}/v2"}
    thread = start_poller(
        settings(**more, GEXBOT_TICKERS="NQ_NDX"), desk.place, desk.clock, desk.stopping
    )
    until(lambda: desk.counter("rows") == 1)
    desk.stopping.set()
    thread.join()
    desk.house.store.close()
