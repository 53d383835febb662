"""What clients put on the wire, in front of a real web process: order, honesty and bounds."""

import re
import socket
from contextlib import suppress

import pytest

from tests.unit.webui.test_main import connected, told, web
from webui.requests import HEAD_BYTES_MAX, WAITING_MAX


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with web(tmp_path_factory.mktemp("wire"), "demo") as (process, port):
        yield process, port


@pytest.fixture
def port(site):
    return site[1]


def head(port, line, *more):
    lines = [line + b" HTTP/1.1", b"host: 127.0.0.1:%d" % port, *more]
    return b"\r\n".join([*lines, b"", b""])


def statuses(answer):
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def answers(port, *parts):
    """The statuses of all answers, until the server hangs up."""
    with connected(port) as connection:
        for part in parts:
            connection.sendall(part)
        return statuses(told(connection))


CHUNKED = (b"content-type: application/json", b"transfer-encoding: chunked")
SOCKET = (
    b"connection: upgrade",
    b"upgrade: websocket",
    b"sec-websocket-version: 13",
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)
H2C = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABk")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_what_cannot_be_read_is_refused_behind_the_answers_that_are_due(port, method):
    good = head(port, method + b" /login")
    assert answers(port, good + good + b"BAD\r\n\r\n") == [200, 200, 400]


def test_a_body_that_cannot_be_read_does_not_take_an_earlier_answer_along(port):
    good = head(port, b"GET /login")
    bad = head(port, b"POST /uw", *CHUNKED) + b"2\r\n{}\r\nzz\r\n"
    assert answers(port, good + bad) == [200, 400]
    assert answers(port, bad) == [400]


def test_a_socket_is_not_opened_into_an_answer_that_is_due(port):
    good = head(port, b"GET /login")
    assert answers(port, good + head(port, b"GET /ui/stream", *SOCKET)) == [200, 400]


def test_a_socket_that_comes_with_a_body_is_answered(port):
    asked = head(port, b"GET /ui/stream", *SOCKET, b"content-length: 2")
    assert answers(port, asked + b"{}") == [400]


@pytest.mark.parametrize("more", [(), H2C])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_who_would_rather_speak_another_protocol_loses_no_body(port, more, is_chunked):
    body = b'{"password": 1}'
    length = b"transfer-encoding: chunked" if is_chunked else b"content-length: %d" % len(body)
    sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if is_chunked else body
    post = head(port, b"POST /gex_history_url", b"content-type: application/json", length, *more)
    last = head(port, b"GET /login", b"connection: close")
    with connected(port) as connection:
        connection.sendall(post + sent + last)
        answer = told(connection)
    assert statuses(answer) == [422, 200]


def test_a_tunnel_is_not_opened(port):
    assert answers(port, head(port, b"CONNECT 127.0.0.1:80")) == [400]


def test_no_more_requests_are_read_ahead_than_may_wait(port):
    many = head(port, b"GET /login") * 3 * WAITING_MAX
    assert answers(port, many) == [200] * (1 + WAITING_MAX) + [429]


@pytest.mark.parametrize("part", [b"x: " + b"y" * 8_000 + b"\r\n", b"y" * 8_000])
def test_what_follows_a_body_has_an_end(port, part):
    begin = head(port, b"POST /uw", *CHUNKED) + b"2\r\n{}\r\n0\r\na: "
    answer = b""
    with connected(port) as connection:
        # The connection is reset where more came than was read.
        with suppress(ConnectionError):
            connection.sendall(begin + part * 200)
        with suppress(ConnectionError):
            while more := connection.recv(65_536):
                answer += more
    assert statuses(answer) == [431]


def test_what_follows_a_body_is_no_header_of_the_request(port):
    begin = head(port, b"POST /uw", *CHUNKED) + b"2\r\n{}\r\n0\r\n"
    last = head(port, b"GET /login", b"connection: close")
    assert answers(port, begin + b"content-encoding: gzip\r\n\r\n" + last)[-1] == 200


def test_a_head_that_is_too_long_is_refused_also_where_it_comes_in_one_piece(port):
    for line in (b"GET /login?" + b"a" * HEAD_BYTES_MAX, b"GET /" + b"a" * (HEAD_BYTES_MAX + 8)):
        assert answers(port, head(port, line)) == [431]


def test_who_hangs_up_within_a_body_leaves_no_traceback(tmp_path):
    with web(tmp_path, "demo") as (process, port):
        for path in (b"/mcp", b"/ui/keys", b"/ui/login", b"/gex_history_url", b"/uw"):
            origin = b"origin: http://127.0.0.1:%d" % port
            kind = b"content-type: application/json"
            asked = head(port, b"POST " + path, origin, kind, b"content-length: 100")
            with connected(port) as connection:
                connection.sendall(asked + b"{")
                connection.shutdown(socket.SHUT_WR)
                assert not statuses(told(connection))
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert "Traceback" not in log
    assert "request.failed" not in log
