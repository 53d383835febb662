"""What a scanner reads itself, what it leaves to the decoder, and that the order stays."""

import numpy as np
import orjson
import pytest

from ingest.dxlink_columns import read_prints
from ingest.dxlink_decode import Decoder, Frame, Garbled, Rows, Scanned
from ingest.dxlink_scan import Scanner
from ingest.dxlink_scan_kernel import WORDS_MAX
from ingest.dxlink_wire import FIELDS
from tests.fakes.dxlink_tape import TruthTape

LAYOUT = list(FIELDS["TimeAndSale"])


def frame(message, ts=5_000):
    return Frame(ts, message if isinstance(message, bytes) else orjson.dumps(message))


def config(fields=LAYOUT, channel=3, event="TimeAndSale"):
    return frame({"type": "FEED_CONFIG", "channel": channel, "eventFields": {event: fields}})


def flat(events, layout=LAYOUT):
    return [event.values()[name] for event in events for name in layout]


def prints(events, layout=LAYOUT, *, channel=3, ts=5_000):
    data = ["TimeAndSale", flat(events, layout)]
    return frame({"type": "FEED_DATA", "channel": channel, "data": data}, ts)


def spaced(told):
    """The same said in a way that no scanner reads."""
    return told._replace(payload=told.payload + b" ")


@pytest.fixture
def scanner():
    """One that has met SPY, as after its first frame."""
    scanner = Scanner()
    scanner.learn(["SPY", "/MNQZ26:XCME", "@", "@ TI"])
    return scanner


def kinds(parts):
    return [type(part) for part in parts]


def indices(parts):
    """The prints of each channel and symbol in the order they come out."""
    found = {}
    for part in parts:
        if isinstance(part, Rows | Scanned):
            for symbol, told in read_prints(part).by_symbol():
                found.setdefault((part.channel, symbol), []).extend(told.index.tolist())
    return found


def test_prints_keep_every_value_the_venue_gave(scanner):
    events = TruthTape().trade(40)
    scanner.learn(sorted({event.symbol for event in events}))
    scanned, parsed = (
        {symbol: told for part in parts for symbol, told in read_prints(part).by_symbol()}
        for parts in (
            Decoder(scanner).decode([config(), prints(events)]),
            Decoder().decode([config(), prints(events)]),
        )
    )
    assert scanned.keys() == parsed.keys()
    for symbol, told in parsed.items():
        for name, column in told.columns.items():
            np.testing.assert_array_equal(scanned[symbol].columns[name], column)
        np.testing.assert_array_equal(scanned[symbol].content, told.content)


def test_words_are_learnt_from_the_first_frame_that_brings_them():
    decoder = Decoder(Scanner())
    events = TruthTape().trade(4, ["SPY"])
    first = decoder.decode([config(), prints(events[:2])])
    second = decoder.decode([prints(events[2:])])
    assert (kinds(first), kinds(second)) == ([Rows], [Scanned])


def test_frames_are_read_together_and_each_keeps_its_own_stamp(scanner):
    events = TruthTape().trade(5, ["SPY"])
    told = [prints(events[:3], ts=1_000), prints(events[3:], ts=2_000)]
    (rows,) = Decoder(scanner).decode([config(), *told])
    assert isinstance(rows, Scanned)
    assert rows.ts_recv_ns.tolist() == [1_000] * 3 + [2_000] * 2
    assert rows.last_ns == 2_000


def test_rows_stay_in_order_where_only_some_frames_can_be_scanned(scanner):
    events = TruthTape().trade(60, ["SPY"])
    told = [prints(events[at : at + 3]) for at in range(0, 60, 3)]
    mixed = [spaced(one) if at % 3 == 1 else one for at, one in enumerate(told)]
    parts = Decoder(scanner).decode([config(), *mixed])
    assert kinds(parts) == [Scanned, Rows], "no part for every change of hands"
    assert indices(parts) == {(3, "SPY"): [event.index for event in events]}


def test_frames_of_other_types_between_prints_do_not_part_them(scanner):
    events = TruthTape().trade(4, ["SPY"])
    quote = frame({"type": "FEED_DATA", "channel": 1, "data": ["Quote", ["SPY", 1.0]]})
    parts = Decoder(scanner).decode(
        [
            config(),
            config(["eventSymbol", "bidPrice"], 1, "Quote"),
            *[prints(events[:1]), quote, prints(events[1:2]), quote, prints(events[2:])],
        ]
    )
    assert [(type(part), part.event, len(part)) for part in parts] == [
        (Scanned, "TimeAndSale", 4),
        (Rows, "Quote", 2),
    ]


def test_each_channel_has_its_own_layout_and_its_own_rows(scanner):
    live, history = TruthTape().trade(4, ["SPY"]), TruthTape(2).trade(4, ["SPY"])
    turned = LAYOUT[::-1]
    parts = Decoder(scanner).decode(
        [
            *[config(), config(turned, 5)],
            *[prints(live[:2]), prints(history[:2], turned, channel=5)],
            *[prints(live[2:]), prints(history[2:], turned, channel=5)],
        ]
    )
    assert kinds(parts) == [Scanned, Scanned]
    assert indices(parts) == {
        (3, "SPY"): [event.index for event in live],
        (5, "SPY"): [event.index for event in history],
    }


def test_a_new_layout_rules_what_comes_after_it_and_nothing_before(scanner):
    events = TruthTape().trade(6, ["SPY"])
    short = ["index", "price", "eventSymbol"]
    before, after, last = Decoder(scanner).decode(
        [
            *[config(), prints(events[:2])],
            *[config(short), prints(events[2:4], short)],
            *[config(["exchangeCode", *LAYOUT]), frame(
                {"type": "FEED_DATA", "channel": 3, "data": ["TimeAndSale", [
                    value for event in events[4:] for value in ("G", *flat([event]))
                ]]}
            )],
        ]
    )  # fmt: skip
    assert kinds([before, after, last]) == [Scanned, Scanned, Rows]
    found = [price for part in (before, after) for price in part.values["price"].tolist()]
    assert found + last.values["price"] == [event.price for event in events]
    told = read_prints(after).prints
    assert told.valid.all()
    assert np.isnan(told.columns["bid"]).all()
    assert not told.columns["size"].any()
    assert not told.flags.any()
    assert not told.legs.any()


def test_a_layout_that_is_taken_back_is_not_scanned_by(scanner):
    events = TruthTape().trade(2, ["SPY"])
    parts = Decoder(scanner).decode([config(), config(["price"]), prints(events)])
    assert kinds(parts) == [Garbled, Garbled]


def test_what_the_server_says_keeps_its_place_among_scanned_rows(scanner):
    events = TruthTape().trade(2, ["SPY"])
    opened = {"type": "CHANNEL_OPENED", "channel": 3}
    parts = Decoder(scanner).decode(
        [config(), prints(events[:1]), frame(opened), prints(events[1:])]
    )
    assert kinds(parts) == [Scanned, dict, Scanned]


def test_rows_as_objects_come_out_between_the_scanned_rows_around_them(scanner):
    events = TruthTape().trade(6, ["SPY"])
    objects = [{"eventType": "TimeAndSale", **event.values()} for event in events[2:4]]
    full = frame({"type": "FEED_DATA", "channel": 3, "data": objects})
    parts = Decoder(scanner).decode([config(), prints(events[:2]), full, prints(events[4:])])
    assert indices(parts) == {(3, "SPY"): [event.index for event in events]}


def test_decoders_of_several_connections_share_words_and_no_layouts(scanner):
    one, other = Decoder(scanner), Decoder(scanner)
    events = TruthTape().trade(2, ["SPY"])
    assert kinds(one.decode([config(), prints(events)])) == [Scanned]
    assert kinds(other.decode([prints(events)])) == [Garbled]


def test_a_table_that_is_full_of_words_still_reads_what_it_knows(scanner):
    scanner.learn(f"{n}" for n in range(2 * WORDS_MAX))
    assert len(scanner.words) == WORDS_MAX
    decoder = Decoder(scanner)
    known, unknown = (
        frame({"type": "FEED_DATA", "channel": 3, "data": ["TimeAndSale", [symbol, 1, 2.5]]})
        for symbol in ("17", f"{2 * WORDS_MAX - 1}")
    )
    names = ["eventSymbol", "index", "price"]
    assert kinds(decoder.decode([config(names), known])) == [Scanned]
    assert kinds(decoder.decode([unknown])) == kinds(decoder.decode([unknown])) == [Rows]


def test_that_the_table_is_full_is_told_once(scanner, caplog):
    scanner.learn(f"{n}" for n in range(2 * WORDS_MAX))
    scanner.learn(["one more"])
    scanner.learn(["SPY", "x" * 17, "\u00e9"])
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(" ")[0] for line in told] == ["words.full"]


def test_a_server_that_speaks_of_more_and_more_channels_costs_no_room_for_them(scanner):
    decoder = Decoder(scanner)
    decoder.decode([config(channel=channel) for channel in range(1, 2_000, 2)])
    assert set(decoder._scannable) == {1, 3, 5}
    assert kinds(decoder.decode([prints(TruthTape().trade(2, ["SPY"]), channel=7)])) == [Rows]


def test_what_a_gather_gave_is_not_changed_by_the_next(scanner):
    decoder = Decoder(scanner)
    events = TruthTape().trade(4, ["SPY"])
    (first,) = decoder.decode([config(), prints(events[:2])])
    (second,) = decoder.decode([prints(events[2:])])
    assert first.values["index"].tolist() == [event.index for event in events[:2]]
    assert second.values["index"].tolist() == [event.index for event in events[2:]]


def test_what_is_remembered_of_prints_does_not_keep_the_rest_of_them(scanner):
    told = prints(TruthTape().trade(40, ["SPY"]))
    (part,) = Decoder(scanner).decode([config(), told])
    assert isinstance(part, Scanned)
    ((_, found),) = read_prints(part).by_symbol()
    for column in (found.index, found.columns["size"], found.legs):
        kept = column
        while kept.base is not None:
            kept = kept.base
        assert kept.nbytes <= 8 * len(part)
