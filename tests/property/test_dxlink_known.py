"""What is stored is each version of each print once, however the feed repeats itself."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.dxlink_columns import Prints, content_of
from ingest.dxlink_known import Known, Stored

BASE = 1_795_185_000 << 32
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.integers(1, 3),
        st.booleans(),
        st.sampled_from(["new", "new", "correction", "cancel"]),
    ),
    max_size=12,
).map(lambda events: [(n, price, ok and kind != "cancel", kind) for n, price, ok, kind in events])


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
        return Stored(np.array([row[0] for row in found], np.int64), prints(found).content)


def prints(events):
    """Events of (number or index, price, valid, kind)."""
    numbers = [row[0] for row in events]
    index = np.array([n if n > 12 else BASE + (n << 22) for n in numbers], np.int64)
    columns = {
        "source_seq": index,
        "price": np.array([float(row[1]) for row in events], np.float64),
        "size": np.ones(len(events), np.int64),
        "valid": np.array([row[2] for row in events], np.bool_),
        "kind": np.array([row[3] for row in events], object),
    }
    content = content_of(columns["price"], columns["size"], columns["valid"], columns["kind"])
    flags = np.zeros(len(events), np.int64)
    return Prints(columns, flags, content, np.zeros(len(events), np.bool_))


def told(fresh):
    columns = fresh.columns
    names = ("source_seq", "price", "valid", "kind")
    return list(zip(*(columns[name].tolist() for name in names), strict=True))


def plainly_kept(had, price, valid, kind):
    """What is stored of a print, given the versions stored before; None for nothing."""
    if not had or kind != "new":
        revisions = [row for row in had if row[2] != "new"]
        return None if (price, valid, kind) in revisions[-1:] else (price, valid, kind)
    if any(row[:2] == (price, valid) for row in had):
        return None
    if had[0][2] == "new":
        return price, valid, "correction"
    late = (price, False, "new")  # after what revises it, it counts no more
    return None if late in had else late


@given(st.lists(EVENTS, max_size=5), st.integers(0, 14))
def test_fresh_rows_are_those_a_plain_reading_keeps(calls, floor):
    tape = PlainTape()
    floor_us = 1_795_185_000 * 1_000_000 + floor * 1_000
    known = Known(tape.look_up, floor_us)
    versions = {}
    for events in calls:
        expected = []
        for number, *row in sorted(events, key=lambda event: event[0]):
            had = versions.setdefault(number, [])
            kept = plainly_kept(had, *row)
            if kept is not None:
                had.append(kept)
                expected.append((BASE + (number << 22), *kept))
        found = told(known.fresh(prints(events)))
        assert found == expected
        tape.rows += found


@given(st.lists(EVENTS, max_size=4))
def test_a_memory_made_anew_knows_what_the_old_one_stored(calls):
    tape = PlainTape()
    for events in calls:
        tape.rows += told(Known(tape.look_up, 0).fresh(prints(events)))
        again = Known(tape.look_up, 0)
        assert len(again.fresh(prints([e for e in events if e[3] == "new"]))) == 0


def kept_of(*events):
    known, rows = Known(PlainTape().look_up, 0), []
    for event in events:
        rows += told(known.fresh(prints([event])))
    return [row[2:] for row in rows]


def test_a_print_that_comes_after_its_cancel_does_not_count():
    cancel, late = (5, 1, False, "cancel"), (5, 1, True, "new")
    assert kept_of(cancel, late, late, cancel) == [(False, "cancel"), (False, "new")]


def test_a_cancel_of_a_print_that_never_counted_is_kept():
    void, cancel = (5, 1, False, "new"), (5, 1, False, "cancel")
    assert kept_of(void, cancel, void, cancel) == [(False, "new"), (False, "cancel")]


def test_a_correction_of_what_is_not_compared_is_kept():
    assert kept_of((5, 1, True, "new"), (5, 1, True, "correction"))[1] == (True, "correction")
