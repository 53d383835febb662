from datetime import date

import numpy as np
import pytest

from core.errors import FeedGarbled
from core.schema import DEPTH_COMMANDS
from ingest.depth import (
    DAY_SLACK_US,
    OTHER_DAY,
    UNKNOWN_COMMAND,
    DepthNaming,
    Tally,
    decode,
    first_day,
    open_depth,
    parse_name,
    sample_prices,
)
from ingest.scale import find_scale
from tests.fakes.depth_writer import (
    DAY_US,
    PairOptions,
    clear,
    depth,
    header,
    make_pair,
    record,
    snapshot,
)
from tests.fakes.scid_writer import reader_of

T_US = DAY_US + 82_800_000_000
DAY = date(2023, 12, 25)
ES = DepthNaming("ES", "ESH24", 100, DAY)
SEQ = 20231225_0000000000


def opened(raw):
    return open_depth(reader_of(raw), len(raw), "ESH24.2023-12-25.depth")


def decoded(*records, first=0, naming=ES):
    return decode(opened(depth(*records)).read(0, 10_000), first, naming, 7)


def test_bytes_written_by_hand_are_read_as_the_changes_they_are():
    head = bytes.fromhex("53434444 40000000 18000000 01000000") + bytes(48)
    add_bid = bytes.fromhex("0015590796e60d00 02 00 0400 8053ea48 10000000 00000000")
    delete_ask = bytes.fromhex("e818590796e60d00 07 01 0000 6050ea48 00000000 00000000")
    columns = decode(opened(head + add_bid + delete_ask).read(0, 9), 5, ES, 7).batch.columns
    assert {name: column.tolist() for name, column in columns.items()} == {
        "ts_event": [T_US - 60_000_000, T_US - 59_999_000],
        "ts_recv": [7, 7],
        "command": [DEPTH_COMMANDS.index("add_bid"), DEPTH_COMMANDS.index("delete_ask")],
        "side": [1, -1],
        "price": [4799.0, 4798.75],
        "size": [16, 0],
        "orders": [4, 0],
        "end_of_batch": [False, True],
        "source_seq": [SEQ + 5, SEQ + 6],
    }


def test_columns_have_the_types_the_table_stores():
    batch = decoded(record(T_US, "add_bid", 480_000, 3)).batch
    assert (batch.table, batch.symbol, batch.contract) == ("depth", "ES", "ESH24")
    assert batch.source == "sierra"
    assert {name: str(column.dtype) for name, column in batch.columns.items()} == {
        "ts_event": "int64",
        "ts_recv": "int64",
        "command": "int16",
        "side": "int8",
        "price": "float64",
        "size": "int64",
        "orders": "int32",
        "end_of_batch": "bool",
        "source_seq": "int64",
    }


def test_every_command_keeps_its_word_and_side():
    batch = decoded(*(record(T_US, code, 480_000, 1) for code in range(8))).batch
    words = [DEPTH_COMMANDS[code] for code in batch.columns["command"]]
    assert words == list(DEPTH_COMMANDS)
    assert batch.columns["side"].tolist() == [0, 0, 1, -1, 1, -1, 1, -1]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "at least 64 bytes.*found 0"),
        (b"SCDD" + bytes(20), "at least 64 bytes.*found 24"),
        (depth(magic=b"SCID"), "begin with b'SCDD', found b'SCID'"),
        (depth(record_bytes=40), "records of 24 bytes.*found 40"),
        (header()[:4] + bytes(4) + header()[8:], "header of 64 bytes.*found 0"),
        (header()[:4] + b"\xff\xff\xff\x7f" + header()[8:], "found 2147483647"),
    ],
    ids=["empty", "short", "magic", "record size", "no header size", "vast header size"],
)
def test_a_file_that_is_none_is_refused_once_with_what_was_found(raw, message):
    with pytest.raises(FeedGarbled, match=message) as caught:
        opened(raw)
    assert "Sierra Chart" in caught.value.hint


def test_the_older_layout_with_days_as_times_is_refused():
    days = np.float64(45_285.5).tobytes() + record(T_US, "add_bid", 480_000, 1)[8:]
    with pytest.raises(FeedGarbled, match="times as microseconds"):
        opened(depth(days, days))


def test_a_longer_header_is_stepped_over():
    file = opened(depth(record(T_US, "add_bid", 480_025, 1), header_bytes=96))
    assert decode(file.read(0, 5), 0, ES, 7).batch.columns["price"].tolist() == [4800.25]


def test_a_file_with_a_header_alone_holds_nothing():
    file = opened(depth())
    assert (file.records, file.partial_bytes) == (0, 0)
    assert list(file.chunks()) == []
    assert first_day(file) is None
    assert len(sample_prices(file)) == 0
    assert decode(file.read(0, 5), 0, ES, 7).batch.rows == 0


def test_a_half_record_at_the_end_is_told_and_not_read():
    whole = record(T_US, "add_bid", 480_025, 1)
    file = opened(depth(whole, whole, tail=whole[:23]))
    assert (file.records, file.partial_bytes) == (2, 23)
    assert len(file.read(0, 100)) == 2


def test_zero_pages_are_counted_and_are_no_rows():
    got = decoded(record(T_US, "add_bid", 480_025, 1), bytes(24), bytes(24), first=3)
    assert got.tally == Tally(rows=1, blanks=2)
    assert got.refused == []


def test_an_unknown_command_or_another_day_is_refused_with_its_bytes():
    odd = record(T_US, 9, 480_025, 1)
    early = record(DAY_US - DAY_SLACK_US - 1, "add_bid", 480_025, 1)
    late = record(DAY_US + 86_400_000_000 + DAY_SLACK_US, "add_bid", 480_025, 1)
    good = record(T_US, "add_bid", 480_000, 2)
    got = decoded(odd, early, good, late, good, first=10)
    assert got.tally == Tally(rows=2, refused=3)
    assert got.tally.records == 5
    assert [(reject.reason, reject.raw) for reject in got.refused] == [
        (UNKNOWN_COMMAND, odd),
        (OTHER_DAY, early),
        (OTHER_DAY, late),
    ]
    assert got.batch.columns["source_seq"].tolist() == [SEQ + 12, SEQ + 14]


def test_a_record_just_past_midnight_still_belongs_to_the_file():
    got = decoded(record(DAY_US + 86_400_000_000 + DAY_SLACK_US - 1, "add_bid", 480_025, 1))
    assert got.tally == Tally(rows=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ESH24_FUT_CME.2023-12-25.depth", ("ESH24_FUT_CME", DAY)),
        ("NQZ6.CME.2026-11-20.depth", ("NQZ6.CME", date(2026, 11, 20))),
        ("NQM26-CME.2026-02-30.depth", None),
        ("ESH24_FUT_CME.depth", None),
        ("ESH24_FUT_CME.2023-12-25.scid", None),
    ],
)
def test_a_files_name_tells_stem_and_day(name, expected):
    assert parse_name(name) == expected


@pytest.mark.parametrize(("scale", "raw_per_tick"), [(100, 25), (1, 0.25)])
def test_the_scale_of_a_file_is_found_from_its_own_levels(scale, raw_per_tick):
    pair = make_pair(3, PairOptions(events=200, raw_per_tick=raw_per_tick))
    file = opened(depth(*pair.depth))
    assert find_scale(sample_prices(file), "ES", is_future=True) == scale
    assert first_day(file) == DAY


def test_a_snapshot_is_one_batch_that_begins_with_a_clear():
    got = decoded(*snapshot(T_US, {19_200: 3, 19_199: 4}, {19_201: 5}), clear(T_US + 171))
    columns = got.batch.columns
    words = [DEPTH_COMMANDS[code] for code in columns["command"]]
    assert words == ["clear", "add_bid", "add_bid", "add_ask", "clear"]
    assert columns["end_of_batch"].tolist() == [False, False, False, True, True]
    assert columns["price"].tolist() == [0.0, 4800.0, 4799.75, 4800.25, 0.0]
    assert columns["ts_event"].tolist()[-1] == T_US + 171
