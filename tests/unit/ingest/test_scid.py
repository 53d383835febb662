import math

import numpy as np
import pytest

from core.errors import FeedGarbled
from ingest.scid import (
    Naming,
    Tally,
    decode,
    first_time_us,
    open_scid,
    sample_prices,
    to_points,
)
from tests.fakes.scid_writer import bar, bundle, header, quote, reader_of, record, scid

# 2023-12-25 23:00 UTC
T_US = 1_703_545_200_000_000
ES = Naming("ES", "ESH24", 100)


def opened(raw):
    return open_scid(reader_of(raw), len(raw), "ESH24.scid")


def decoded(*records, naming=ES, left=None):
    raw = scid(*records)
    return decode(opened(raw).read(0, 10_000), naming, T_US, left)


def columns_of(*records, **more):
    return decoded(*records, **more).batch.columns


def conditions_of(*records, **more):
    columns = columns_of(*records, **more)
    return list(columns["conditions"]) if "conditions" in columns else None


def test_bytes_written_by_hand_are_read_as_the_trade_they_are():
    head = bytes.fromhex("53434944 38000000 28000000 0100 0000 00000000") + bytes(36)
    tick = bytes.fromhex(
        "09e8ed0a96e60d00"  # 3_912_706_800_085_001
        "00000000"
        "2063ea48"  # ask 480_025.0
        "0060ea48"  # bid 480_000.0
        "2063ea48"  # 480_025.0
        "01000000 05000000 00000000 05000000"
    )
    raw = head + tick
    columns = decode(opened(raw).read(0, 1), ES, 7, None).batch.columns
    unix_us = 3_912_706_800_085_001 - 2_209_161_600_000_000
    assert {name: column.tolist() for name, column in columns.items()} == {
        "ts_event": [unix_us - 1],
        "ts_recv": [7],
        "price": [4800.25],
        "size": [5],
        "side": [1],
        "bid": [4800.0],
        "ask": [4800.25],
        "source_seq": [unix_us],
    }


def test_a_trade_keeps_its_names_price_size_side_and_quote():
    batch = decoded(record(T_US + 85_001, 480_025, 5, bid=480_000, ask=480_025, side=1)).batch
    assert (batch.table, batch.symbol, batch.contract) == ("trades", "ES", "ESH24")
    assert batch.source == "scid"
    got = {name: column[0].item() for name, column in batch.columns.items()}
    assert got == {
        "ts_event": T_US + 85_000,
        "ts_recv": T_US,
        "price": 4800.25,
        "size": 5,
        "side": 1,
        "bid": 4800.0,
        "ask": 4800.25,
        "source_seq": T_US + 85_001,
    }


def test_times_before_1970_are_floored_too():
    assert columns_of(record(-1, 1.0))["ts_event"].tolist() == [-1_000]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "at least 56 bytes.*found 0"),
        (b"SCID" + bytes(20), "at least 56 bytes.*found 24"),
        (scid(magic=b"SCDD"), "begin with b'SCID', found b'SCDD'"),
        (scid(record_bytes=24), "records of 40 bytes.*found 24"),
        (header(header_bytes=56)[:4] + bytes(4) + header()[8:], "header of 56 bytes.*found 0"),
        (header()[:4] + b"\xff\xff\xff\x7f" + header()[8:], "found 2147483647"),
    ],
    ids=["empty", "short", "magic", "record size", "no header size", "vast header size"],
)
def test_a_file_that_is_none_is_refused_once_with_what_was_found(raw, message):
    with pytest.raises(FeedGarbled, match=message) as caught:
        opened(raw)
    assert "Sierra Chart" in caught.value.hint


def test_a_file_with_a_header_alone_holds_nothing():
    file = opened(scid())
    assert (file.records, file.partial_bytes) == (0, 0)
    assert list(file.chunks()) == []
    assert first_time_us(file) is None
    assert len(sample_prices(file)) == 0


def test_a_longer_header_is_stepped_over():
    file = opened(scid(record(T_US, 480_025), header_bytes=64))
    assert decode(file.read(0, 5), ES, T_US).batch.columns["price"].tolist() == [4800.25]


def test_a_half_record_at_the_end_is_told_and_not_read():
    whole = record(T_US, 480_025)
    file = opened(scid(whole, whole, tail=whole[:39]))
    assert (file.records, file.partial_bytes) == (2, 39)
    assert len(file.read(0, 100)) == 2


def test_chunks_give_every_record_once_and_in_order():
    file = opened(scid(*(record(T_US + place, 480_025) for place in range(10))))
    parts = list(file.chunks(rows=4))
    assert [len(part) for part in parts] == [4, 4, 2]
    times = np.concatenate([part["time"] for part in parts])
    assert np.diff(times).tolist() == [1] * 9


def test_quotes_bars_and_blanks_are_counted_apart_and_are_no_trades():
    raw_bar = bar(T_US, 480_000, 480_100, 479_900, 480_025)
    got = decoded(
        record(T_US, 480_025),
        quote(T_US + 1, 480_000, 480_025),
        raw_bar,
        bar(T_US, 480_000, 480_000, 480_000, 480_000, trades=1, volume=1),
        bytes(40),
        record(T_US + 2, 480_050),
    )
    assert got.tally == Tally(trades=2, quotes=1, bars=2, blanks=1)
    assert got.tally.records == 6
    assert got.batch.columns["price"].tolist() == [4800.25, 4800.5]


def test_an_index_prints_without_volume_or_quote():
    got = decoded(record(T_US, 16.42, 0), naming=Naming("VIX", "VIX", 1))
    assert got.tally == Tally(trades=1)
    assert got.batch.columns["size"].tolist() == [0]
    assert got.batch.columns["price"].tolist() == [16.42]


def test_tallies_add_up():
    assert Tally(1, 2, 3, 4) + Tally(10, 20, 30, 40) == Tally(11, 22, 33, 44)


@pytest.mark.parametrize(
    ("fields", "side"),
    [
        ({"side": 1}, 1),
        ({"side": -1}, -1),
        ({"side": -1, "bid": 90.0, "ask": 100.0}, -1),
        ({"bid": 99.0, "ask": 100.0}, 1),
        ({"bid": 100.0, "ask": 101.0}, -1),
        ({"bid": 99.0, "ask": 101.0}, 0),
        ({"bid": 100.0, "ask": 100.0}, 0),
        ({"bid": 101.0, "ask": 99.0}, 0),
        ({}, 0),
    ],
    ids=[
        "at ask",
        "at bid",
        "volume before price",
        "price at ask",
        "price at bid",
        "between",
        "locked",
        "crossed",
        "nothing known",
    ],
)
def test_side_comes_from_the_volumes_and_else_from_the_quote(fields, side):
    assert columns_of(record(T_US, 100.0, **fields))["side"].tolist() == [side]


def test_where_both_volumes_are_set_alike_the_quote_decides():
    raw = bytearray(record(T_US, 100.0, 4, bid=99.0, ask=100.0))
    raw[32:40] = (2).to_bytes(4, "little") * 2
    assert columns_of(bytes(raw))["side"].tolist() == [1]


def test_a_quote_that_is_not_positive_is_unknown():
    columns = columns_of(record(T_US, 480_025, bid=0.0, ask=-480_050.0))
    assert math.isnan(columns["bid"][0])
    assert math.isnan(columns["ask"][0])


def test_every_part_of_a_bundle_stays_a_row_of_its_own_and_says_its_place():
    parts = bundle(T_US, 480_025, [3, 1, 2])
    records = [record(T_US - 1_000, 480_025), *parts, record(T_US + 1_000, 480_025)]
    assert conditions_of(*records) == ["", "bundle_first", "bundle", "bundle_last", ""]
    assert columns_of(*records)["size"].tolist() == [1, 3, 1, 2, 1]


def test_without_bundles_there_are_no_conditions():
    assert conditions_of(record(T_US, 480_025)) is None


def test_two_bundles_at_one_price_stay_apart():
    records = bundle(T_US, 480_025, [1, 1]) + bundle(T_US + 5, 480_025, [1, 1])
    assert conditions_of(*records) == ["bundle_first", "bundle_last"] * 2


def test_a_bundle_that_lost_its_last_part_ends_where_the_price_changes():
    records = [
        *bundle(T_US, 480_025, [1, 1, 1])[:2],
        record(T_US + 10, 480_050),
        record(T_US + 11, 480_025),
    ]
    assert conditions_of(*records) == ["bundle_first", "bundle", "", ""]


def test_a_last_part_without_a_first_is_only_that():
    last = bundle(T_US, 480_025, [1, 1])[1]
    assert conditions_of(last, record(T_US + 5, 480_025)) == ["bundle_last", ""]


def test_a_bundle_cut_between_two_reads_goes_on_in_the_second():
    first, middle, last = bundle(T_US, 480_025, [1, 1, 1])
    left = decoded(first).bundle
    assert left is not None
    got = decoded(middle, last, record(T_US + 9, 480_025), left=left)
    assert list(got.batch.columns["conditions"]) == ["bundle", "bundle_last", ""]
    assert got.bundle is None
    elsewhere = decoded(record(T_US + 9, 480_050), left=left)
    assert list(elsewhere.batch.columns["conditions"]) == [""]
    assert elsewhere.bundle is None


def test_a_run_without_trades_leaves_the_open_bundle_as_it_is():
    left = decoded(bundle(T_US, 480_025, [1, 1])[0]).bundle
    assert decoded(quote(T_US, 480_000, 480_025), left=left).bundle == left


def test_unscaled_prices_become_the_decimals_they_stand_for():
    prices = [475.12, 110.015625, 4048.25, 0.00675, 25197.21, 16.42, 609.005]
    raw = np.array(prices, np.float32)
    assert to_points(raw, 1).tolist() == prices


def test_prices_that_are_no_numbers_stay_so_for_the_guard():
    raw = np.array([math.nan, math.inf, -1.0], np.float32)
    points = to_points(raw, 1)
    assert math.isnan(points[0])
    assert points.tolist()[1:] == [math.inf, -1.0]
