"""Entries put together from bytes are what Arrow itself would have written, to the last length."""

import itertools

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import TickBatch
from core.schema import TABLES
from storage.arrow_stream import PREFIX_BYTES
from storage.bus_ipc import FRAMES_MAX, Messages, plain_schema
from storage.disk import OsDisk
from storage.hot import HotReader
from storage.layout import BLOCK_ROWS
from storage.paths import Paths
from storage.store import Store
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import trades

NAN = float("nan")
runs = st.lists(
    st.tuples(
        st.integers(1, 80),
        st.sampled_from(("", "@", "@ TI", "Größe")),
        st.sampled_from(("new", "correction", "cancel")),
        st.sampled_from((NAN, 0.0, 99.75)),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def stored(folder, batches):
    store = Store.open(Paths(folder), disk=OsDisk(), clock=ManualClock())
    for batch in batches:
        store.append(batch)
    store.close()
    return HotReader(Paths(folder))


def of_runs(rows):
    for count, condition, kind, bid, is_valid in rows:
        told = {"conditions": [condition] * count, "kind": [kind] * count, "bid": [bid] * count}
        yield trades("MNQ", count, valid=[is_valid] * count, **told)


def plain_rows(span, words, table):
    """The span's rows as Arrow decodes them, in buffers of their own."""
    rows = span.block.batch(words).slice(span.first, span.end - span.first)
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in rows.columns]
    rows = pa.RecordBatch.from_arrays(columns, schema=plain_schema(table)[0])
    return rows.take(pa.array(range(rows.num_rows)))


def check(messages, span, words, table="trades"):
    made, rows = messages.stream(span), plain_rows(span, words, table)
    with pa.ipc.open_stream(made) as reader:
        (read,) = list(reader)
    read.validate(full=True)
    assert read.equals(rows)
    message = rows.serialize().to_pybytes()
    schema_bytes = len(plain_schema(table)[1])
    head_bytes = PREFIX_BYTES + int.from_bytes(message[4:PREFIX_BYTES], "little")
    assert made[schema_bytes:][:head_bytes] == message[:head_bytes]
    assert len(made) == schema_bytes + len(message) + 8


@settings(max_examples=40, deadline=None)
@given(rows=runs, cuts=st.lists(st.integers(0, 480), max_size=10))
def test_every_cut_of_a_block_is_written_as_arrow_writes_it(tmp_path_factory, rows, cuts):
    hot = stored(tmp_path_factory.mktemp("tape"), of_runs(rows))
    last_seq = hot.watermarks("trades").durable_seq
    messages = Messages("trades", hot.words)
    edges = sorted({0, last_seq, *(cut for cut in cuts if cut < last_seq)})
    for _ in range(2):  # made anew, then from what was kept
        for after_seq, up_to_seq in itertools.pairwise(edges):
            (span,) = hot.spans("trades", after_seq, up_to_seq, {})["MNQ"]
            check(messages, span, hot.words)


def test_a_whole_block_and_every_fast_table_are_written_so(tmp_path):
    given = {
        "ts_event": [5, 6, 7],
        "ts_recv": [5, 6, 7],
        "price": [1.5, 2.0, 2.5],
        "bid": [NAN] * 3,
    }
    batches = [trades("NQ", BLOCK_ROWS + 5)]
    for table in ("quotes", "depth"):
        names = {column.name for column in TABLES[table].columns}
        columns = trades("NQ", 3, **given).columns
        some = {name: column for name, column in columns.items() if name in names}
        batches.append(TickBatch(table, "NQ", "NQZ5", "test", some))
    hot = stored(tmp_path, batches)
    for table in ("trades", "quotes", "depth"):
        last_seq = hot.watermarks(table).durable_seq
        spans = hot.spans(table, 0, last_seq, {})["NQ"]
        assert sum(span.end - span.first for span in spans) == last_seq
        for span in spans:
            check(Messages(table, hot.words), span, hot.words, table)


def test_what_is_kept_of_past_entries_is_bounded(tmp_path):
    hot = stored(tmp_path, [trades("NQ", 600, size=[1] * 600)])
    messages = Messages("trades", hot.words)
    (span,) = hot.spans("trades", 0, 600, {})["NQ"]
    for first in range(12):
        for rows in range(1, 500):
            messages.stream(span._replace(first=first, end=first + rows))
    assert len(messages._frames) <= FRAMES_MAX
    check(messages, span, hot.words)
