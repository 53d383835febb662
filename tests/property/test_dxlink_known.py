"""What is stored is each version of each print once, however the feed repeats itself."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.dxlink_columns import Prints, content_of
from ingest.dxlink_known import Known, Stored

BASE = 1_795_185_000 << 32
EVENTS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 3), st.sampled_from(["new", "correction"])),
    max_size=12,
)


class PlainTape:
    """Everything stored, found by a plain search."""

    def __init__(self):
        self.rows = []

    def look_up(self, start_us, end_us):
        found = [
            row
            for row in self.rows
            if start_us <= (row[0] >> 32) * 1_000_000 + (row[0] >> 22 & 0x3FF) * 1_000 < end_us
        ]
        index = np.array([row[0] for row in found], np.int64)
        price = np.array([row[1] for row in found], np.float64)
        one = np.ones(len(found), np.int64)
        return Stored(index, content_of(price, one, one.astype(np.bool_)))


def prints(events):
    index = np.array([BASE + (number << 22) for number, _, _ in events], np.int64)
    columns = {
        "source_seq": index,
        "price": np.array([float(price) for _, price, _ in events], np.float64),
        "size": np.ones(len(events), np.int64),
        "valid": np.ones(len(events), np.bool_),
        "kind": np.array([kind for _, _, kind in events], object),
    }
    content = content_of(columns["price"], columns["size"], columns["valid"])
    return Prints(columns, np.zeros(len(events), np.int64), content, ~columns["valid"])


@given(st.lists(EVENTS, max_size=5), st.integers(0, 14))
def test_fresh_rows_are_those_a_plain_reading_keeps(calls, floor):
    tape = PlainTape()
    floor_us = 1_795_185_000 * 1_000_000 + floor * 1_000
    known = Known(tape.look_up, floor_us)
    versions = {}
    for events in calls:
        expected = []
        for number, price, kind in sorted(events, key=lambda event: event[0]):
            had = versions.setdefault(number, [])
            if had and (price == had[-1] or (kind == "new" and price in had)):
                continue
            expected.append((number, price, "correction" if had else kind))
            had.append(price)
        fresh = known.fresh(prints(events))
        found = [
            ((index - BASE) >> 22, price, kind)
            for index, price, kind in zip(
                fresh.index.tolist(),
                fresh.columns["price"].tolist(),
                fresh.columns["kind"].tolist(),
                strict=True,
            )
        ]
        assert found == expected
        tape.rows += [(int(i), p) for i, (_, p, _) in zip(fresh.index, found, strict=True)]


@given(st.lists(EVENTS, max_size=4))
def test_a_memory_made_anew_knows_what_the_old_one_stored(calls):
    tape = PlainTape()
    for events in calls:
        fresh = Known(tape.look_up, 0).fresh(prints(events))
        tape.rows += list(zip(fresh.index.tolist(), fresh.columns["price"].tolist(), strict=True))
        again = Known(tape.look_up, 0)
        assert len(again.fresh(prints([e for e in events if e[2] == "new"]))) == 0
