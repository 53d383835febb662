"""Frames into columns, by the layout last announced and no other."""

import numpy as np
import orjson
import pytest

from ingest.dxlink_columns import read_last_trades, read_prints, read_quotes
from ingest.dxlink_decode import Decoder, Frame, Garbled, Rows
from tests.fakes.dxlink_tape import TruthTape

LAYOUT = ["eventSymbol", "eventFlags", "index", "price", "size", "bidPrice", "validTick", "type"]


def frame(message, ts=5_000):
    return Frame(ts, message if isinstance(message, bytes) else orjson.dumps(message))


def config(fields, channel=3, event="TimeAndSale"):
    return frame({"type": "FEED_CONFIG", "channel": channel, "eventFields": {event: fields}})


def data(*blocks, channel=3, ts=5_000):
    return frame({"type": "FEED_DATA", "channel": channel, "data": list(blocks)}, ts)


def flat(events, layout=LAYOUT):
    return [event.values()[name] for event in events for name in layout]


def prints_of(rows):
    """The prints of rows of one symbol, and what was refused."""
    read = read_prints(rows)
    ((symbol, prints),) = read.by_symbol()
    assert symbol == "SPY"
    return prints, read.rejects


def decoded(*frames):
    return Decoder().decode(frames)


def test_prints_keep_every_value_the_venue_gave():
    events = TruthTape().trade(40, ["SPY"])
    (rows,) = decoded(config(LAYOUT), data("TimeAndSale", flat(events)))
    prints, rejects = prints_of(rows)
    assert not rejects
    columns = prints.columns
    assert columns["source_seq"].tolist() == [e.index for e in events]
    assert columns["price"].tolist() == [e.price for e in events]
    assert columns["size"].tolist() == [e.size for e in events]
    assert prints.valid.tolist() == [e.is_valid for e in events]
    assert (columns["ts_event"] // 1000).tolist() == [e.ms for e in events]
    assert np.isnan(columns["bid"]).tolist() == [e.bid == "NaN" for e in events]


def test_frames_of_one_layout_are_sliced_together_each_with_its_own_stamp():
    first, second = TruthTape().trade(3, ["SPY"]), TruthTape(2).trade(2, ["SPY"])
    (rows,) = decoded(
        config(LAYOUT),
        data("TimeAndSale", flat(first), ts=1_000),
        data("TimeAndSale", flat(second), ts=2_000),
    )
    assert rows.ts_recv_ns.tolist() == [1_000] * 3 + [2_000] * 2


def test_symbols_of_one_frame_come_apart_in_order():
    events = TruthTape().trade(30)
    (rows,) = decoded(config(LAYOUT), data("TimeAndSale", flat(events)))
    split = list(read_prints(rows).by_symbol())
    assert len(split) == 2
    for symbol, part in split:
        assert part.index.tolist() == [e.index for e in events if e.symbol == symbol]


def test_a_new_layout_rules_what_comes_after_it_and_nothing_before():
    events = TruthTape().trade(4, ["SPY"])
    turned = LAYOUT[::-1]
    before, after = decoded(
        config(LAYOUT),
        data("TimeAndSale", flat(events[:2])),
        config(turned),
        data("TimeAndSale", flat(events[2:], turned)),
    )
    found = before.values["price"] + after.values["price"]
    assert found == [e.price for e in events]


def test_one_frame_may_hold_several_types():
    events = TruthTape().trade(2, ["SPY"])
    prints, quotes = decoded(
        config(LAYOUT),
        config(["eventSymbol", "bidPrice", "askPrice"], event="Quote"),
        data("TimeAndSale", flat(events), "Quote", ["SPY", 1.0, "NaN"]),
    )
    assert (prints.event, quotes.event) == ("TimeAndSale", "Quote")
    columns, _, rejects = read_quotes(quotes)
    assert columns["bid"].tolist() == [1.0]
    assert np.isnan(columns["ask"][0])
    assert columns["ts_event"].tolist() == [5]
    assert not rejects


def test_rows_as_objects_decode_to_the_same():
    events = TruthTape().trade(3, ["SPY"])
    full = [{"eventType": "TimeAndSale", **event.values()} for event in events]
    (rows,) = decoded(frame({"type": "FEED_DATA", "channel": 3, "data": full}))
    prints, _ = prints_of(rows)
    assert prints.index.tolist() == [e.index for e in events]


def test_an_object_that_cannot_be_read_costs_no_row_beside_or_before_it():
    events = TruthTape().trade(4, ["SPY"])
    full = [{"eventType": "TimeAndSale", **event.values()} for event in events[2:]]
    found = decoded(
        config(LAYOUT),
        data("TimeAndSale", flat(events[:2])),
        frame({"type": "FEED_DATA", "channel": 3, "data": [full[0], {"eventType": "Weather"}]}),
        frame({"type": "FEED_DATA", "channel": 3, "data": [full[1]]}),
    )
    rows = [part for part in found if isinstance(part, Rows)]
    index = [i for part in rows for i in prints_of(part)[0].index.tolist()]
    assert index == [event.index for event in events]
    assert [type(part) for part in found].count(Garbled) == 1
    assert len(rows) == 2, "objects of several frames are read together"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"type":"FEED_DATA","chan', "not JSON"),
        (b'{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",[NaN]]}', "not JSON"),
        (b"[1,2]", "not a DXLink message"),
        (b"\x00\xff", "not JSON"),
        (b'{"type":"FEED_DATA","channel":3,"data":[]}', "data is not a list with values"),
        (b'{"type":"FEED_DATA","channel":3,"data":["TimeAndSale"]}', "pairs"),
        (b'{"type":"FEED_DATA","channel":3,"data":["TimeAndSale",["SPY",1]]}', "multiple of 8"),
        (b'{"type":"FEED_DATA","channel":3,"data":["Weather",[1]]}', "unknown event type"),
        (b'{"type":"FEED_DATA","channel":5,"data":["TimeAndSale",["SPY"]]}', "before its layout"),
        (b'{"type":"FEED_DATA","channel":3,"data":[{"eventType":"Weather"}]}', "known eventType"),
    ],
)
def test_what_cannot_be_read_is_named_and_never_guessed(broken, reason):
    *_, garbled = decoded(config(LAYOUT), frame(broken))
    assert isinstance(garbled, Garbled)
    assert reason in garbled.reason
    assert garbled.frame.payload == broken


def test_a_layout_without_a_symbol_is_refused_with_the_data_that_follow():
    refused, unread = decoded(config(["price"]), data("TimeAndSale", [1.0]))
    assert "lacks eventSymbol" in refused.reason
    assert "before its layout" in unread.reason


def test_numbers_told_as_text_are_read():
    values = flat(TruthTape().trade(3, ["SPY"]))
    texts = [str(v) if type(v) in (int, float) else v for v in values]
    (plain, _), (told, rejects) = (
        prints_of(decoded(config(LAYOUT), data("TimeAndSale", found))[0])
        for found in (values, texts)
    )
    assert rejects == []
    assert told.index.tolist() == plain.index.tolist()
    assert told.content.tolist() == plain.content.tolist()


def test_a_row_of_the_wrong_kind_is_refused_alone():
    events = TruthTape().trade(3, ["SPY"])
    values = flat(events)
    values[len(LAYOUT) + LAYOUT.index("price")] = "cheap"
    values[2 * len(LAYOUT) + LAYOUT.index("size")] = 1.5
    (rows,) = decoded(config(LAYOUT), data("TimeAndSale", values))
    prints, rejects = prints_of(rows)
    assert prints.index.tolist() == [events[0].index]
    reasons = [reject.reason for reject in rejects]
    assert reasons == ["price is not a number", "size is not a whole number"]
    assert b"cheap" in rejects[0].raw


def test_cancelled_and_invalid_prints_are_kept_and_marked_not_valid():
    layout = ["eventSymbol", "index", "price", "validTick", "type"]
    block = ["SPY", 1 << 32, 9.0, True, "CANCEL", "SPY", 2 << 32, 9.0, False, "NEW"]
    (rows,) = decoded(config(layout), data("TimeAndSale", block))
    prints, _ = prints_of(rows)
    assert prints.valid.tolist() == [False, False]
    assert prints.columns["kind"].tolist() == ["cancel", "new"]


def test_last_values_are_graded_conflated_and_empty_ones_left_out():
    layout = ["eventSymbol", "time", "price", "size"]
    block = ["VIX", 1_762_525_800_000, 19.08, "NaN", "VIX", 0, "NaN", "NaN"]
    (rows,) = decoded(config(layout, channel=1, event="Trade"), data("Trade", block, channel=1))
    read = read_last_trades(rows)
    ((symbol, columns),) = read.by_symbol(rows)
    assert symbol == "VIX"
    assert columns["price"].tolist() == [19.08]
    assert columns["grade"].tolist() == ["conflated"]
    assert not read.rejects


def test_control_messages_keep_their_place_among_the_data():
    events = TruthTape().trade(2, ["SPY"])
    closed = {"type": "CHANNEL_CLOSED", "channel": 3}
    first, control, second = decoded(
        config(LAYOUT),
        data("TimeAndSale", flat(events[:1])),
        frame(closed),
        data("TimeAndSale", flat(events[1:])),
    )
    assert control == closed
    assert isinstance(first, Rows)
    assert isinstance(second, Rows)
