import functools
import re
from html.parser import HTMLParser

import anyio
import httpx
import pytest

from tests.unit.webui.site import Site
from webui.edge import HEADERS, Edge, own_names

VOID = ("meta", "link", "input", "br", "path", "rect")


def test_the_page_shows_services_symbols_and_ages(site):
    site.boards["ingest"].state("sealer", "degraded", "seal failed, trying again")
    site.publish()
    site.trade("MNQ", 24_916.25, age_s=2)
    site.look()
    answer = site.ask("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for text in ("degraded", "Sealer", "seal failed, trying again", "24,916.25", "MNQ", "2 s"):
        assert text in answer.text


def test_the_page_closes_every_element_it_opens(site):
    site.trade("MNQ", 1.0)
    site.look()

    class Checker(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attrs):
            if tag not in VOID:
                self.open.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(site.ask("/").text)
    assert checker.open == []


def test_names_and_details_cannot_carry_markup(site):
    site.trade("</script><b>", 1.0)
    site.boards["ingest"].state("<b>x</b>", "down", '"><img src=x onerror=alert(1)>')
    site.publish()
    site.look()
    page = site.ask("/").text
    assert "<img" not in page
    assert "<b>x" not in page
    assert page.count("</script>") == 2  # ours, and nobody ended a block early
    assert "&lt;/script&gt;" in page


def test_the_page_names_no_third_party(site):
    found = re.findall(r'(?:src|href)="([^"#]*)"', site.ask("/").text)
    assert all(link.startswith(("/", "data:image/svg+xml,")) for link in found), found
    assert not any(link.startswith("//") for link in found)


def test_an_empty_house_says_how_to_start(tmp_path):
    site = Site(tmp_path, has_store=False)
    for path in site.paths.run.iterdir():
        path.unlink()
    site.look()
    page = site.ask("/").text
    assert "Nothing is running" in page
    assert "tickflight up" in page
    assert "No trades yet" in page


def test_the_json_tells_what_the_page_tells(site):
    site.trade("MNQ", 24_916.25)
    status = site.ask("/api/status").json()
    assert status["state"] == "ok"
    assert [board["process"] for board in status["processes"]] == ["flight", "ingest"]
    assert status["symbols"][0]["price"] == 24_916.25
    assert status["tables"][0]["visible_seq"] == 1


def test_health_is_ok_while_the_needed_processes_live(site):
    site.boards["ingest"].state("dxlink", "down", "refused")
    site.publish()
    assert site.ask("/healthz").status_code == 200
    assert site.ask("/healthz").text == "ok\n"


def test_health_is_503_when_a_needed_process_is_silent(site):
    site.clock.advance_s(6)
    site.boards["flight"].publish(site.paths.status("flight"))
    answer = site.ask("/healthz")
    assert (answer.status_code, answer.text) == (503, "down\n")


def test_localhost_leads_to_the_one_origin(site):
    answer = site.ask("/data?x=1", host="localhost:8877")
    assert answer.status_code == 307
    assert answer.headers["location"] == "http://127.0.0.1:8877/data?x=1"


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/api/status"])
def test_what_monitors_ask_is_answered_at_localhost_too(site, path):
    assert site.ask(path, host="localhost:8877").status_code == 200


def test_who_comes_with_a_key_is_not_led_on_where_it_would_be_dropped(site):
    bearer = {"authorization": f"Bearer {site.key('eye', 'ui')}"}
    assert site.ask("/ui/status", host="localhost:8877", headers=bearer).status_code == 200


@pytest.mark.parametrize("path", ["/nope", "/market/NOPE", "/data/x"])
def test_a_browser_is_told_of_an_error_by_a_page_and_a_program_by_json(site, path):
    site.trade("MNQ", 1.0)
    site.look()
    page = site.ask(path, headers={"accept": "text/html,*/*"})
    assert page.status_code == 404
    assert "<h1" in page.text
    assert path in page.text or "NOPE" in page.text
    assert 'href="/"' in page.text
    plain = site.ask(path)
    assert (plain.status_code, set(plain.json())) == (404, {"code", "message", "id"})


def test_an_unknown_symbol_is_said_and_no_other_shown_in_its_place(site):
    site.trade("MNQ", 1.0)
    site.look()
    page = site.ask("/market/<NOPE>", headers={"accept": "text/html"}).text
    assert "&lt;NOPE&gt;" in page
    assert "none of the symbols shown; MNQ" in page


@pytest.mark.parametrize("host", ["127.0.0.1:8877", "[::1]:8877"])
def test_pages_are_served_under_our_own_names(site, host):
    assert site.ask("/", host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8877", "127.0.0.1", "127.0.0.1:80", "localhost", ""]
)
@pytest.mark.parametrize("path", ["/", "/api/status", "/static/x/app.css", "/nothing"])
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


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/status", "/static/x/app.css", "/nothing"])
def test_every_answer_carries_the_security_headers(site, path):
    headers = site.ask(path).headers
    assert HEADERS.items() <= dict(headers).items()
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/static/x/../app.py", 404, "not_found"),
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

    site.house.hub.gatherer.tape.symbols = fail
    with caplog.at_level("ERROR"):
        answer = site.ask("/api/status")
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
