"""Arrow IPC streams that stand alone, one by one and many together."""

import pyarrow as pa
import pytest

from storage.arrow_stream import arrow_batch, arrow_batches, arrow_bytes


def batch(*numbers, name="n"):
    return pa.record_batch({name: pa.array(numbers, pa.int64())})


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_many_streams_read_together_are_what_they_are_alone(count):
    batches = [batch(*range(size)) for size in range(count)]
    raws = [arrow_bytes(rows) for rows in batches]
    assert arrow_batches(raws) == batches == [arrow_batch(memoryview(raw)) for raw in raws]


def test_streams_of_other_columns_among_them_are_read_as_well():
    batches = [batch(1), batch(2, name="m"), batch(3)]
    assert arrow_batches([arrow_bytes(rows) for rows in batches]) == batches


def test_words_of_their_own_do_not_mix():
    batches = [
        pa.record_batch({"word": pa.array(words).dictionary_encode()})
        for words in (["a", "b"], ["c", "c", "a"], ["b"])
    ]
    found = arrow_batches([arrow_bytes(rows) for rows in batches])
    assert [rows.to_pylist() for rows in found] == [rows.to_pylist() for rows in batches]


def test_a_stream_cut_short_among_whole_ones_is_refused():
    raws = [arrow_bytes(batch(1, 2, 3)), arrow_bytes(batch(4))[:-24], arrow_bytes(batch(5))]
    with pytest.raises(pa.ArrowInvalid):
        arrow_batches(raws)
