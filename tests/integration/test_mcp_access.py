"""`POST /mcp`: the protocol, who may ask, and what is refused before a tool is looked at."""

import json

import pytest

from core.clock import NS_PER_S
from flight_server.keys import SCOPES, TAPE_SCOPES, KeyRequest
from tests.fakes.mcp_desk import HOST, McpDesk, filled
from tests.unit.flight_server.house import wait_until
from webui.mcp import BODY_BYTES_MAX, CALLS_MAX
from webui.mcp_tools import BY_NAME, TOOLS


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    desk = filled(McpDesk(tmp_path_factory.mktemp("mcp")))
    yield desk
    desk.close()


def test_the_handshake_tells_who_we_are_and_how_to_use_it(desk):
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t"}}
    answer = desk.ask("initialize", params)
    assert answer.headers["content-type"] == "application/json"
    assert "mcp-session-id" not in answer.headers
    result = answer.json()["result"]
    assert result["protocolVersion"] == "2025-06-18"
    assert result["capabilities"] == {"tools": {}}
    assert result["serverInfo"]["name"] == "tickflight"
    assert "describe" in result["instructions"]
    note = desk.send('{"jsonrpc": "2.0", "method": "notifications/initialized"}')
    assert (note.status_code, note.content) == (202, b"")
    assert desk.ask("ping").json()["result"] == {"_meta": {}}


def test_the_tools_are_listed_in_one_order_and_only_read(desk):
    tools = desk.ask("tools/list").json()["result"]["tools"]
    assert [tool["name"] for tool in tools] == [tool.name for tool in TOOLS]
    assert set(BY_NAME) == {"describe", "latest", "bars", "ticks", "sql", "gex", "gaps"}
    assert all(tool["annotations"]["readOnlyHint"] for tool in tools)
    assert desk.ask("tools/list", {"cursor": "x"}).json()["error"]["code"] == -32602


def test_a_key_is_shown_the_tools_it_may_use(desk):
    key = desk.house.ring.create(KeyRequest("reader", ("read",)))
    tools = desk.ask("tools/list", key=key).json()["result"]["tools"]
    assert "sql" not in [tool["name"] for tool in tools]
    assert "bars" in [tool["name"] for tool in tools]


@pytest.mark.parametrize("method", ["resources/list", "nonsense", "server/discover"])
def test_an_unknown_method_is_an_error_of_the_protocol(desk, method):
    error = desk.ask(method).json()["error"]
    assert error["code"] == -32601
    assert method in error["message"]


def test_an_unknown_tool_and_odd_arguments_are_errors_of_the_protocol(desk):
    for params in ({"name": "drop"}, {"name": 7}, {}, {"name": "latest", "arguments": [1]}):
        assert desk.ask("tools/call", params).json()["error"]["code"] == -32602


def test_a_missing_wrong_revoked_or_expired_key_is_401(desk):
    ring = desk.house.ring
    revoked = ring.create(KeyRequest("gone"))
    expired = ring.create(KeyRequest("old", expires_ns=desk.house.clock.now_ns() + NS_PER_S // 5))
    assert desk.ask("ping", key=revoked).status_code == 200
    ring.revoke("gone")
    deadline_ns = desk.house.clock.now_ns() + NS_PER_S // 5
    wait_until(lambda: desk.house.clock.now_ns() > deadline_ns)
    bad = {"wrong": desk.house.key[:-3] + "AAA", "revoked": revoked, "expired": expired}
    bad |= {"form": "tf_nonsense", "key": "", "characters": "\t\x7f"}
    params = {"name": "latest", "arguments": {}}
    broken = {"name": "ticks", "arguments": {"limit": "x"}}
    for word, key in bad.items():
        for method, told in (
            ("initialize", {}), ("tools/list", {}), ("tools/call", params), ("tools/call", broken),
            ("tools/call", {"name": "nope"}), ("nonsense", {}),
        ):  # fmt: skip
            answer = desk.ask(method, told, key=key)
            assert answer.status_code == 401, (word, method)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["code"] == "unauthenticated"
    assert "revoked" in desk.ask("ping", key=revoked).json()["message"]
    assert desk.ask("ping", authorization=None).status_code == 401
    note = '{"jsonrpc": "2.0", "method": "notifications/initialized"}'
    assert desk.send(note, key="tf_nonsense").status_code == 401


def test_the_key_may_also_come_as_x_api_key(desk):
    answer = desk.ask("ping", authorization=None, x_api_key=desk.house.key)
    assert answer.status_code == 200


@pytest.mark.parametrize("tool", ["latest", "bars", "ticks", "gex", "sql"])
def test_a_key_without_the_scope_is_told_which_one_it_lacks(desk, tool):
    scope = BY_NAME[tool].scope
    others = tuple(name for name in SCOPES if name != scope)
    key = desk.house.ring.create(KeyRequest(f"no-{tool}", others))
    arguments = {"latest": {}, "sql": {"sql": "SELECT 1"}}.get(tool, {"symbol": "MNQ"})
    error = desk.call(tool, key=key, **arguments)
    assert error["code"] == "forbidden"
    assert scope in error["message"]


def test_a_key_for_one_symbol_sees_no_other_through_any_tool(desk):
    key = desk.house.ring.create(KeyRequest("narrow", TAPE_SCOPES, ("SPY",)))
    for tool in ("bars", "ticks", "gex"):
        assert desk.call(tool, key=key, symbol="MNQ")["code"] == "forbidden"
    assert [row[0] for row in desk.call("latest", key=key)["rows"]] == ["SPY"]
    assert desk.call("sql", key=key, sql="SELECT DISTINCT symbol FROM trades")["rows"] == [["SPY"]]
    assert [row[1] for row in desk.call("gaps", key=key)["rows"]] == ["*"]
    assert desk.call("describe", key=key)["symbols"] == ["SPY"]


def test_the_rate_of_a_key_is_one_for_flight_and_for_this(desk):
    key = desk.house.ring.create(KeyRequest("slow", rate=2.0))
    assert desk.house.get("latest:MNQ", key).num_rows == 1
    assert desk.call("latest", key=key)["row_count"] == 3
    error = desk.call("latest", key=key)
    assert error["code"] == "too_much"
    assert "ms" in error["hint"]
    answer = desk.ask("tools/list", key=key)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"


def test_every_call_is_recorded_under_its_key_like_any_other(desk):
    key = desk.house.ring.create(KeyRequest("recorded", SCOPES))
    desk.ask("tools/list", key=key)
    desk.call("latest", key=key, symbols=["MNQ"])
    desk.call("bars", key=key, symbol="NOPE")
    before = desk.house.audit.noted_count
    desk.ask("ping", key="tf_nonsense")
    wait_until(lambda: desk.house.audit.noted_count > before)
    calls = [c for c in desk.house.calls() if c["key_name"] in ("recorded", "")]
    told = [(c["method"], c["ticket"][:10], c["outcome"]) for c in calls][-4:]
    assert told == [
        ("do_action", "whoami", "ok"),
        ("do_get", "latest:MNQ", "ok"),
        ("do_get", "bars:NOPE?", "unknown_symbol"),
        ("do_action", "", "unauthenticated"),
    ]
    assert calls[-3]["rows"] == 1
    # The server's own caller, and whom that one asks for.
    assert calls[-3]["peer"].startswith("ipv4:127.0.0.1:")
    assert calls[-3]["peer"].endswith(" for mcp 127.0.0.1")


def test_under_another_host_name_there_is_nothing(desk):
    answer = desk.ask("ping", host="evil.example:8877")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://127.0.0.1:8877", "http://127.0.0.1"]
)
def test_a_foreign_origin_is_refused_before_anything_is_read(desk, origin):
    answer = desk.ask("ping", origin=origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_our_own_origin_is_let_through(desk):
    assert desk.ask("ping", origin=f"http://{HOST}").status_code == 200


def test_a_body_that_is_too_long_is_refused(desk):
    fits = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "x": "y" * 120_000})
    assert desk.send(fits).status_code == 200
    answer = desk.send("x" * (BODY_BYTES_MAX + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_much")


def test_other_methods_and_media_types_are_refused(desk):
    for method in ("GET", "DELETE", "PUT"):
        answer = desk.send("", method=method)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        assert desk.ask("ping", content_type=kind).status_code == 415
    assert desk.ask("ping", accept="text/event-stream").status_code == 406
    for kind in ("application/json, text/event-stream", "*/*"):
        assert desk.ask("ping", accept=kind).status_code == 200


def test_what_is_no_message_is_400(desk):
    for raw in ("", "{", "[]", '{"jsonrpc": "2.0", "id": 1}'):
        answer = desk.send(raw)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] in (-32700, -32600)


def test_more_calls_than_may_be_under_way_are_told_to_wait(desk):
    slots = desk.endpoint._slots
    taken = [slots.acquire(blocking=False) for _ in range(CALLS_MAX)]
    assert all(taken)
    try:
        answer = desk.ask("ping")
    finally:
        slots.release(CALLS_MAX)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_much")
    assert desk.ask("ping").status_code == 200
