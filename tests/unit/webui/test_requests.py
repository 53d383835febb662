"""Head and body of an answer go out together; what does not come is not waited for for ever."""

import asyncio

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from webui import requests
from webui.requests import Answer, Requests
from webui.wire import Wire


class Line:
    """What a transport is handed, in pieces."""

    def __init__(self):
        self.pieces = []
        self.is_closed = False

    def write(self, data):
        assert not self.is_closed, "written after the end"
        self.pieces.append(data)

    def close(self):
        self.is_closed = True

    def is_closing(self):
        return self.is_closed


def answered(talk):
    """The pieces of an answer, once the loop has come to rest."""
    line = Line()

    async def run():
        await talk(Answer(line))
        await asyncio.sleep(0)

    asyncio.run(run())
    return line.pieces


def test_head_and_body_are_one_piece():
    async def talk(answer):
        answer.write(b"head ")
        answer.write(b"body")

    assert answered(talk) == [b"head body"]


def test_a_head_without_a_body_goes_out_by_itself():
    async def talk(answer):
        answer.write(b"head")

    assert answered(talk) == [b"head"]


def test_a_body_that_comes_later_finds_the_head_gone():
    async def talk(answer):
        answer.write(b"head")
        await asyncio.sleep(0)
        answer.write(b"one")
        answer.write(b"two")

    assert answered(talk) == [b"head", b"one", b"two"]


def test_nothing_is_lost_where_the_connection_closes_after_the_answer():
    async def talk(answer):
        answer.write(b"head ")
        answer.write(b"body")
        answer.close()
        assert answer.is_closing()

    assert answered(talk) == [b"head body"]


def test_a_head_that_is_all_there_is_comes_before_the_end():
    async def talk(answer):
        answer.write(b"head")
        answer.close()

    assert answered(talk) == [b"head"]


@pytest.mark.parametrize(
    ("sent", "answer"), [(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 408 "), (b"", b""), (b"\r\n", b"")]
)
def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch, sent, answer):
    monkeypatch.setattr(requests, "HEAD_S_MAX", 0.05)
    config, state = Config(lambda: None, log_config=None), ServerState()

    async def talk():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Requests(config, state, {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            told = await asyncio.wait_for(reader.read(), 20)
            writer.close()
        return told

    told = asyncio.run(talk())
    assert told.startswith(answer)
    assert bool(told) == bool(answer)


def test_a_socket_is_open_for_as_long_as_its_ends_like():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    config = Config(app, ws=Wire, log_config=None)
    made = []

    def make():
        made.append(Requests(config, ServerState(), {}))
        return made[-1]

    async def talk():
        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(
                b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            writer.close()
        return told

    assert asyncio.run(talk()).startswith(b"HTTP/1.1 101 ")
    assert made[0]._patience is None
