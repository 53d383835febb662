"""A DXLink server on a real socket, as strict as the protocol, with faults at hand.

It serves a truth tape. Every violation by a client is answered as the protocol says and kept in
`violations`. It runs in a thread of its own; its methods may be called from any thread.
"""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from tests.fakes.dxlink_tape import TruthTape

CONTRACTS = {"AUTO", "TICKER", "STREAM", "HISTORY"}
BEGIN, END, SNIP, REMOVE = 4, 8, 16, 2


@dataclass
class Faults:
    """Knobs; all may be set together."""

    refused_auths: int = 0  # this many AUTHs are refused
    refused_upgrades: int = 0  # this many websocket upgrades are answered 502
    dropped_fields: frozenset = frozenset()
    field_order: list | None = None
    sends_full: bool = False
    history: str = "whole"  # whole, empty, snip, endless, silent
    snip_rows: int = 50
    rows_per_frame: int = 10
    is_stale: bool = False  # keepalives go on, data do not
    is_mute: bool = False  # nothing is sent at all
    silent_types: frozenset = frozenset()  # not entitled: no data, no error
    repeats: int = 1  # how often each data frame is sent
    shuffles: bool = False  # rows of a frame in reverse
    refuses_channels: int = 0  # this many CHANNEL_REQUESTs get a channel ERROR
    frames_lost: int = 0  # dropped on the way without a word


@dataclass
class Channel:
    contract: str
    fields: dict = field(default_factory=dict)
    is_compact: bool = False
    told: set = field(default_factory=set)
    items: dict = field(default_factory=dict)  # (type, symbol) -> fromTime or None


class Client:
    """One connection: the server's side of the state machine."""

    def __init__(self, server, socket):
        self.server = server
        self.socket = socket
        self.state = "setup"
        self.channels = {}
        self.auth_count = 0

    async def send(self, kind, channel=0, **rest):
        if not self.server.faults.is_mute:
            await self.send_text(json.dumps({"type": kind, "channel": channel, **rest}))

    async def send_text(self, text):
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(text)

    async def violate(self, error, message, channel=0):
        self.server.violations.append(message)
        await self.send("ERROR", channel, error=error, message=message)

    async def serve(self):
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                message = json.loads(text)
                self.server.received.append(message)
                await self.receive(message)

    async def receive(self, message):
        kind, number = message["type"], message["channel"]
        if kind == "KEEPALIVE":
            return
        if self.state == "setup":
            if kind != "SETUP":
                await self.violate("BAD_ACTION", f"{kind} before SETUP")
                return
            self.state = "unauthorized"
            timeout = self.server.keepalive_s * 3
            await self.send("SETUP", version="1.0-fake", keepaliveTimeout=timeout)
            await self.send("AUTH_STATE", state="UNAUTHORIZED")
        elif kind == "AUTH":
            await self.authorize(message)
        elif self.state != "authorized":
            await self.violate("UNAUTHORIZED", f"{kind} before AUTHORIZED")
        elif kind == "CHANNEL_REQUEST":
            await self.open_channel(number, message)
        elif number not in self.channels:
            await self.violate("BAD_ACTION", f"{kind} on closed channel {number}", number)
        else:
            await self.serve_channel(kind, number, message)

    async def serve_channel(self, kind, number, message):
        if kind == "CHANNEL_CANCEL":
            del self.channels[number]
            await self.send("CHANNEL_CLOSED", number)
        elif kind == "FEED_SETUP":
            channel = self.channels[number]
            channel.fields = message.get("acceptEventFields", {})
            channel.is_compact = message.get("acceptDataFormat") == "COMPACT"
            await self.config(number)
        elif kind == "FEED_SUBSCRIPTION":
            await self.subscribe(number, message)
        else:
            await self.violate("INVALID_MESSAGE", f"unknown message {kind}", number)

    async def authorize(self, message):
        self.auth_count += 1
        self.server.auth_count += 1
        faults = self.server.faults
        if faults.refused_auths > 0 or message["token"] in self.server.revoked:
            faults.refused_auths -= 1
            if self.auth_count > 1:
                self.server.violations.append("a refused token was sent again")
            await self.send("AUTH_STATE", state="UNAUTHORIZED")
            return
        self.state = "authorized"
        await self.send("AUTH_STATE", state="AUTHORIZED", userId="u-1")

    async def open_channel(self, number, message):
        if number % 2 == 0:
            await self.violate("BAD_ACTION", "Protocol violation with an even channel usage.")
        elif number in self.channels:
            await self.violate("BAD_ACTION", f"channel {number} is open already", number)
        elif message["service"] != "FEED" or message["parameters"]["contract"] not in CONTRACTS:
            await self.violate("INVALID_MESSAGE", "unknown service or contract", number)
        elif self.server.faults.refuses_channels > 0:
            self.server.faults.refuses_channels -= 1
            await self.send("ERROR", number, error="BAD_ACTION", message="not now")
        else:
            self.channels[number] = Channel(message["parameters"]["contract"])
            await self.send("CHANNEL_OPENED", number, service="FEED", parameters={})

    async def config(self, number, event=None):
        """Without fields after FEED_SETUP; with them right before the first data of a type."""
        channel, faults = self.channels[number], self.server.faults
        rest = {"aggregationPeriod": 0.0, "dataFormat": "COMPACT" if self.compact(channel) else "F"}
        if event is not None:
            rest["eventFields"] = {event: self.layout(channel, event)}
        await self.send("FEED_CONFIG", number, **rest)
        assert not (faults.field_order and faults.dropped_fields), "choose one"

    def compact(self, channel):
        return channel.is_compact and not self.server.faults.sends_full

    def layout(self, channel, event):
        faults = self.server.faults
        if faults.field_order:
            return faults.field_order
        return [name for name in channel.fields[event] if name not in faults.dropped_fields]

    async def subscribe(self, number, message):
        channel = self.channels[number]
        if message.get("reset"):
            channel.items.clear()
        for item in message.get("remove", ()):
            channel.items.pop((item["type"], item["symbol"]), None)
        for item in message.get("add", ()):
            key = (item["type"], item["symbol"])
            channel.items[key] = item.get("fromTime")
            if item["type"] not in self.server.faults.silent_types:
                await self.greet(number, channel, item)

    async def greet(self, number, channel, item):
        """What a fresh subscription gets at once."""
        event, symbol = item["type"], item["symbol"]
        if event not in channel.told and channel.is_compact:
            channel.told.add(event)
            await self.config(number, event)
        if item.get("fromTime") is not None and event == "TimeAndSale":
            await self.snapshot(number, symbol, item["fromTime"])
        elif (event, symbol) in self.server.lasts:
            await self.data(number, event, [self.server.lasts[event, symbol]])

    async def snapshot(self, number, symbol, from_ms):
        faults = self.server.faults
        self.server.snapshots.append((symbol, from_ms))
        is_known = symbol in self.server.tape.latest
        rows = self.server.tape.history(symbol, from_ms) if is_known else []
        if faults.history == "silent":
            return
        marker = dict.fromkeys(("price", "size", "bidPrice", "askPrice"), "NaN")
        marker |= {"eventSymbol": symbol, "index": (from_ms // 1000) << 32, "type": "NEW"}
        marker |= {"timeNanoPart": 0, "exchangeCode": "\u0000", "aggressorSide": "UNDEFINED"}
        marker |= {"exchangeSaleConditions": None, "validTick": False, "spreadLeg": False}
        marker |= {"extendedTradingHours": False}
        if faults.history == "empty" or not rows:
            await self.data(number, "TimeAndSale", [{**marker, "eventFlags": BEGIN | END | REMOVE}])
            return
        is_snipped = faults.history == "snip" and len(rows) > faults.snip_rows
        rows = rows[: faults.snip_rows] if is_snipped else rows
        values = [row.values() for row in rows]
        values[0]["eventFlags"] = BEGIN
        if is_snipped:
            values[-1]["eventFlags"] |= SNIP
        elif faults.history != "endless":
            values.append({**marker, "eventFlags": END | REMOVE})
        await self.data(number, "TimeAndSale", values)

    async def data(self, number, event, rows):
        """Rows of one event type in the layout this channel was told."""
        channel, faults = self.channels[number], self.server.faults
        step = faults.rows_per_frame
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            if faults.shuffles:
                part = part[::-1]
            if self.compact(channel):
                names = self.layout(channel, event)
                payload = [event, [row.get(name) for row in part for name in names]]
            else:
                payload = [{"eventType": event, **row} for row in part]
            if faults.frames_lost > 0:
                faults.frames_lost -= 1
                continue
            for _ in range(faults.repeats):
                await self.send("FEED_DATA", number, data=payload)

    async def publish(self, event, rows):
        """Give live rows to every channel that asked for them."""
        faults = self.server.faults
        if faults.is_stale or faults.is_mute or event in faults.silent_types:
            return
        for number, channel in list(self.channels.items()):
            wanted = [row for row in rows if (event, row["eventSymbol"]) in channel.items]
            if wanted:
                await self.data(number, event, wanted)


class DxlinkServer:
    """`with DxlinkServer() as server:` listens on `server.url` until the block ends."""

    def __init__(self, tape=None, keepalive_s=5.0):
        self.tape = tape or TruthTape()
        self.faults = Faults()
        self.keepalive_s = keepalive_s
        self.clients = []
        self.violations = []
        self.received = []
        self.snapshots = []
        self.revoked = set()
        self.lasts = {}
        self.auth_count = 0
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fake dxlink")

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    # -- what tests do -----------------------------------------------------------------------

    def trade(self, count, symbols=None):
        """Let prints happen and tell everyone who listens."""
        return self.do(self._trade, count, symbols)

    def revise(self, event, **how):
        return self.do(self._revise, event, how)

    def last(self, event, symbol, **values):
        """A new last value of a conflated event."""
        self.do(self._last, event, symbol, values)

    def send_text(self, text):
        """Send any text to every client."""
        self.do(self._each, lambda client: client.send_text(text))

    def send(self, kind, channel=0, **rest):
        """Send any message to every client."""
        self.do(self._each, lambda client: client.send(kind, channel, **rest))

    def reconfigure(self, number, event):
        """Announce the layout again, as the faults now say."""
        self.do(self._each, lambda client: client.config(number, event))

    def close(self, code=1001):
        self.do(self._each, lambda client: client.socket.close(code))

    def reset(self):
        """Cut every connection without a word (TCP reset)."""
        self.do(self._reset)

    @property
    def live(self):
        """Connections with a live subscription."""
        return [
            client
            for client in self.clients
            if any(c.contract == "STREAM" and c.items for c in client.channels.values())
        ]

    def do(self, coroutine, *args):
        return asyncio.run_coroutine_threadsafe(coroutine(*args), self._loop).result(20)

    # -- inside the server's thread ------------------------------------------------------------

    async def _each(self, action):
        for client in list(self.clients):
            await action(client)

    async def _trade(self, count, symbols):
        fresh = self.tape.trade(count, symbols)
        rows = [event.values() for event in fresh]
        await self._each(lambda client: client.publish("TimeAndSale", rows))
        return fresh

    async def _revise(self, event, how):
        revised = self.tape.revise(event, **how)
        await self._each(lambda client: client.publish("TimeAndSale", [revised.values()]))
        return revised

    async def _last(self, event, symbol, values):
        row = {"eventSymbol": symbol, **values}
        self.lasts[event, symbol] = row
        await self._each(lambda client: client.publish(event, [row]))

    async def _reset(self):
        for client in list(self.clients):
            raw = client.socket.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.socket.transport.abort()

    async def _handle(self, connection):
        client = Client(self, connection)
        self.clients.append(client)
        try:
            await client.serve()
        finally:
            self.clients.remove(client)

    def _refuse(self, connection, request):
        if self.faults.refused_upgrades > 0:
            self.faults.refused_upgrades -= 1
            return connection.respond(502, "Bad Gateway\n")
        return None

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        server = await serve(
            self._handle,
            "127.0.0.1",
            0,
            process_request=self._refuse,
            ping_interval=None,
            compression=None,
            max_size=None,
            close_timeout=0.5,
        )
        self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/realtime"
        self._ready.set()
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self.keepalive_s)
            await self._each(lambda client: client.send("KEEPALIVE"))
        server.close()
        await server.wait_closed()
