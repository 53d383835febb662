"""A row read where its values lie is the row Arrow reads."""

from datetime import timedelta

import pyarrow as pa
import pytest

from core.schema import BOOK, GEX
from storage.arrow_stream import arrow_bytes
from storage.one_row import EPOCH, SHAPES_MAX, Shapes, plain_row
from storage.slow import with_seq

BOOK_ROW = {
    "symbol": "MNQ",
    "ts_event": EPOCH + timedelta(days=20_000, microseconds=123_456),
    "ts_ns": 789,
    "contract": "MNQZ26",
    "source": "demo",
    "bid_px": [24_916.25 - i for i in range(10)],
    "bid_sz": list(range(10)),
    "ask_px": [float("inf")] * 10,
    "ask_sz": [2**40 + i for i in range(10)],
    "valid": True,
}


def stream_of(table, seq=7, **changed):
    rows = with_seq(table, [{**BOOK_ROW, **changed}], seq)
    return rows, memoryview(arrow_bytes(rows))


@pytest.mark.parametrize(
    "changed",
    [{}, {"valid": False}, {"symbol": "N", "contract": "NZ2026"}, {"symbol": "ÄÖÜ"}, {"ts_ns": -1}],
)
def test_every_column_of_a_ladder_is_as_arrow_reads_it(changed):
    shapes = Shapes()
    stream_shape = shapes.of(stream_of(BOOK)[1])  # another stream of, perhaps, this shape
    rows, raw = stream_of(BOOK, 8, **changed)
    names = rows.schema.names
    assert set(stream_shape.readers) == set(names)
    assert shapes.of(raw).values(raw, names) == plain_row(rows, names)


def test_what_is_null_or_of_another_kind_is_left_to_arrow():
    row = {"symbol": "NDX", "ticker": "NQ_NDX", "spot": 24_900.5, "zero_gamma": None}
    rows = with_seq(GEX, [row], 3)
    raw = memoryview(arrow_bytes(rows))
    shape = Shapes().of(raw)
    assert shape.values(raw, ("spot", "seq")) == {"spot": 24_900.5, "seq": 3}
    assert shape.values(raw, ("spot", "zero_gamma")) is None
    assert shape.values(raw, ("strikes",)) is None
    filled = memoryview(arrow_bytes(with_seq(GEX, [{**row, "zero_gamma": 1.5}], 4)))
    shapes = Shapes()
    assert shapes.of(raw).values(raw, ("zero_gamma",)) is None
    assert shapes.of(filled).values(filled, ("zero_gamma",)) == {"zero_gamma": 1.5}


def test_only_so_many_shapes_are_kept():
    shapes = Shapes()
    for length in range(SHAPES_MAX * 2):
        table = pa.record_batch({"symbol": ["x"], "text": ["y" * 8 * length]})
        raw = memoryview(arrow_bytes(table))
        assert shapes.of(raw).values(raw, ("symbol",)) == {"symbol": "x"}
        assert len(shapes._known) <= SHAPES_MAX
