"""What the reader hands on keeps its order, also where all of it was read at once."""

import anyio
import orjson

from core.board import Board
from ingest.drift import Drift
from ingest.dxlink_client import Client, Link, Timing
from ingest.dxlink_decode import Frame
from ingest.dxlink_intake import Intake, Mark
from ingest.dxlink_session import Session
from ingest.dxlink_wire import HISTORY, STREAM, TICKER
from tests.fakes.dxlink_place import SPY
from tests.fakes.manual_clock import ManualClock


class Socket:
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_data_read_together_with_the_word_that_makes_a_connection_live_come_after_it(tmp_path):
    clock = ManualClock()
    intake = Intake(tmp_path / "journal")
    client = Client(None, intake, Board("ingest", clock), clock, Timing(), Drift())
    session = Session("QT", (SPY,), 30.0, 0, state="opening", open_channels={TICKER, STREAM})
    opened = orjson.dumps({"type": "CHANNEL_OPENED", "channel": HISTORY})
    data = orjson.dumps({"type": "FEED_DATA", "channel": STREAM, "data": ["TimeAndSale", []]})

    async def hear():
        client._hear(Link(1, session, anyio.CancelScope(), Socket()), [data, opened, data, data])

    anyio.run(hear)
    before, word, live, *after = intake.take(10, 0)
    assert [before, word] == [Frame(clock.now_ns(), data, 1), Frame(clock.now_ns(), opened, 1)]
    assert isinstance(live, Mark)
    assert live.what == "live"
    assert after == [Frame(clock.now_ns(), data, 1)] * 2
    intake.close()
