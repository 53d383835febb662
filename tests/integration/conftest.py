"""A fake DXLink server with a feed against it; a real Redis with a tape to be shared on it."""

import pytest

from tests.fakes.deadline import until
from tests.fakes.dxlink_place import running_feed
from tests.fakes.dxlink_server import DxlinkServer
from tests.fakes.manual_clock import ManualClock
from tests.fakes.redis_server import running_redis
from tests.fakes.shared_tape import shared_tape


def settle(feed, server):
    """Wait until everything was heard that was sent."""
    until(lambda: all(feed.count(f"dxlink.rows.{e}") == n for e, n in server.sent.items()))


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def server():
    with DxlinkServer(keepalive_s=0.2) as server:
        yield server


@pytest.fixture
def feed(server, clock, tmp_path):
    with running_feed(server, clock, tmp_path) as feed:
        feed.wait_live()
        server.trade(200)
        feed.wait_whole()
        settle(feed, server)
        yield feed


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(redis_server):
    """Of a Redis that was flushed."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def tape(tmp_path, redis_server, client):
    with shared_tape(tmp_path / "data", redis_server.url) as tape:
        yield tape
