"""The decoder against files made record by record, cut in random places."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import FeedGarbled
from ingest.scid import Naming, Tally, decode, open_scid
from tests.fakes.scid_writer import bar, bundle, quote, reader_of, record, scid

T_US = 1_703_545_200_000_000
ES = Naming("ES", "ESH24", 100)
PRICES = st.integers(19_000, 19_010).map(lambda ticks: ticks * 25.0)


@st.composite
def tapes(draw):
    """Records of every kind with what must come out: (price, size, side, condition) rows."""
    records, rows, tally = [], [], Tally()
    for place in range(draw(st.integers(0, 12))):
        at_us = T_US + place * 1_000
        price = draw(PRICES)
        match draw(st.sampled_from(["trade", "bundle", "quote", "bar", "blank"])):
            case "trade":
                size, side = draw(st.integers(1, 50)), draw(st.sampled_from([-1, 1]))
                records.append(record(at_us, price, size, side=side))
                rows.append((price / 100, size, side, ""))
                tally += Tally(trades=1)
            case "bundle":
                sizes = draw(st.lists(st.integers(1, 50), min_size=2, max_size=5))
                records += bundle(at_us, price, sizes, side=1)
                places = ["bundle_first", *["bundle"] * (len(sizes) - 2), "bundle_last"]
                rows += [(price / 100, n, 1, w) for n, w in zip(sizes, places, strict=True)]
                tally += Tally(trades=len(sizes))
            case "quote":
                records.append(quote(at_us, price, price + 25))
                tally += Tally(quotes=1)
            case "bar":
                records.append(bar(at_us, price, price, price, price))
                tally += Tally(bars=1)
            case _:
                records.append(bytes(40))
                tally += Tally(blanks=1)
    return records, rows, tally


@settings(max_examples=200, deadline=None)
@given(tapes(), st.integers(1, 7), st.integers(0, 39))
def test_any_cut_into_chunks_gives_the_same_rows_and_counts(tape, chunk_rows, tail_bytes):
    records, rows, expected = tape
    raw = scid(*records, tail=bytes(tail_bytes))
    file = open_scid(reader_of(raw), len(raw), "x.scid")
    assert file.partial_bytes == tail_bytes
    tally, bundle_left, got = Tally(), None, []
    for part in file.chunks(chunk_rows):
        done = decode(part, ES, T_US, bundle_left)
        tally, bundle_left = tally + done.tally, done.bundle
        columns = done.batch.columns
        words = columns.get("conditions", np.full(done.batch.rows, "", object))
        got += zip(
            columns["price"].tolist(),
            columns["size"].tolist(),
            columns["side"].tolist(),
            words.tolist(),
            strict=True,
        )
    assert got == rows
    assert tally == expected
    assert bundle_left is None


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=400).map(lambda raw: scid(tail=raw))))
def test_any_bytes_are_decoded_whole_or_refused_with_one_error(raw):
    try:
        file = open_scid(reader_of(raw), len(raw), "x.scid")
    except FeedGarbled:
        return
    done = decode(file.read(0, 100), ES, T_US)
    assert done.tally.records == file.records
    assert done.batch.rows == done.tally.trades
