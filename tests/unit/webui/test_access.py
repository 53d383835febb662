import json
import re

import pytest
from starlette.websockets import WebSocketDisconnect

from core.clock import NS_PER_S
from core.errors import SettingsError
from core.settings import load_settings
from flight_server.keys import KeyRing
from storage.disk import OsDisk
from tests.unit.webui.site import FROM_US, HOST, Site
from webui.sessions import FREE_FAILURES, IDLE_NS, LIFE_NS, LINK_S, make_link

PAGES = ("/", "/market", "/data", "/queries", "/keys", "/events")
ANSWERS = (
    "/ui/status",
    "/ui/bars?symbol=MNQ",
    "/ui/sample?symbol=MNQ",
    "/ui/cols?symbol=MNQ",
    "/api/status",
    "/api/samples",
)
CHANGES = ("/ui/keys", "/ui/keys/revoke", "/ui/sessions/end")


def log_in(site, body, **headers):
    return site.ask("/ui/login", method="POST", json=body, headers={**FROM_US, **headers})


def let_in(site):
    """Log in by a link; give the session's name in lists."""
    answer = log_in(site, {"link": make_link(site.paths.links, site.clock)})
    assert answer.status_code == 200
    return site.house.sessions.alive()[0].id


@pytest.mark.parametrize("path", PAGES)
def test_whoever_is_not_known_is_sent_to_the_login(locked, path):
    answer = locked.ask(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={path}"


@pytest.mark.parametrize("path", ANSWERS)
def test_programs_without_a_key_are_told_so(locked, path):
    answer = locked.ask(path)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


@pytest.mark.parametrize("path", [*PAGES, "/ui/status"])
def test_a_demo_lets_in_who_comes_from_this_machine_and_nobody_else(site, path):
    assert site.ask(path).status_code in (200, 303)
    assert site.ask(path, client="192.0.2.9").status_code in (303, 401)


def test_a_link_opens_one_session_once(locked):
    secret = make_link(locked.paths.links, locked.clock)
    assert log_in(locked, {"link": secret}).status_code == 200
    assert locked.ask("/").status_code == 200
    again = log_in(locked, {"link": secret})
    assert again.status_code == 401
    assert "tickflight ui" in again.json()["message"]


def test_a_link_is_good_for_a_minute(locked):
    secret = make_link(locked.paths.links, locked.clock)
    locked.clock.advance_s(LINK_S + 1)
    assert log_in(locked, {"link": secret}).status_code == 401


def test_neither_links_nor_sessions_are_written_down_as_they_are(locked):
    secret = make_link(locked.paths.links, locked.clock)
    assert [path.name for path in locked.paths.links.iterdir()] != [secret]
    log_in(locked, {"link": secret})
    cookie = locked.cookies.get(f"tickflight_{HOST.split(':')[1]}")
    assert len(cookie) >= 43
    everything = "".join(
        p.read_text(errors="replace") for p in locked.paths.root.iterdir() if p.is_file()
    )
    assert cookie not in everything
    assert secret not in everything


def test_a_key_with_scope_ui_opens_the_pages_and_another_does_not(locked):
    assert log_in(locked, {"key": locked.key("bot", "read", "sql")}).status_code == 401
    assert log_in(locked, {"key": locked.key("eye", "ui")}).status_code == 200
    assert locked.ask("/").status_code == 200


def limited_by_hand(site):
    """A key of scope ui with a list of symbols, as an earlier version would have made it."""
    key = site.key("eye", "ui")
    ring = json.loads(site.paths.keys.read_text())
    ring["keys"][0]["symbols"] = ["SPY"]
    site.paths.keys.write_text(json.dumps(ring))
    site.clock.advance_s(1)  # files changed by hand are seen a moment later
    return key


def test_no_key_is_made_that_opens_the_pages_and_may_see_some_symbols_only(locked):
    with pytest.raises(SettingsError, match="the dashboard shows all of them"):
        locked.key("eye", "ui", symbols=("SPY",))


def test_a_key_limited_to_symbols_opens_no_page_and_no_answer_that_shows_all(locked):
    key = limited_by_hand(locked)
    bearer = {"authorization": f"Bearer {key}"}
    assert log_in(locked, {"key": key}).status_code == 401
    for path in ("/", "/data", "/ui/status", "/ui/sample?symbol=SPY"):
        answer = locked.ask(path, headers=bearer)
        assert answer.status_code == 403
        assert "limited to SPY" in answer.json()["message"]


def test_a_session_ends_once_its_key_is_limited(locked):
    key = locked.key("eye", "ui")
    log_in(locked, {"key": key})
    assert locked.ask("/").status_code == 200
    locked.paths.keys.write_text(locked.paths.keys.read_text().replace("[]", '["SPY"]'))
    locked.clock.advance_s(1)
    assert locked.ask("/").status_code == 303


def test_programs_with_a_limited_key_learn_of_their_symbols_alone(locked):
    for symbol in ("MNQ", "SPY"):
        locked.trade(symbol, 100.0)
    locked.look()
    bearer = {"authorization": f"Bearer {locked.key('bot', 'read', symbols=('SPY',))}"}
    told = locked.ask("/api/status", headers=bearer).json()["symbols"]
    assert [row["symbol"] for row in told] == ["SPY"]
    assert locked.ask("/metrics", headers=bearer).status_code == 403


def test_a_session_by_a_key_without_admin_makes_no_keys(locked):
    log_in(locked, {"key": locked.key("eye", "ui")})
    answer = locked.ask("/ui/keys", method="POST", json={"name": "x"}, headers=FROM_US)
    assert answer.status_code == 403


@pytest.mark.parametrize("gap_ns", [IDLE_NS, LIFE_NS])
def test_sessions_end_by_themselves(locked, gap_ns):
    let_in(locked)
    locked.clock.advance_ns(gap_ns + NS_PER_S)
    assert locked.ask("/").status_code == 303


def test_use_keeps_a_session_open_but_not_for_ever(locked):
    let_in(locked)
    for _ in range(LIFE_NS // (IDLE_NS // 2)):
        locked.clock.advance_ns(IDLE_NS // 2)
        assert locked.ask("/").status_code == 200
    locked.clock.advance_ns(NS_PER_S)
    assert locked.ask("/").status_code == 303


def test_sessions_outlive_a_restart_of_the_web_process(locked, tmp_path):
    let_in(locked)
    again = Site(tmp_path, is_demo=False, has_store=False)
    again.cookies = locked.cookies
    assert again.ask("/").status_code == 200


def test_logging_out_ends_the_session(locked):
    let_in(locked)
    assert locked.ask("/ui/logout", method="POST", json={}, headers=FROM_US).status_code == 200
    assert locked.house.sessions.alive() == []


def test_failed_logins_have_to_wait_longer_and_longer(locked):
    for _ in range(FREE_FAILURES):
        assert log_in(locked, {"link": "guess"}).status_code == 401
    assert log_in(locked, {"link": "guess"}).status_code == 429
    locked.clock.advance_s(1.1)
    assert log_in(locked, {"link": "guess"}).status_code == 401
    locked.clock.advance_s(1.1)
    assert log_in(locked, {"link": "guess"}).status_code == 429
    assert "login refused" in locked.ask("/healthz").text or locked.house.journal.newest(1)


@pytest.mark.parametrize("path", [*CHANGES, "/ui/login", "/ui/logout"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:8877"},
        {"origin": "https://127.0.0.1:8877"},
        {"origin": "null"},
        {**FROM_US, "sec-fetch-site": "same-site"},
        {**FROM_US, "sec-fetch-site": "cross-site"},
    ],
)
def test_changes_come_from_our_own_pages_alone(site, path, headers):
    answer = site.ask(path, method="POST", json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("path", [*CHANGES, "/ui/login", "/ui/logout"])
@pytest.mark.parametrize(
    "form", [{"data": {"name": "x"}}, {"content": b"{}", "headers": {"content-type": "text/plain"}}]
)
def test_changes_are_json_alone(site, path, form):
    headers = {**FROM_US, **form.get("headers", {})}
    answer = site.ask(path, method="POST", **{**form, "headers": headers})
    assert (answer.status_code, answer.json()["code"]) == (415, "not_json")


@pytest.mark.parametrize("origin", ["http://127.0.0.1:9999", "http://evil.example", "null"])
def test_the_socket_is_for_our_own_pages_alone(site, origin):
    with pytest.raises(WebSocketDisconnect), site.socket(origin=origin):
        pass


def test_the_socket_is_not_there_under_another_name(site):
    with pytest.raises(WebSocketDisconnect), site.socket(host="evil.example"):
        pass


def test_the_socket_wants_a_login(locked):
    with pytest.raises(WebSocketDisconnect), locked.socket():
        pass
    let_in(locked)
    with locked.socket() as socket:
        assert socket.receive_json()["hello"]["build"]


def test_ending_a_session_closes_its_sockets(locked):
    session_id = let_in(locked)
    with locked.socket() as socket:
        socket.receive_json()
        answer = locked.ask(
            "/ui/sessions/end", method="POST", json={"id": session_id}, headers=FROM_US
        )
        assert answer.status_code == 200
        socket.send_json({"sub": ["status"]})
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 4401


def test_a_program_with_a_key_needs_no_origin(locked):
    bearer = {"authorization": f"Bearer {locked.key('ops', 'admin')}"}
    made = locked.ask(
        "/ui/keys", method="POST", json={"name": "bot", "scopes": ["read"]}, headers=bearer
    )
    assert made.status_code == 201
    assert re.fullmatch(r"tf_\w{8}_[\w-]{43}", made.json()["key"])


def test_a_wrong_key_is_refused_and_not_repeated(locked):
    bearer = {"authorization": f"Bearer tf_{'a' * 8}_{'b' * 43}"}
    answer = locked.ask("/api/status", headers=bearer)
    assert answer.status_code == 401
    assert "b" * 43 not in answer.text


def test_a_revoked_key_opens_nothing_from_the_next_call_on(locked):
    ops = {"authorization": f"Bearer {locked.key('ops', 'admin')}"}
    eye = {"authorization": f"Bearer {locked.key('eye', 'ui')}"}
    assert locked.ask("/ui/status", headers=eye).status_code == 200
    wrong = locked.ask(
        "/ui/keys/revoke", method="POST", json={"name": "eye", "confirm": "ey"}, headers=ops
    )
    assert wrong.status_code == 400
    right = {"name": "eye", "confirm": "eye"}
    assert locked.ask("/ui/keys/revoke", method="POST", json=right, headers=ops).status_code == 200
    assert locked.ask("/ui/status", headers=eye).status_code == 401


def test_a_session_opened_with_a_key_ends_with_that_key(locked):
    log_in(locked, {"key": locked.key("eye", "ui")})
    assert locked.ask("/").status_code == 200
    ring = KeyRing(locked.paths.keys, disk=OsDisk(), clock=locked.clock)
    ring.revoke("eye")
    assert locked.ask("/").status_code == 303
    assert locked.house.sessions.alive() == []


def test_a_new_key_is_told_once_and_stands_in_no_page(site):
    body = {"name": "bot", "scopes": ["read"], "symbols": ["mnq"], "rate": "50/s", "expires": "30d"}
    key = site.ask("/ui/keys", method="POST", json=body, headers=FROM_US).json()["key"]
    site.look()
    for path in (*PAGES, *ANSWERS):
        assert key not in site.ask(path).text
        assert key[12:] not in site.ask(path).text
    page = site.ask("/keys").text
    assert "bot" in page
    assert f"{key[:7]}…" in page
    assert "MNQ" in page


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["read"]},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": "read"},
        {"name": "x", "scopes": ["read"], "rate": "fast"},
        {"name": "x", "scopes": ["read"], "expires": "soon"},
        {"name": 7},
    ],
)
def test_a_key_that_cannot_be_is_refused_with_its_reason(site, body):
    answer = site.ask("/ui/keys", method="POST", json=body, headers=FROM_US)
    assert answer.status_code == 400
    assert answer.json()["message"]


def test_a_body_has_an_end(site):
    answer = site.ask("/ui/keys", method="POST", json={"name": "x" * 20_000}, headers=FROM_US)
    assert answer.status_code == 413


def test_no_setting_that_is_secret_is_in_any_answer(tmp_path):
    planted = "s3cr3t-planted-value"
    names = (
        *("TASTYTRADE_CLIENT_SECRET", "TASTYTRADE_REFRESH_TOKEN"),
        *("GEXBOT_API_KEY", "WEBHOOK_TOKEN"),
    )
    site = Site(tmp_path)
    given = {"DATA_DIR": str(tmp_path), "REDIS_URL": f"redis://:{planted}@127.0.0.1/0"}
    given |= dict.fromkeys(names, planted)
    settings = load_settings(given, environ={}, env_file=tmp_path / "no.env")
    site.house.hub.gatherer.settings = settings
    site.trade("MNQ", 24_916.25)
    site.look()
    for path in (*PAGES, *ANSWERS):
        assert planted not in site.ask(path).text
    site.close()


def test_a_first_start_names_what_is_missing_and_shows_no_value(tmp_path):
    site = Site(tmp_path, has_store=False)
    given = {"DATA_DIR": str(tmp_path), "GEXBOT_API_KEY": "s3cr3t-planted-value"}
    site.house.hub.gatherer.settings = load_settings(given, environ={}, env_file=tmp_path / "no")
    site.look()
    page = site.ask("/").text
    assert "missing in .env: TASTYTRADE_CLIENT_SECRET, TASTYTRADE_REFRESH_TOKEN" in page
    assert "missing in .env: GEXBOT_API_KEY" not in page
    assert "s3cr3t" not in page


def test_a_page_remembers_where_one_wanted_to_go_but_never_elsewhere(locked):
    assert locked.ask("/events").headers["location"] == "/login?next=/events"
    assert locked.ask("/login?next=//evil.example").status_code == 200
