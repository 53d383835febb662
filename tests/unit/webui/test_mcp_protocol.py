import base64
import json

import pytest

from webui.mcp_protocol import (
    HANDSHAKE,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    VERSIONS,
    Fault,
    Message,
    agreed_version,
    bad_params,
    complete,
    parse_message,
    unknown_method,
)

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def body(method="tools/list", number=1, **params):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def modern(method="tools/list", name=None, meta=META, **headers):
    params = {"_meta": meta} | ({"name": name} if name else {})
    told = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
    told |= {"mcp-name": name} if name else {}
    told |= {word.replace("_", "-"): value for word, value in headers.items()}
    kept = [(word, value) for word, value in told.items() if value is not None]
    return parse_message(body(method, **params), kept)


def test_a_request_without_a_version_is_of_the_older_era():
    message = parse_message(body("ping", "a"), [])
    assert message == Message("a", "ping", {}, is_modern=False)


@pytest.mark.parametrize("version", HANDSHAKE)
def test_a_request_of_the_older_era_needs_no_other_headers(version):
    message = parse_message(body(), [("mcp-protocol-version", version)])
    assert isinstance(message, Message)
    assert not message.is_modern


def test_a_notification_has_no_id():
    raw = b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'
    assert parse_message(raw, []) == Message(None, "notifications/initialized", {}, False)


def test_a_request_of_the_newer_era_says_everything_itself():
    assert isinstance(modern(), Message)
    assert isinstance(modern("tools/call", "latest"), Message)


def test_a_name_that_no_header_can_hold_comes_as_base64():
    encoded = f"=?base64?{base64.b64encode('größe'.encode()).decode()}?="
    assert isinstance(modern("tools/call", "größe", mcp_name=encoded), Message)
    for broken in ("=?base64?!!?=", "=?base64?/w==?=", "größe "):
        assert modern("tools/call", "größe", mcp_name=broken).code == HEADER_MISMATCH


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp_method": None},
        {"mcp_method": "tools/call"},
        {"mcp_protocol_version": None},
        {"mcp_protocol_version": "2025-11-25"},
        {"name": "latest", "method": "tools/call", "mcp_name": "sql"},
        {"name": "latest", "method": "tools/call", "mcp_name": None},
    ],
)
def test_headers_that_differ_from_the_body_are_refused(headers):
    fault = modern(**headers)
    assert (fault.code, fault.status, fault.id) == (HEADER_MISMATCH, 400, 1)


def test_a_header_that_is_there_twice_is_refused():
    headers = [("mcp-protocol-version", "2025-11-25")] * 2
    assert parse_message(body(), headers).code == HEADER_MISMATCH


@pytest.mark.parametrize("missing", META)
def test_a_newer_request_must_carry_version_and_capabilities(missing):
    fault = modern(meta={name: value for name, value in META.items() if name != missing})
    assert (fault.code, fault.status) == (INVALID_PARAMS, 400)


def test_an_unknown_version_is_answered_with_those_that_are_known():
    fault = parse_message(body(), [("mcp-protocol-version", "1999-01-01")])
    assert (fault.code, fault.status) == (UNSUPPORTED_VERSION, 400)
    assert fault.answer()["error"]["data"] == {
        "supported": list(VERSIONS),
        "requested": "1999-01-01",
    }


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", PARSE_ERROR),
        (b"{", PARSE_ERROR),
        (b"\xff", PARSE_ERROR),
        (b"[" * 100_000, PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', INVALID_REQUEST),
        (b'"text"', INVALID_REQUEST),
        (b'{"id": 1, "method": "ping"}', INVALID_REQUEST),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {}}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', INVALID_PARAMS),
    ],
)
def test_what_is_no_message_is_a_fault_with_a_code(raw, code):
    fault = parse_message(raw, [])
    assert isinstance(fault, Fault)
    assert (fault.code, fault.status) == (code, 400)
    answer = fault.answer()
    assert answer["jsonrpc"] == "2.0"
    assert set(answer["error"]) == {"code", "message"}


def test_each_era_gets_its_own_form_of_an_answer():
    older, newer = parse_message(body(), []), modern()
    assert complete(older, {"tools": []}, {"name": "x"}) == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"tools": []},
    }
    result = complete(newer, {"tools": []}, {"name": "x"})["result"]
    assert result["resultType"] == "complete"
    assert result["_meta"] == {"io.modelcontextprotocol/serverInfo": {"name": "x"}}


def test_only_the_newer_era_gives_faults_of_a_request_a_status():
    older, newer = parse_message(body(), []), modern()
    assert [unknown_method(older).status, unknown_method(newer).status] == [200, 404]
    assert [bad_params(older, "").status, bad_params(newer, "").status] == [200, 400]


def test_the_handshake_takes_the_clients_version_or_offers_the_newest():
    assert agreed_version({"protocolVersion": "2025-06-18"}) == "2025-06-18"
    for other in ("2026-07-28", "1.0", None, 7):
        assert agreed_version({"protocolVersion": other}) == HANDSHAKE[0]
