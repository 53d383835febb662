"""Whatever a server sends, every row comes out once: as a row, as a reject or as garbled."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ingest.dxlink_columns import read_candles, read_last_trades, read_prints, read_quotes
from ingest.dxlink_decode import Decoder, Frame, Rows
from ingest.dxlink_wire import FIELDS

WORDS = st.sampled_from(["NaN", "Infinity", "-Infinity", "\u0000", "", "NEW", "CANCEL", "BUY"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2)
READERS = {"Quote": read_quotes, "Trade": read_last_trades, "Candle": read_candles}


@st.composite
def conversations(draw):
    event = draw(st.sampled_from(["TimeAndSale", *READERS]))
    layout = draw(st.permutations(FIELDS[event]))
    layout = layout[: draw(st.integers(1, len(layout)))]
    count = draw(st.integers(0, 5))
    symbols = st.sampled_from(["SPY", "/MNQZ26:XCME"])
    rows = [
        [draw(symbols if name == "eventSymbol" else VALUES) for name in layout]
        for _ in range(count)
    ]
    return event, layout, rows


@given(conversations())
def test_every_row_comes_out_once(conversation):
    event, layout, rows = conversation
    data = [event, [value for row in rows for value in row]]
    messages = [
        {"type": "FEED_CONFIG", "channel": 3, "eventFields": {event: layout}},
        {"type": "FEED_DATA", "channel": 3, "data": data},
    ]
    frames = []
    for message in messages:
        try:
            frames.append(Frame(1, orjson.dumps(message)))
        except TypeError:  # a whole number no JSON writer of ours can write
            return
    out = Decoder().decode(frames)
    decoded = [part for part in out if isinstance(part, Rows)]
    if "eventSymbol" not in layout:
        assert not decoded
        assert out
        return
    assert sum(len(part) for part in decoded) == len(rows)
    for part in decoded:
        if event == "TimeAndSale":
            told = read_prints(part)
            counts = [len(prints) for _, prints in told.by_symbol()]
            assert sum(counts) + len(told.rejects) == len(part)
        else:
            read = READERS[event](part)
            found = [columns["ts_recv"] for _, columns in read.by_symbol(part)]
            left_out = 0 if read.keep is None else int((~read.keep).sum())
            assert sum(map(len, found)) + left_out == len(part)
            assert left_out >= len(read.rejects)


@given(st.binary(max_size=60) | st.recursive(VALUES, lambda v: st.lists(v, max_size=3)))
def test_no_bytes_bring_the_decoder_down(anything):
    try:
        raw = (
            anything
            if isinstance(anything, bytes)
            else orjson.dumps({"type": "FEED_DATA", "channel": 3, "data": anything})
        )
    except TypeError:
        return
    assert all(not isinstance(part, Rows) for part in Decoder().decode([Frame(1, raw)]))
