"""A DXLink server with a feed; a real Redis with a tape; a bucket and a lake in it."""

import pytest

from core.settings import load_settings
from tests.fakes.deadline import until
from tests.fakes.dxlink_place import running_feed
from tests.fakes.dxlink_server import DxlinkServer
from tests.fakes.manual_clock import ManualClock
from tests.fakes.redis_server import running_redis
from tests.fakes.s3_server import running_s3
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


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def given(s3, tmp_path):
    """Settings of a machine with a lake of its own in the bucket."""
    return load_settings(
        {"DATA_DIR": str(tmp_path / "one"), **s3.settings(tmp_path.name)}, environ={}
    )
