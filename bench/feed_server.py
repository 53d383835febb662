"""A service to measure the feed against: login, quote token, and a DXLink server that can be fast.

Run as a program. It prints the ports of its web and its websocket half; each line of its input
`ROWS ROWS_PER_FRAME ROWS_PER_SECOND` (0: as fast as can be) then sends that many prints to whoever
subscribed. Prints carry the time at which they were sent.
"""

import asyncio
import contextlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from core.clock import NS_PER_MS, NS_PER_S, SystemClock

SYMBOLS = ("MES", "MNQ", "NQ", "SPY", "QQQ")
CLOCK = SystemClock()
PRINT: dict[str, Any] = {
    "eventSymbol": "",
    "eventTime": 0,
    "eventFlags": 0,
    "index": 0,
    "time": 0,
    "timeNanoPart": 0,
    "sequence": 0,
    "exchangeCode": "G",
    "price": 25_480.25,
    "size": 1.0,
    "bidPrice": 25_480.0,
    "askPrice": 25_480.25,
    "exchangeSaleConditions": None,
    "tradeThroughExempt": "\u0000",
    "aggressorSide": "BUY",
    "spreadLeg": False,
    "extendedTradingHours": False,
    "validTick": True,
    "type": "NEW",
    "buyer": None,
    "seller": None,
}


class Listener:
    """One connection: what it asked for."""

    def __init__(self, socket: ServerConnection, somebody: asyncio.Event) -> None:
        self.socket = socket
        self._somebody = somebody
        self.fields: dict[int, dict[str, list[str]]] = {}
        self.channel: int | None = None  # the one with live prints

    async def say(self, kind: str, channel: int = 0, **rest: object) -> None:
        await self.socket.send(json.dumps({"type": kind, "channel": channel, **rest}))

    async def serve(self) -> None:
        """Answer the client's words until it hangs up."""
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                await self._answer(json.loads(text))

    async def _answer(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        match message["type"]:
            case "SETUP":
                await self.say("SETUP", version="1.0-bench", keepaliveTimeout=60)
                await self.say("AUTH_STATE", state="UNAUTHORIZED")
            case "AUTH":
                await self.say("AUTH_STATE", state="AUTHORIZED")
            case "CHANNEL_REQUEST":
                await self.say("CHANNEL_OPENED", channel, service="FEED", parameters={})
            case "FEED_SETUP":
                self.fields[channel] = message["acceptEventFields"]
                await self.say("FEED_CONFIG", channel, aggregationPeriod=0, dataFormat="COMPACT")
            case "FEED_SUBSCRIPTION":
                events = {i["type"] for i in message.get("add", ()) if "fromTime" not in i}
                for event in events & self.fields[channel].keys():
                    told = {event: self.fields[channel][event]}
                    await self.say("FEED_CONFIG", channel, dataFormat="COMPACT", eventFields=told)
                if "TimeAndSale" in events:
                    self.channel = channel
                    self._somebody.set()


class Tape:
    """Prints of all symbols in turn."""

    def __init__(self) -> None:
        self._sequence = 0

    def frame(self, channel: int, fields: list[str], rows: int) -> bytes:
        """The next prints as a frame in a layout."""
        now_ms = CLOCK.now_ns() // NS_PER_MS
        values = [PRINT.get(name) for name in fields] * rows
        width = len(fields)
        first = self._sequence
        self._sequence += rows
        numbers = range(first, first + rows)
        base = (now_ms // 1000 << 32) | (now_ms % 1000 << 22)
        told: dict[str, list[Any]] = {
            "eventSymbol": [SYMBOLS[n % len(SYMBOLS)] for n in numbers],
            "index": [base | n & 0x3FFFFF for n in numbers],
            "time": [now_ms] * rows,
            "size": [float(n % 9 + 1) for n in numbers],
        }
        for name, column in told.items():
            if name in fields:
                values[fields.index(name) :: width] = column
        data = ["TimeAndSale", values]
        return orjson.dumps({"type": "FEED_DATA", "channel": channel, "data": data})


async def send(listeners: set[Listener], tape: Tape, rows: int, per: int, rate: int) -> None:
    """Send prints to everybody who listens, at a rate."""
    started_ns, done = CLOCK.monotonic_ns(), 0
    while done < rows:
        count = min(per, rows - done)
        for listener in [one for one in listeners if one.channel is not None]:
            assert listener.channel is not None
            fields = listener.fields[listener.channel]["TimeAndSale"]
            frame = tape.frame(listener.channel, fields, count)
            with contextlib.suppress(ConnectionClosed):
                await listener.socket.send(frame.decode())
        done += count
        ahead_s = done / rate - (CLOCK.monotonic_ns() - started_ns) / NS_PER_S if rate else 0
        await asyncio.sleep(max(ahead_s, 0) if ahead_s > 0.001 else 0)


class Web(BaseHTTPRequestHandler):
    """The login; everybody is let in."""

    protocol_version = "HTTP/1.1"
    websocket_url = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"access_token": "AT", "token_type": "Bearer", "expires_in": 900})

    def do_GET(self) -> None:
        if self.path.startswith("/api-quote-tokens"):
            told = {"token": "QT", "dxlink-url": self.websocket_url, "level": "api"}
            self._answer({"data": told, "context": ""})
            return
        pages = {"per-page": 250, "page-offset": 0, "total-pages": 1, "total-items": 0}
        self._answer({"data": {"items": []}, "pagination": pages, "context": ""})

    def _answer(self, body: dict[str, object]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def main() -> None:
    """Serve until the input ends."""
    listeners: set[Listener] = set()
    somebody = asyncio.Event()

    async def handle(socket: ServerConnection) -> None:
        listener = Listener(socket, somebody)
        listeners.add(listener)
        try:
            await listener.serve()
        finally:
            listeners.remove(listener)
            somebody.clear()

    tape = Tape()
    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        Web.websocket_url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"
        web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        print(web.server_port, Web.websocket_url, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await somebody.wait()
            await send(listeners, tape, *map(int, line.split()))
        web.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
