"""The kernel against a book of dicts, over markets and over nonsense, whole and in chunks."""

from datetime import date
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import TickBatch
from ingest.book import Book
from ingest.depth import RECORD, DepthNaming, decode
from tests.fakes.depth_writer import PairOptions, make_pair
from tests.fakes.plain_book import PlainBook, told_bests, told_ladders

ES = DepthNaming("ES", "ESH24", 100, date(2023, 12, 25))
TICK = 0.25
LEVELS = 30_000


def batch_of(pair):
    return decode(np.frombuffer(b"".join(pair.depth), RECORD), 0, ES, 0).batch


def check(batch, cuts):
    """Whole, in chunks and by dicts there is one answer; bests are empty where no batch ends."""
    plain = PlainBook()
    plain.apply(batch)
    whole = Book(TICK, LEVELS)
    bests, ladders = whole.apply(batch)
    assert told_bests(bests, TICK) == plain.bests
    assert told_ladders(ladders, TICK) == plain.ladders
    parts = Book(TICK, LEVELS)
    edges = sorted({0, batch.rows, *(cut % (batch.rows + 1) for cut in cuts)})
    part_bests, part_ladders = [], []
    for first, end in pairwise(edges):
        got = parts.apply(batch.take(slice(first, end)))
        part_bests += told_bests(got[0], TICK)
        part_ladders += told_ladders(got[1], TICK)
    assert part_bests == plain.bests
    assert part_ladders == plain.ladders
    assert parts.counts == whole.counts
    assert (parts.memory.state == whole.memory.state).all()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1_000_000),
    st.lists(st.integers(0, 10_000), max_size=8),
    st.sampled_from([None, (3.0, 6.0)]),
    st.booleans(),
)
def test_a_market_gives_the_same_book_as_dicts_in_any_chunks(seed, cuts, hole_s, is_silent):
    options = PairOptions(
        events=120, snapshot_s=5, hole_s=hole_s, is_silent=is_silent, locked_s=(1.0, 2.0)
    )
    check(batch_of(make_pair(seed, options)), cuts)


ROWS = st.tuples(
    st.integers(0, 90_000),  # microseconds since the row before
    st.integers(0, 7),
    st.integers(0, 12),  # ticks above 100 points
    st.integers(0, 3),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ROWS, max_size=60), st.lists(st.integers(0, 60), max_size=4), st.integers(-50_000, 0)
)
def test_nonsense_gives_the_same_book_as_dicts_in_any_chunks(rows, cuts, back_us):
    steps, commands, ticks, sizes, ends = (
        (np.array(c) for c in zip(*rows, strict=True)) if (rows) else (np.zeros(0, np.int64),) * 5
    )
    steps[::7] += back_us  # time goes back here and there
    columns = {
        "ts_event": 1_703_512_800_000_000 + np.cumsum(steps, dtype=np.int64),
        "command": commands.astype(np.int16),
        "price": 100 + ticks * TICK,
        "size": sizes.astype(np.int64),
        "end_of_batch": ends.astype(np.bool_),
    }
    check(TickBatch("depth", "ES", "ESH24", "sierra", columns), cuts)
