"""Rows cut into entries any which way come back with their seqs and words, each once."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BusRefused
from storage.bus_entries import Entries, read_entry
from storage.bus_keys import Marks, TapeState, entry_id, parse_tape, seq_of, tape_fields
from storage.bus_merge import numbered_rows, rows_up_to
from storage.disk import OsDisk
from storage.hot import HotReader
from storage.paths import Paths
from storage.store import Store
from storage.words import Words
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import trades

SYMBOLS = ("MNQ", "NQ", "SPY")
appends = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from(("Z5", "H6")),
        st.integers(1, 5),
        st.sampled_from(("", "@", "@ TI")),
    ),
    min_size=1,
    max_size=25,
)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
numbers = st.integers(0, 2**62)


def stored(folder, rows):
    """A store with some appends, closed again, and its reader."""
    store = Store.open(Paths(folder), disk=OsDisk(), clock=ManualClock())
    for symbol, month, count, condition in rows:
        batch = trades(symbol, count, conditions=[condition] * count)
        store.append(type(batch)("trades", symbol, symbol + month, "test", batch.columns))
    store.close()
    return HotReader(Paths(folder))


def as_read(entry):
    """A new entry's id and fields, as Redis gives them back."""
    _, first_seq, last_seq, rows, ipc = entry
    fields = (b"first_seq", first_seq, b"last_seq", last_seq, b"rows", rows, b"ipc", ipc)
    return entry_id(int(last_seq)), fields


@settings(max_examples=25, deadline=None)
@given(rows=appends, cuts=st.sets(st.integers(1, 60), max_size=12), window=st.data())
def test_entries_give_back_every_row_once_with_its_seq_and_words(
    tmp_path_factory, rows, cuts, window
):
    hot = stored(tmp_path_factory.mktemp("tape"), rows)
    last_seq = hot.watermarks("trades").durable_seq
    entries = Entries(hot.words)
    edges = sorted({0, last_seq, *(cut for cut in cuts if cut < last_seq)})
    streams = {symbol.encode(): [] for symbol in SYMBOLS}
    for after_seq, up_to_seq in itertools.pairwise(edges):
        for symbol, spans in hot.spans("trades", after_seq, up_to_seq, {}).items():
            for span in spans:
                streams[symbol.encode()].append(as_read(entries.add("trades", symbol, span)))
    after_seq = window.draw(st.integers(0, last_seq - 1))
    up_to_seq = window.draw(st.integers(after_seq + 1, last_seq))
    theirs = Words(Paths(tmp_path_factory.mktemp("copy")), OsDisk())
    theirs.intern("conditions", "known here before")
    parts = numbered_rows("trades", streams, (after_seq, up_to_seq), theirs)
    source = [(s, s + month, told) for s, month, count, told in rows for _ in range(count)]
    found = {}
    for part in parts:
        batch = part.batch
        codes = batch.columns.get("conditions", [theirs.intern("conditions", "")] * batch.rows)
        assert sorted(part.seqs.tolist()) == part.seqs.tolist()
        for seq, code in zip(part.seqs.tolist(), codes, strict=True):
            assert seq not in found
            told = theirs.by_column["conditions"][code]
            found[seq] = (batch.symbol, batch.contract, told)
    assert found == {seq: source[seq - 1] for seq in range(after_seq + 1, up_to_seq + 1)}
    symbol = source[after_seq][0]
    lacking = streams | {symbol.encode(): []}
    assert numbered_rows("trades", lacking, (after_seq, up_to_seq), theirs) is None
    for found in streams.values():
        for stream_id, fields in found:
            entry = read_entry("trades", fields)
            assert seq_of(stream_id) == entry.last_seq == entry.batch["seq"][-1].as_py()
            assert entry.first_seq == entry.batch["seq"][0].as_py()


@given(lengths=st.lists(st.integers(0, 8), min_size=1, max_size=5), entries_max=st.integers(1, 8))
def test_a_table_is_taken_only_as_far_as_every_stream_was_read(lengths, entries_max):
    last_seq = 1_000
    read = {
        b"%d" % number: [(b"%d-0" % (10 * (place + 1) + number), ()) for place in range(length)]
        for number, length in enumerate(min(length, entries_max) for length in lengths)
    }
    up_to_seq = rows_up_to(read, last_seq, entries_max)
    for found in read.values():
        if len(found) == entries_max:  # there may be more after the last one
            assert up_to_seq <= seq_of(found[-1][0])
    if all(len(found) < entries_max for found in read.values()):
        assert up_to_seq == last_seq


@given(
    tape_id=words,
    counts=st.tuples(numbers, numbers),
    fronts=st.dictionaries(words, words, max_size=4),
    marks=st.builds(Marks, numbers, numbers, numbers, st.lists(words).map(tuple)),
)
def test_what_is_said_of_the_tape_is_read_back_the_same(tape_id, counts, fronts, marks):
    state = TapeState(tape_id, *counts, fronts, {"trades": marks})
    assert parse_tape(tape_fields(state)) == state


@given(raw=st.lists(st.binary(max_size=30), max_size=12).filter(lambda raw: len(raw) % 2 == 0))
def test_a_hash_of_somebody_else_is_refused_and_never_believed(raw):
    try:
        found = parse_tape(raw)
    except BusRefused:
        return
    assert found is None or found.tables == {}


@given(raw=st.lists(st.binary(max_size=60), max_size=10).filter(lambda raw: len(raw) % 2 == 0))
def test_an_entry_of_somebody_else_is_refused(raw):
    try:
        read_entry("trades", [b"ipc", b"", *raw])
    except BusRefused:
        return
    raise AssertionError("it was believed")
