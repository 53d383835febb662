"""The webhooks over ASGI, in front of a real writer and its intake socket."""

import gzip
import json
from collections import Counter
from contextlib import contextmanager

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request

from core.board import Board
from core.clock import SystemClock
from core.settings import load_settings
from ingest.main import Ingest
from storage.paths import Paths
from tests.fakes import gexbot_made as made
from tests.fakes.manual_clock import ManualClock
from webui.edge import Edge, on_http_error
from webui.webhook_guard import Guard, GuardRules
from webui.webhooks import BATCH_BYTES_MAX, BODY_BYTES_MAX, LINK_BYTES_MAX, open_webhooks

HOST = "127.0.0.1:8877"
NAMES = frozenset({HOST})
PAGE = "https://unusualwhales.com"
FILE = "https://hist.gex.bot/gb-nqndx/2026-11-20_NQ_NDX_classic_gex_zero.json.gz"


def application(hooks):
    return Starlette(
        routes=hooks.routes(),
        middleware=[Middleware(Edge, names=NAMES)],
        exception_handlers={HTTPException: on_http_error},
    )


class Site:
    """A writer in this process, and the application in front of it."""

    def __init__(self, root, **more):
        values = {"DATA_DIR": str(root), **more}
        self.settings = load_settings(values, environ={}, env_file=root / "none")
        self.paths = Paths(root)
        self.clock = SystemClock()

    def start(self):
        self.ingest = Ingest(self.settings, self.clock, None)
        self.ingest.start()

    def ask(self, *requests):
        """Answers to requests, sent one after the other through one application."""
        board = Board("web", self.clock)
        hooks = open_webhooks(self.settings, NAMES, board, self.clock)
        app = application(hooks)

        async def exchange():
            transport = httpx.ASGITransport(app)
            base = f"http://{HOST}"
            async with (
                anyio.create_task_group() as house,
                httpx.AsyncClient(transport=transport, base_url=base) as client,
            ):
                house.start_soon(hooks.run)
                answers = [await client.request(**request) for request in requests]
                house.cancel_scope.cancel()
                return answers

        self.board = board
        return anyio.run(exchange)

    def post(self, body, path="/uw", **more):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask({"method": "POST", "url": path, "content": raw, **more})[0]

    def rows(self, table, symbol):
        reader = self.ingest.keeper.view().scan(table, symbol)
        return [row for batch in reader for row in batch.to_pylist()]


@contextmanager
def running_site(folder):
    """With its writer."""
    site = Site(folder)
    site.start()
    yield site
    site.ingest.stop()


@pytest.fixture
def site(tmp_path):
    with running_site(tmp_path) as site:
        yield site


@pytest.fixture
def tokened(tmp_path):
    """No writer: what these tests ask is refused before it would be needed."""
    return Site(tmp_path, WEBHOOK_TOKEN="sesame")


def test_a_snapshot_is_stored_when_it_is_answered_and_a_second_time_is_a_duplicate(site):
    answer = site.post(made.chain())
    assert answer.status_code == 202
    told = answer.json()
    assert told.items() >= {"status": "accepted", "kind": "gex_chain", "stored": 1}.items()
    assert told.items() >= {"ticker": "NQ_NDX", "duplicates": 0, "rejected": []}.items()
    (row,) = site.rows("gex", "NQ_NDX")
    assert row["via"] == "uw"
    assert [s["strike"] for s in row["strikes"]] == [s[0] for s in made.chain()["strikes"]]
    again = site.post(made.chain())
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    assert len(site.rows("gex", "NQ_NDX")) == 1


def test_every_kind_of_frame_goes_to_its_table_and_beacons_are_text(site):
    frames = [
        made.phoenix("option_trades_super_algo:NDX", made.option_trade()),
        made.phoenix("market_agg_socket", made.market_agg(), "market-state"),
        ["gex:SPY", made.uw_exposures()],
        {"topic": "gex", "payload": made.chain(ticker="MNQ")},
        [None, "7", "phoenix", "phx_reply", {"status": "ok", "response": {}}],
        [None, "8", "phoenix", "heartbeat", {}],
        {"weather": "fine"},
    ]
    headers = {"content-type": "text/plain;charset=UTF-8"}
    answer = site.post(frames, headers=headers)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["stored"], told["ignored"], told["stored_raw"]) == (4, 2, 1)
    assert len(site.rows("option_trades", "NDX")) == 1
    assert len(site.rows("market_agg", "MARKET")) == 1
    assert [row["package"] for row in site.rows("gex", "SPY")] == ["uw"]
    assert [row["ticker"] for row in site.rows("gex", "NQ_NDX")] == ["NQ_NDX"]
    (kept,) = site.rows("rejects", "*")
    assert json.loads(kept["raw"]) == {"weather": "fine"}


def test_an_unknown_shape_is_kept_whole_however_long_it_is(site):
    odd = {"weather": ["x" * 1_000] * 200}
    answer = site.post(odd)
    assert (answer.status_code, answer.json()["status"]) == (202, "stored_raw")
    parts = sorted(site.rows("rejects", "*"), key=lambda row: row["seq"])
    assert len(parts) == 4
    assert json.loads(b"".join(row["raw"] for row in parts)) == odd
    assert site.post({"not": "known"}).json()["status"] == "stored_raw"


def test_a_spoilt_snapshot_is_422_with_each_place_and_is_kept_as_a_reject(site):
    answer = site.post(made.chain() | {"spot": None, "timestamp": "yesterday"})
    assert answer.status_code == 422
    assert {part["path"] for part in answer.json()["detail"]} == {"spot", "timestamp"}
    assert answer.json()["code"] == "unprocessable"
    assert site.rows("gex", "NQ_NDX") == []
    (kept,) = site.rows("rejects", "*")
    assert "spot" in kept["reason"]


def test_in_a_batch_good_items_are_stored_beside_refused_ones(site):
    batch = [made.chain(made.OPEN_S + i) for i in range(3)] + [made.majors() | {"spot": -1}]
    answer = site.post(batch)
    assert answer.status_code == 202
    assert answer.json()["stored"] == 3
    assert [fault["path"] for fault in answer.json()["rejected"]] == ["[3].spot"]


def test_a_row_only_the_writer_refuses_is_told_as_rejected(site):
    ahead_ns = site.clock.now_ns() + 400 * 10**9
    site.clock = ManualClock(ahead_ns)
    answer = site.post([made.chain(ahead_ns // 10**9), made.chain()])
    assert answer.status_code == 202
    told = answer.json()
    assert (told["stored"], told["duplicates"], len(told["rejected"])) == (1, 0, 1)
    (kept,) = site.rows("rejects", "NQ_NDX")
    assert "ahead" in kept["reason"]


def test_posts_at_once_are_each_answered_for_their_own_rows(site):
    board = Board("web", site.clock)
    hooks = open_webhooks(site.settings, NAMES, board, site.clock)
    app = application(hooks)
    seconds = [made.OPEN_S + i // 2 for i in range(60)]  # each of them twice
    answers = []

    async def exchange():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:

            async def one(second):
                answers.append((await client.post("/uw", json=made.chain(second))).json()["status"])

            async with anyio.create_task_group() as house:
                house.start_soon(hooks.run)
                async with anyio.create_task_group() as senders:
                    for second in seconds:
                        senders.start_soon(one, second)
                house.cancel_scope.cancel()

    anyio.run(exchange)
    assert Counter(answers) == {"accepted": 30, "duplicate": 30}
    assert len(site.rows("gex", "NQ_NDX")) == 30
    board = hooks._board.snapshot()
    assert board["counters"]["webhook.rows"] == 30
    assert board["counters"]["webhook.duplicates"] == 30


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b'{"spot": NaN}', 400, "bad_request"),
        (b"\x1f\x8b\x08", 400, "bad_request"),
        (b"[" * 2_000 + b"]" * 2_000, 400, "bad_request"),
        (b"3", 422, "unprocessable"),
        (json.dumps({"a": "x" * BODY_BYTES_MAX}).encode(), 413, "too_large"),
        (json.dumps(["x" * BATCH_BYTES_MAX]).encode(), 413, "too_large"),
        (json.dumps([made.majors()] * 501).encode(), 422, "unprocessable"),
    ],
)
def test_no_error_is_answered_200_and_each_has_its_code(site, raw, status, code):
    answer = site.post(raw)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert {"code", "message", "id"} <= set(answer.json())


def test_a_byte_order_mark_is_no_part_of_the_json(site):
    assert site.post(b"\xef\xbb\xbf" + json.dumps(made.chain()).encode()).status_code == 202


def test_a_refusal_says_which_limit_was_passed_and_what_is_not_read(site):
    long = site.post(json.dumps({"a": "x" * BODY_BYTES_MAX}).encode())
    assert str(BODY_BYTES_MAX) in long.json()["message"]
    packed = gzip.compress(json.dumps(made.chain()).encode())
    answer = site.post(packed, headers={"content-encoding": "gzip"})
    assert answer.status_code == 400
    assert "compressed" in answer.json()["message"]


def test_a_long_body_is_refused_before_it_was_read(site):
    async def endless():
        while True:
            yield b" " * 65_536

    answer = site.ask({"method": "POST", "url": "/uw", "content": endless()})[0]
    assert answer.status_code == 413


def test_without_a_writer_the_sender_is_told_to_come_again(tmp_path):
    site = Site(tmp_path)
    answer = site.post(made.chain())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    site.start()
    assert site.post(made.chain()).status_code == 202
    site.ingest.stop()


def test_a_writer_that_was_started_again_is_found_again(site):
    first, second = made.chain(), made.chain(made.OPEN_S + 1)
    requests = [{"method": "POST", "url": "/uw", "json": one} for one in (first, second)]
    assert [answer.status_code for answer in site.ask(*requests)] == [202, 202]
    site.ingest.stop()
    site.start()
    statuses = [answer.json()["status"] for answer in site.ask(*requests)]
    assert statuses == ["duplicate", "duplicate"]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 401),
        ({"headers": {"x-webhook-token": "wrong"}}, 401),
        ({"headers": {"authorization": "Basic sesame"}}, 401),
        ({"params": {"token": ""}}, 401),
        ({"headers": {"x-webhook-token": "sesame"}}, 503),
        ({"headers": {"authorization": "Bearer sesame"}}, 503),
        ({"params": {"token": "sesame"}}, 503),
        ({"params": {"token": "sesame"}, "headers": {"host": "relay.example"}}, 503),
        ({"params": {"token": "sesame"}, "headers": {"origin": "https://evil.example"}}, 403),
        ({"params": {"token": "sesame"}, "headers": {"origin": "null"}}, 403),
        ({"params": {"token": "sesame"}, "headers": {"origin": PAGE}}, 503),
    ],
)
@pytest.mark.parametrize("path", ["/uw", "/gex_history_url"])
def test_a_token_opens_under_any_name_and_nothing_else_does(tokened, path, more, status):
    answer = tokened.post({"x": 1}, path, **more)
    expected = 422 if path != "/uw" and status == 503 else status  # let in, then judged
    assert answer.status_code == expected
    assert "sesame" not in answer.text


@pytest.mark.parametrize("host", ["relay.example", "127.0.0.1:80", "evil.example:8877"])
def test_without_a_token_only_this_machine_posts_and_under_its_own_names(site, host):
    answer = site.post(made.chain(), headers={"host": host})
    assert answer.status_code == 403
    assert site.rows("gex", "NQ_NDX") == []


def test_a_page_that_is_not_listed_cannot_post_even_as_plain_text(site):
    headers = {"origin": "https://evil.example", "content-type": "text/plain"}
    answer = site.post(made.chain(), headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert site.rows("gex", "NQ_NDX") == []


def test_a_listed_page_may_ask_beforehand_also_from_the_outer_network(site):
    asked = {"method": "OPTIONS", "url": "/uw"}
    headers = {"origin": PAGE, "access-control-request-method": "POST"}
    headers["access-control-request-private-network"] = "true"
    fine, evil, none = site.ask(
        asked | {"headers": headers},
        asked | {"headers": headers | {"origin": "https://evil.example"}},
        asked,
    )
    assert fine.status_code == 204
    assert fine.headers["access-control-allow-origin"] == PAGE
    assert fine.headers["access-control-allow-private-network"] == "true"
    assert "x-webhook-token" in fine.headers["access-control-allow-headers"]
    assert (evil.status_code, none.status_code) == (403, 403)
    assert "access-control-allow-origin" not in evil.headers
    answer = site.post(made.chain(), headers={"origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_other_methods_have_no_answer(site):
    answers = site.ask(*({"method": m, "url": "/uw"} for m in ("GET", "PUT", "DELETE")))
    assert {answer.status_code for answer in answers} == {405}


def test_an_address_that_posts_too_often_waits_and_others_do_not():
    clock = ManualClock()
    guard = Guard(GuardRules(NAMES, frozenset(), "", posts_per_s=10, burst=5), clock)

    def statuses(address, count):
        scope = {"type": "http", "headers": [(b"host", HOST.encode())], "client": (address, 1)}
        refusals = [guard.refusal(Request(scope)) for _ in range(count)]
        return [refusal.status_code if refusal else 200 for refusal in refusals]

    assert statuses("127.0.0.1", 7) == [200] * 5 + [429] * 2
    assert statuses("127.0.0.2", 1) == [200]
    clock.advance_s(0.2)
    assert statuses("127.0.0.1", 3) == [200, 200, 429]


@pytest.mark.parametrize(
    "body",
    [
        {"url": f"{FILE}?sv=1&sig=EXAMPLE%3D"},
        {"url": f"{FILE}?sig=EXAMPLE", "gex_type": "gex_zero", "ticker": "NDX"},
        {"signed_url": f"{FILE}?sig=EXAMPLE", "metadata": {"page": "hist"}},
        f"{FILE}?sig=EXAMPLE",
    ],
)
def test_a_link_is_queued_once_with_its_place_to_look_and_never_shown(site, body):
    answer = site.post(body, "/gex_history_url")
    assert answer.status_code == 202
    told = answer.json()
    assert told["status"] == "queued"
    series = {"ticker": "NQ_NDX", "package": "classic", "category": "gex_zero"}
    assert told.items() >= (series | {"date": "2026-11-20", "host": "hist.gex.bot"}).items()
    assert answer.headers["location"] == f"/api/gex/jobs/{told['job_id']}"
    again = site.post(body, "/gex_history_url")
    assert (again.status_code, again.json()["job_id"]) == (200, told["job_id"])
    page, missing = site.ask(
        {"method": "GET", "url": answer.headers["location"]},
        {"method": "GET", "url": "/api/gex/jobs/999"},
    )
    assert page.json()["ticker"] == "NQ_NDX"
    assert missing.status_code == 404
    for text in (answer.text, again.text, page.text):
        assert "EXAMPLE" not in text


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"url": "https://hist.gex.bot@198.51.100.7/2026-11-20_SPX_classic_gex_zero.json"}, "url"),
        ({"url": "https://example.net/?u=hist.gex.bot/x.json", "ticker": "../../etc"}, "url"),
        ({"link": FILE}, "url"),
        ({"url": "https://hist.gex.bot/some.json"}, "ticker"),
        ([FILE], ""),
        (7, ""),
    ],
)
def test_a_link_that_may_not_be_followed_is_422_and_says_why(site, body, path):
    answer = site.post(body, "/gex_history_url")
    assert answer.status_code == 422
    assert path in {part["path"] for part in answer.json()["detail"]}


def test_a_link_may_not_be_a_book(site):
    answer = site.post({"url": "x" * LINK_BYTES_MAX}, "/gex_history_url")
    assert answer.status_code == 413
