"""The endpoint for AI models in front of a real Flight server with SQL, and a small tape."""

import json

import anyio
import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from flight_server.relay import Relay
from storage.query import QueryLimits, QueryService
from tests.unit.flight_server.house import FlightHouse
from webui.edge import Edge, on_http_error, own_names
from webui.mcp import PATH, Endpoint

HOST = "127.0.0.1:8877"
START_US = 1_763_647_200_000_000  # 2025-11-20 14:00:00 UTC


class McpDesk:
    """Asks over ASGI, without a socket; as the key with all scopes where no other is given."""

    def __init__(self, folder):
        self.house = FlightHouse(folder)
        limits = QueryLimits(seconds=5.0, rows=1_000_000, bytes=10**9, memory_bytes=10**9)
        self.queries = QueryService(self.house.paths, str(self.house.paths.lake()), limits)
        self.queries.start()
        object.__setattr__(self.house.sources, "queries", self.queries)
        relay = Relay(lambda: self.house.url, 30)
        self.endpoint = Endpoint(relay, self.house.clock, "grpc", lambda: self.house.server.port)
        self.app = Starlette(
            routes=[Route(PATH, self.endpoint.serve, methods=["POST"])],
            middleware=[Middleware(Edge, names=own_names("127.0.0.1", 8877))],
            exception_handlers={HTTPException: on_http_error},
        )

    def send(self, content, *, key=None, method="POST", **headers):
        told = {"host": HOST, "content-type": "application/json"}
        told["authorization"] = f"Bearer {self.house.key if key is None else key}"
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        told = {name: value for name, value in told.items() if value is not None}

        async def exchange():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.request(method, PATH, content=content, headers=told)

        return anyio.run(exchange)

    def ask(self, method, params=None, **options):
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        return self.send(json.dumps(message), **options)

    def call(self, tool, key=None, **arguments):
        """What a tool answers; an error as its body."""
        params = {"name": tool, "arguments": arguments}
        answer = self.ask("tools/call", params, key=key)
        assert answer.status_code == 200, answer.text
        result = answer.json()["result"]
        (content,) = result["content"]
        if result["isError"]:
            assert "structuredContent" not in result
            return json.loads(content["text"])
        return result["structuredContent"] | {"text": content["text"]}

    def close(self):
        self.queries.stop()
        self.house.close()


def filled(desk):
    """Put trades, gaps and snapshots onto the desk's tape."""
    house = desk.house
    house.trade([float(n) for n in range(100, 110)], start_us=START_US, step_us=500_000)
    house.trade([7.0] * 3, start_us=START_US + 60_000_000, step_us=0, symbol="NQ")
    house.trade([8.0], start_us=START_US + 61_000_000, symbol="NQ")
    house.trade([5.0, 6.0], symbol="SPY")
    house.gap(START_US + 1_000_000, START_US + 2_000_000)
    house.gap(START_US + 9_000_000, None, symbol="*", gap_id=2)
    house.gap(START_US, START_US + 1, symbol="SPY", state="backfilled", gap_id=3)
    house.store.append_rows("gex", [snapshot(START_US + n * 1_000_000, 100 + n) for n in range(3)])
    return desk


def snapshot(ts_us, spot):
    strikes = [
        {"strike": strike, "gex_vol": strike / 10, "gex_oi": -strike / 10, "priors": [1.0]}
        for strike in (90.0, 100.0, 110.0)
    ]
    return {
        "symbol": "NQ_NDX",
        "ts_event": ts_us,
        "ts_recv": ts_us + 1_000,
        "source": "test",
        "ticker": "NQ_NDX",
        "package": "classic",
        "category": "gex_zero",
        "spot": spot,
        "strikes": strikes,
        "via": "api",
    }
