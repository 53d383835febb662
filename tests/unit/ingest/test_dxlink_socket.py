"""The websocket hands on whole messages, answers pings, and always says how it ended."""

import asyncio
import ssl
from functools import partial

import anyio
import anyio.lowlevel
import pytest
import trustme
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request
from websockets.server import ServerProtocol

from core.errors import FeedLost
from ingest.dxlink_socket import MESSAGE_BYTES_MAX, Socket

run = partial(anyio.run, backend_options={"use_uvloop": True})  # the feed's own loop


async def talking(handle, talk, message_bytes_max=MESSAGE_BYTES_MAX, **options):
    """Let a client talk to a server; give what it heard."""
    heard = []
    scheme = "wss" if "ssl" in options else "ws"
    async with serve(handle, "127.0.0.1", 0, compression=None, **options) as server:
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        socket = Socket(url, heard.extend, message_bytes_max=message_bytes_max)
        await socket.open()
        try:
            await talk(socket, heard)
        finally:
            await socket.close()
    return heard


async def end(socket, heard):
    """Listen until the other side hangs up."""
    with pytest.raises(ConnectionClosed):
        with anyio.fail_after(10):
            await socket.over()


def test_messages_come_whole_however_they_were_sent():
    async def handle(server):
        await server.send("short")
        await server.send(["in ", "two ", "parts"])
        await server.send(b"\x00" * 300_000)
        assert await (await server.ping())

    heard = run(talking, handle, end)
    assert heard == [b"short", b"in two parts", bytes(300_000)]


def certified(name, monkeypatch, folder):
    """A context for a server whose certificate, for a name, is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_messages_come_whole_over_tls(monkeypatch, tmp_path):
    async def handle(server):
        assert await server.recv() == "hello"
        await server.send("short")
        await server.send(b"\x00" * 300_000)

    async def talk(socket, heard):
        socket.say(b"hello")
        await end(socket, heard)

    context = certified("127.0.0.1", monkeypatch, tmp_path)
    assert run(lambda: talking(handle, talk, ssl=context)) == [b"short", bytes(300_000)]


def test_a_certificate_for_somebody_else_is_refused(monkeypatch, tmp_path):
    async def handle(server):
        raise AssertionError("nobody gets this far")

    context = certified("somebody.example", monkeypatch, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        run(lambda: talking(handle, end, ssl=context))


def test_what_is_said_arrives_as_text():
    got = []

    async def handle(server):
        got.append(await server.recv())

    async def talk(socket, heard):
        socket.say(b'{"type":"SETUP"}')
        await end(socket, heard)
        with pytest.raises(FeedLost, match="is over"):
            socket.say(b"too late")

    run(talking, handle, talk)
    assert got == ['{"type":"SETUP"}']


def test_nothing_is_said_on_a_connection_that_is_being_closed():
    async def handle(server):
        await server.wait_closed()

    async def talk(socket, heard):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(socket.close)
            await anyio.lowlevel.checkpoint()
            with pytest.raises(FeedLost, match="is over"):
                socket.say(b"while it waits for the other side's goodbye")

    run(talking, handle, talk)


def test_what_comes_with_the_end_of_the_handshake_can_be_answered_at_once():
    got = []

    async def serve_by_hand(reader, writer):
        protocol = ServerProtocol()
        while not got:
            protocol.receive_data(await reader.read(4096))
            for event in protocol.events_received():
                if isinstance(event, Request):
                    protocol.send_response(protocol.accept(event))
                    protocol.send_text(b"welcome")
                else:
                    got.append(bytes(event.data))
            writer.write(b"".join(protocol.data_to_send()))  # all in one piece
        writer.close()

    async def talk():
        server = await asyncio.start_server(serve_by_hand, "127.0.0.1", 0)
        async with server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            socket = Socket(url, lambda messages: socket.say(b"to " + messages[0]))
            await socket.open()
            await end(socket, [])
            socket.abort()

    run(talk)
    assert got == [b"to welcome"]


def test_a_handshake_that_is_given_up_ends_quietly():
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async def give_up():
        wrong = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, about: wrong.append(about))
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            socket = Socket(f"ws://127.0.0.1:{port}/", lambda heard: None)
            with anyio.move_on_after(0.05) as waited:
                await socket.open()
            assert waited.cancelled_caught
            with pytest.raises(FeedLost), anyio.fail_after(10):
                await socket.over()
        return wrong

    assert run(give_up) == []


def test_a_refused_upgrade_is_raised():
    async def handle(server):
        raise AssertionError("nobody gets this far")

    def refuse(server, request):
        return server.respond(502, "bad gateway")

    with pytest.raises(InvalidStatus):
        run(lambda: talking(handle, end, process_request=refuse))


def test_what_the_hearer_raises_ends_the_connection_and_nothing_is_heard_after():
    async def handle(server):
        for _ in range(3):
            await server.send("x")
        await server.wait_closed()

    async def refuse():
        heard = []

        def hear(messages):
            heard.append(messages)
            raise FeedLost("no room")

        async with serve(handle, "127.0.0.1", 0, compression=None) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            socket = Socket(url, hear)
            await socket.open()
            with pytest.raises(FeedLost, match="no room"):
                await socket.over()
            await socket.close()
        return heard

    assert len(run(refuse)) == 1


def test_a_message_beyond_all_bounds_ends_the_connection():
    async def handle(server):
        await server.send("y" * 2_000)
        await server.wait_closed()

    assert run(lambda: talking(handle, end, message_bytes_max=1_000)) == []


def test_a_server_that_reads_nothing_is_not_waited_for_forever():
    async def handle(server):
        server.transport.pause_reading()
        await server.wait_closed()

    async def talk(socket, heard):
        def say_without_end():
            while True:
                socket.say(b"z" * 100_000)

        with pytest.raises(FeedLost, match="could not be sent"):
            say_without_end()

    run(talking, handle, talk)
