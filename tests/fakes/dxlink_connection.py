"""One connection of a fake DXLink server: its side of the state machine, and its faults."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed


async def pieces(text, step):
    """A text in fragments, with a pause between any two."""
    for start in range(0, len(text), step):
        yield text[start : start + step]
        await asyncio.sleep(0)


CONTRACTS = {"AUTO", "TICKER", "STREAM", "HISTORY"}
BEGIN, END, SNIP, REMOVE = 4, 8, 16, 2


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
            step = self.server.faults.fragment_chars
            await self.socket.send(pieces(text, step) if step else text)

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
        self.server.auth_times.append(asyncio.get_running_loop().time())
        faults = self.server.faults
        if faults.refused_auths > 0 or message["token"] in self.server.revoked:
            faults.refused_auths -= 1
            if self.auth_count > 1:
                self.server.violations.append("a refused token was sent again")
            await self.send("AUTH_STATE", state="UNAUTHORIZED")
            return
        if faults.blocked_auths > 0:
            faults.blocked_auths -= 1
            await self.send("ERROR", error="UNAUTHORIZED", message="Session not found: api")
            await self.socket.close(1000)
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
        if faults.field_order and event == "TimeAndSale":
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
        if item.get("fromTime") is not None and event == "TimeAndSale":
            await self.snapshot(number, symbol, item["fromTime"])
        elif event == "Candle":
            await self.minutes(number, symbol, item["fromTime"])
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
        await self.data(number, "TimeAndSale", values, is_snapshot=True)

    async def minutes(self, number, symbol, from_ms):
        """The candles since a time, newest first."""
        told = self.server.tape.told.get(symbol.removesuffix("{=m}"))
        found = [told.minutes[ms] for ms in sorted(told.minutes)[::-1]] if told else []
        rows = [{**row} for row in found if row["time"] >= from_ms]
        if rows:
            rows[0]["eventFlags"] |= BEGIN
            rows[-1]["eventFlags"] |= END
        else:
            marker = {"index": (from_ms // 1000) << 32, "time": from_ms, "count": 0}
            marker |= {"volume": "NaN", "close": "NaN", "eventFlags": BEGIN | END | REMOVE}
            rows = [{"eventSymbol": symbol, **marker}]
        await self.data(number, "Candle", rows)

    async def data(self, number, event, rows, *, is_snapshot=False):
        """Rows of one event type in the layout this channel was told."""
        channel, faults = self.channels[number], self.server.faults
        if event not in channel.told and channel.is_compact:
            channel.told.add(event)
            await self.config(number, event)
        step = faults.rows_per_frame
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            if faults.shuffles:
                part = part[::-1]
            if self.compact(channel):
                names = self.layout(channel, event)
                blocks = [[row] for row in part] if faults.mixes else [part]
                payload = []
                for rows_of in blocks:
                    payload += [event, [row.get(name) for row in rows_of for name in names]]
            else:
                payload = [{"eventType": event, **row} for row in part]
            if faults.frames_lost > 0 and event == "TimeAndSale":
                faults.frames_lost -= 1
                continue
            self.server.sent[event] += len(part) * faults.repeats
            for _ in range(faults.repeats):
                await self.send("FEED_DATA", number, data=payload)
            if faults.interleaves and is_snapshot:
                await self.server._trade(3, None)

    async def publish(self, event, rows):
        """Give live rows to every channel that asked for them."""
        faults = self.server.faults
        if faults.is_stale or faults.is_mute or event in faults.silent_types:
            return
        for number, channel in list(self.channels.items()):
            wanted = [
                row
                for row in rows
                if (event, row["eventSymbol"]) in channel.items
                and row["eventSymbol"].split("{")[0] not in faults.silent_symbols
            ]
            if wanted:
                await self.data(number, event, wanted)
