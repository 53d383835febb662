"""A fake DXLink server and a feed that runs against it."""

import pytest

from tests.fakes.deadline import until
from tests.fakes.dxlink_place import running_feed
from tests.fakes.dxlink_server import DxlinkServer
from tests.fakes.manual_clock import ManualClock


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
