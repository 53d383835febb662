"""The depth decoder against files made record by record, cut in random places."""

from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import FeedGarbled
from ingest.depth import DepthNaming, Tally, decode, open_depth
from tests.fakes.depth_writer import DAY_US, depth, record
from tests.fakes.scid_writer import reader_of

ES = DepthNaming("ES", "ESH24", 100, date(2023, 12, 25))
HALF_DAY_US = 43_200_000_000


@st.composite
def tapes(draw):
    """Records of every kind with what must come out: (number, command, price, size) rows."""
    records, rows, tally = [], [], Tally()
    for number in range(draw(st.integers(0, 12))):
        at_us = DAY_US + HALF_DAY_US + number
        command, size = draw(st.integers(0, 7)), draw(st.integers(0, 2**32 - 1))
        price = draw(st.integers(1, 30_000)) * 25
        match draw(st.sampled_from(["row", "blank", "unknown", "other day"])):
            case "row":
                records.append(record(at_us, command, price, size))
                rows.append((number, command, price / 100, size))
                tally += Tally(rows=1)
            case "blank":
                records.append(bytes(24))
                tally += Tally(blanks=1)
            case "unknown":
                records.append(record(at_us, draw(st.integers(8, 255)), price, size))
                tally += Tally(refused=1)
            case _:
                records.append(record(at_us + 3 * HALF_DAY_US, command, price, size))
                tally += Tally(refused=1)
    records.append(record(DAY_US + HALF_DAY_US, "clear"))
    rows.append((len(records) - 1, 1, 0.0, 0))
    return records, rows, tally + Tally(rows=1)


@settings(max_examples=200, deadline=None)
@given(tapes(), st.integers(1, 7), st.integers(0, 23))
def test_any_cut_into_chunks_gives_the_same_rows_and_counts(tape, chunk_rows, tail_bytes):
    records, rows, expected = tape
    raw = depth(*records, tail=bytes(tail_bytes))
    file = open_depth(reader_of(raw), len(raw), "x.depth")
    assert file.partial_bytes == tail_bytes
    tally, got = Tally(), []
    for part in file.chunks(chunk_rows):
        done = decode(part, tally.records, ES, 0)
        tally += done.tally
        columns = done.batch.columns
        numbers = columns["source_seq"] - ES.first_source_seq
        picked = (numbers, columns["command"], columns["price"], columns["size"])
        got += zip(*(column.tolist() for column in picked), strict=True)
    assert got == rows
    assert tally == expected


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=400).map(lambda raw: depth(tail=raw))))
def test_any_bytes_are_decoded_whole_or_refused_with_one_error(raw):
    try:
        file = open_depth(reader_of(raw), len(raw), "x.depth")
    except FeedGarbled:
        return
    done = decode(file.read(0, 100), 0, ES, 0)
    assert done.tally.records == file.records
    assert done.batch.rows == done.tally.rows
