"""The Model Context Protocol's own client, in both eras, against the whole program."""

import json
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from flight_server.client import Client as FlightClient
from tests.fakes.deadline import until

ERAS = {"auto": "2026-07-28", "legacy": "2025-11-25"}


@asynccontextmanager
async def connected(server, mode, key=None):
    headers = {"authorization": f"Bearer {server.key if key is None else key}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(f"{server.web_url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.mark.parametrize("mode", ERAS)
def test_a_model_finds_its_way_from_describe_to_every_tool(demo_server, mode):
    async def work():
        async with connected(demo_server, mode) as client:
            assert client.protocol_version == ERAS[mode]
            assert "describe" in client.instructions
            tools = {tool.name for tool in (await client.list_tools()).tools}
            asked = {
                "describe": {},
                "latest": {},
                "bars": {"symbol": "MNQ", "every": "1s", "limit": 5},
                "ticks": {"symbol": "MNQ", "limit": 5},
                "sql": {"sql": "SELECT count(*) FROM trades WHERE symbol = ?", "params": ["SPY"]},
                "gex": {"symbol": "MNQ", "strikes": 4},
                "gaps": {},
            }  # fmt: skip
            assert set(asked) == tools
            # The client holds each answer against the schema its tool was listed with.
            told = {name: await client.call_tool(name, given) for name, given in asked.items()}
            wrong = await client.call_tool("ticks", {"symbol": "NOPE"})
            return told, wrong

    told, wrong = anyio.run(work)
    assert not any(result.is_error for result in told.values())
    rows = {name: result.structured_content.get("rows") for name, result in told.items()}
    assert len(rows["latest"]) == 6
    assert len(rows["ticks"]) == 5
    assert rows["sql"][0][0] > 0
    assert told["ticks"].content[0].text.splitlines()[-2].startswith("20")
    assert wrong.is_error
    assert json.loads(wrong.content[0].text)["code"] == "unknown_symbol"


@pytest.mark.parametrize("mode", ERAS)
def test_a_client_with_a_wrong_key_does_not_come_in(demo_server, mode):
    async def knock():
        async with connected(demo_server, mode, "tf_nonsense"):
            raise AssertionError("it came in")

    with pytest.raises((MCPError, httpx2.HTTPStatusError, ExceptionGroup)) as caught:
        anyio.run(knock)
    assert "came in" not in str(caught.value)


def test_what_a_model_asks_is_in_the_table_of_queries(demo_server):
    async def ask():
        async with connected(demo_server, "auto") as client:
            await client.call_tool("ticks", {"symbol": "VIX", "limit": 7})

    anyio.run(ask)
    statement = "SELECT key_name, outcome FROM queries WHERE ticket = 'tail:VIX?n=7'"
    with FlightClient(demo_server.flight_url, demo_server.key) as client:
        rows = until(lambda: client.query(statement).to_pylist())
    assert rows == [{"key_name": "demo", "outcome": "ok"}]
