"""Rows made ready for the log of a slow table by whoever has them."""

import pyarrow as pa
import pytest

from core.schema import TABLES
from storage.arrow_stream import arrow_batch, arrow_bytes
from storage.disk import OsDisk
from storage.paths import Paths
from storage.prepared import Prepared, prepare
from storage.slow import SlowTable, with_seq
from storage.slow_reader import SlowReader


def gaps(count, **more):
    rows = {"symbol": ["MNQ"] * count, "reason": [f"hole {n}" for n in range(count)], **more}
    return pa.RecordBatch.from_pydict(rows)


def prepared(rows):
    whole = with_seq(TABLES["gaps"], rows, 1).drop_columns(["seq"])
    return prepare("gaps", whole.columns)


@pytest.mark.parametrize("count", [1, 2, 700])
def test_numbered_they_are_the_bytes_the_writer_would_have_made(count):
    ready = prepared(gaps(count))
    expected = with_seq(TABLES["gaps"], gaps(count), 41)
    assert arrow_batch(ready.numbered(41)).equals(expected)
    with pa.ipc.open_stream(ready.numbered(41)) as reader:
        assert reader.read_all().equals(pa.Table.from_batches([expected]))
    assert len(ready.numbered(41)) == len(arrow_bytes(expected))


def test_they_lie_beside_others_in_the_log_and_are_there_after_a_restart(tmp_path):
    table = SlowTable(Paths(tmp_path), "gaps", disk=OsDisk())
    table.recover()
    assert table.append(gaps(2)) == 1
    ready = prepared(gaps(3))
    assert table.append_numbered(ready.numbered, ready.rows) == 3
    assert table.append(gaps(1)) == 6
    table.close()
    again = SlowTable(Paths(tmp_path), "gaps", disk=OsDisk())
    assert again.recover().rows == 6
    reader = SlowReader(Paths(tmp_path), "gaps")
    rows = [row for part in reader.plain(after_seq=0, up_to_seq=6) for row in part.to_pylist()]
    assert [row["seq"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["reason"][-1] for row in rows] == ["0", "1", "0", "1", "2", "0"]
    again.close()


@pytest.mark.parametrize("seq_at", [-8, 10**9])
def test_numbers_are_written_nowhere_else(seq_at):
    payload = prepared(gaps(1)).payload
    with pytest.raises(AssertionError, match="no room"):
        Prepared(payload, 1, seq_at).numbered(1)


def test_no_rows_are_numbered_as_none():
    nothing = with_seq(TABLES["gaps"], [], 41)
    assert nothing.num_rows == 0
    assert nothing.schema == TABLES["gaps"].plain_schema
