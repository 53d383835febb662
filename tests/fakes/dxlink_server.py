"""A DXLink server on a real socket, as strict as the protocol, with faults at hand.

It serves a truth tape. Every violation by a client is answered as the protocol says and kept in
`violations`. It runs in a thread of its own; its methods may be called from any thread.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter

from websockets.asyncio.server import serve

from tests.fakes.dxlink_connection import Client
from tests.fakes.dxlink_faults import Faults
from tests.fakes.dxlink_tape import TruthTape


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
        self.sent = Counter()  # rows of each event
        self.revoked = set()
        self.lasts = {}
        self.auth_count = 0
        self.auth_times = []
        self.url = ""
        self.date = None  # what its upgrade says the time is
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
        self._thread.join(20)
        assert not self._thread.is_alive()

    # -- what tests do -----------------------------------------------------------------------

    def trade(self, count, symbols=None):
        """Let prints happen and tell everyone who listens."""
        return self.do(self._trade, count, symbols)

    def deliver(self, events):
        """Tell everyone who listens of prints that happened before."""
        self.do(self._deliver, events)

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
        await self._tell(fresh)
        return fresh

    async def _tell(self, fresh):
        """What the venue says beside its prints."""
        for symbol in {event.symbol for event in fresh}:
            told = self.tape.told[symbol]
            last = told.trade()
            if self.faults.day_volume is not None:
                last["dayVolume"] = self.faults.day_volume
            self.lasts["Trade", symbol] = last
            starts = {e.ms // 60_000 * 60_000 for e in fresh if e.symbol == symbol}
            minutes = [told.minutes[start] for start in sorted(starts)]
            ticks = [event.tick() for event in fresh if event.symbol == symbol]
            await self._each(lambda client, last=last: client.publish("Trade", [last]))
            for rows in (minutes, ticks):
                await self._each(lambda client, rows=rows: client.publish("Candle", rows))

    async def _deliver(self, events):
        rows = [event.values() for event in events]
        await self._each(lambda client: client.publish("TimeAndSale", rows))

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
            if raw.fileno() >= 0:  # else it is over already
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

    def _date(self, connection, request, response):
        del response.headers["Date"]
        if self.date is not None:
            response.headers["Date"] = self.date

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
            process_response=self._date,
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
