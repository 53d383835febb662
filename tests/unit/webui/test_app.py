import functools
import re
from html.parser import HTMLParser

import anyio
import httpx
import pytest

from core.board import Board
from tests.fakes.manual_clock import OPEN_NS, ManualClock
from tests.fakes.plain_tape import PlainTape
from webui.app import Pages, make_app
from webui.edge import HEADERS, Edge, own_names

PORT = 8877
NAMES = own_names("127.0.0.1", PORT)


class Site:
    """The application over ASGI, without a socket."""

    def __init__(self, run_dir) -> None:
        self.clock = ManualClock()
        self.tape = PlainTape()
        self.run_dir = run_dir
        self.boards = {name: Board(name, self.clock) for name in ("flight", "ingest")}
        self.publish()

    def publish(self):
        for board in self.boards.values():
            board.publish(self.run_dir / f"{board.process}.status.json")

    def ask(self, path, *, method="GET", host="127.0.0.1:8877"):
        app = make_app(Pages(self.run_dir, self.tape, self.clock), NAMES)

        async def exchange():
            transport = httpx.ASGITransport(app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.request(method, path, headers={"host": host})

        return anyio.run(exchange)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_the_page_shows_services_symbols_and_watermarks(site):
    site.boards["ingest"].state("sealer", "degraded", "seal failed, trying again")
    site.publish()
    site.tape.trade("MNQ", 24_916.25, ts_us=OPEN_NS // 1000)
    site.clock.advance_s(2)
    answer = site.ask("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for text in ("degraded", "sealer", "seal failed, trying again", "24,916.25", "trades", "2 s"):
        assert text in answer.text


def test_the_page_closes_every_element_it_opens(site):
    site.tape.trade("MNQ", 1.0, ts_us=OPEN_NS // 1000)

    class Checker(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "link"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(site.ask("/").text)
    assert checker.open == []


def test_names_and_details_cannot_carry_markup(site):
    site.tape.trade("<script>alert(1)</script>", 1.0, ts_us=0)
    site.boards["ingest"].state("<b>x</b>", "down", '"><img src=x onerror=alert(1)>')
    site.publish()
    page = site.ask("/").text
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_the_page_names_no_third_party(site):
    page = site.ask("/").text
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == [
        "data:,",
        "/static/app.css",
        "/",
        "/api/status",
    ]


def test_an_empty_house_says_how_to_start(tmp_path):
    site = Site(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    assert "tickflight up" in site.ask("/").text


def test_the_json_tells_what_the_page_tells(site):
    site.tape.trade("MNQ", 24_916.25, ts_us=OPEN_NS // 1000)
    status = site.ask("/api/status").json()
    assert status["state"] == "ok"
    assert [board["process"] for board in status["processes"]] == ["flight", "ingest"]
    assert status["symbols"][0]["price"] == 24_916.25
    assert status["tables"][0] == {"table": "trades", "visible_seq": 12, "durable_seq": 10}


def test_health_is_ok_while_the_needed_processes_live(site):
    site.boards["ingest"].state("dxlink", "down", "refused")
    site.publish()
    assert site.ask("/healthz").status_code == 200
    assert site.ask("/healthz").text == "ok\n"


def test_health_is_503_when_a_needed_process_is_silent(site):
    site.clock.advance_s(6)
    site.boards["flight"].publish(site.run_dir / "flight.status.json")
    answer = site.ask("/healthz")
    assert (answer.status_code, answer.text) == (503, "down\n")


@pytest.mark.parametrize("host", ["127.0.0.1:8877", "localhost:8877", "[::1]:8877"])
def test_pages_are_served_under_our_own_names(site, host):
    assert site.ask("/", host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8877", "127.0.0.1", "127.0.0.1:80", "localhost", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/status", "/static/app.css", "/nothing"])
def test_under_any_other_name_there_is_nothing(site, host, path):
    answer = site.ask(path, host=host)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/uw", "/gex_history_url"])
def test_webhooks_are_reached_under_any_name_and_with_their_methods_alone(path):
    names = frozenset({"127.0.0.1:8877"})
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["method"])

    async def knock():
        transport = httpx.ASGITransport(Edge(app, names), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return (await client.get(path)).status_code

    def scope(method):
        headers = [(b"host", b"relay.example")]
        return {"type": "http", "method": method, "path": path, "headers": headers}

    for method in ("POST", "OPTIONS"):
        anyio.run(Edge(app, names), scope(method), None, None)
    assert seen == ["POST", "OPTIONS"]
    assert anyio.run(knock) == 404
    assert seen == ["POST", "OPTIONS"]


def test_health_answers_under_any_name(site):
    assert site.ask("/healthz", host="evil.example").status_code == 200


def test_a_configured_address_is_a_name_too_but_a_wildcard_is_not():
    assert "192.0.2.7:80" in own_names("192.0.2.7", 80)
    assert own_names("0.0.0.0", 80) == {"127.0.0.1:80", "localhost:80", "[::1]:80"}


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/status", "/static/app.css", "/nothing"])
def test_every_answer_carries_the_security_headers(site, path):
    headers = site.ask(path).headers
    assert HEADERS.items() <= dict(headers).items()
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/static/../app.py", 404, "not_found"),
        ("GET", "/static/%2e%2e/app.py", 404, "not_found"),
        ("POST", "/", 405, "method_not_allowed"),
        ("DELETE", "/api/status", 405, "method_not_allowed"),
    ],
)
def test_errors_have_one_shape(site, method, path, status, code):
    answer = site.ask(path, method=method)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message", "id"}
    assert answer.json()["code"] == code


def test_a_fault_of_ours_is_logged_and_leaves_without_its_cause(site, caplog):
    def fail():
        raise KeyError("/secret/path")

    site.tape.symbols = fail
    with caplog.at_level("ERROR"):
        answer = site.ask("/")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["id"] in caplog.text
    assert HEADERS.items() <= dict(answer.headers).items()


def test_head_is_answered_like_get(site):
    ask = functools.partial(site.ask, "/", method="HEAD")
    assert ask().status_code == 200
    assert ask().content == b""
