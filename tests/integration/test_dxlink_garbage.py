"""What cannot be read is kept as it came, and the prints it hid are fetched."""

import json

import pytest

from ingest.dxlink_wire import HISTORY, STREAM
from tests.fakes.deadline import until

GARBAGE = [
    '{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",["SPY",',
    '{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",[NaN]]}',
    '{"type":"FEED_DATA","channel":3,"data":[]}',
    '{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",["SPY",1]]}',
    '{"type":"FEED_DATA","channel":9,"data":["TimeAndSale",["SPY",1]]}',
    '{"type":"FEED_DATA","channel":3,"data":["Weather",["SPY",1]]}',
    '{"type":"FEED_DATA","channel":3,"data":["Quote",["SPY",1]]}',
    '{"type":"FEED_DATA","channel":3,"data":7}',
    '{"type":7,"channel":3}',
    "[]",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_cannot_be_read_is_kept_and_the_prints_it_hid_are_fetched(feed, server, garbage):
    server.faults.frames_lost = 1
    server.trade(5)
    server.faults.frames_lost = 0
    server.send_text(garbage)
    server.trade(50)
    feed.wait_whole()
    assert [reject.raw for reject in feed.place.rejects] == [garbage.encode()]
    assert not feed.count("dxlink.disconnects")


def test_strange_messages_and_binary_frames_do_not_end_the_feed(feed, server):
    server.send("WEATHER", 0, sunny=True)
    server.send_text(json.dumps({"type": "ERROR", "channel": 3, "error": "BAD_ACTION"}))
    server.send_text(b"\x00\xff\x00")
    server.send("FEED_CONFIG", 9, aggregationPeriod=0.1, dataFormat="COMPACT")
    server.send("CHANNEL_OPENED", 9, service="FEED")
    for _ in range(40):  # what is shown of channels is shown now and then
        server.trade(1)
        feed.wait_whole()
    server.trade(50)
    feed.wait_whole()
    assert not feed.count("dxlink.disconnects")


def test_a_layout_that_changes_under_way_is_followed(feed, server):
    fields = server.clients[0].channels[STREAM].fields["TimeAndSale"]
    server.faults.field_order = fields[::-1]
    server.reconfigure(STREAM, "TimeAndSale")
    server.reconfigure(HISTORY, "TimeAndSale")
    server.trade(50)
    feed.wait_whole()
    server.faults.field_order = [name for name in fields if name != "bidPrice"]
    server.reconfigure(STREAM, "TimeAndSale")
    server.trade(50)
    server.faults.sends_full = True
    server.trade(50)
    feed.wait_whole()


def test_a_layout_without_a_symbol_is_refused_and_what_it_hid_is_fetched(feed, server):
    fields = server.clients[0].channels[STREAM].fields["TimeAndSale"]
    unnamed = {"TimeAndSale": [name for name in fields if name != "eventSymbol"]}
    server.send("FEED_CONFIG", STREAM, dataFormat="COMPACT", eventFields=unnamed)
    server.trade(50)
    until(lambda: feed.count("dxlink.garbled") > 1)
    feed.wait_whole()
    server.reconfigure(STREAM, "TimeAndSale")
    server.trade(50)
    feed.wait_whole()


def test_a_long_frame_that_cannot_be_read_is_kept_whole(feed, server):
    text = '{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",[' + "1," * 100_000
    server.send_text(text)
    server.trade(50)
    feed.wait_whole()
    assert b"".join(reject.raw for reject in feed.place.rejects) == text.encode()
    assert feed.place.rejects[-1].reason == "not JSON (part 4 of 4)"
