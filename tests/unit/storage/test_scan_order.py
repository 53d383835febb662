"""Rows of one microsecond that lie in different segments come in order all the same."""

import numpy as np
import pytest

from core.batch import TickBatch
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store, StoreOptions
from storage.view import Views
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import START_US


def append_in_segments(folder, *segments):
    """Store rows (us, ns), each segment after a restart; give them as a scan does."""
    paths = Paths(folder)
    for rows in segments:
        options = StoreOptions(tables=frozenset({"trades", "gaps"}))
        store = Store.open(paths, options, disk=OsDisk(), clock=ManualClock(START_US * 1_000))
        times, rest = np.array(rows).T
        columns = {
            "ts_event": START_US + times,
            "ts_ns": rest.astype(np.int16),
            "ts_recv": np.full(len(rows), START_US),
            "price": np.full(len(rows), 20_000.25),
        }
        store.append(TickBatch("trades", "MNQ", "MNQZ26", "demo", columns))
        store.close()
    table = Views(paths, str(folder / "lake")).view().scan("trades", "MNQ").read_all()
    found = zip(
        (table["ts_event"].cast("int64").to_numpy() - START_US).tolist(),
        table["ts_ns"].to_pylist(),
        table["seq"].to_pylist(),
        strict=True,
    )
    return list(found)


@pytest.mark.parametrize(
    "segments",
    [
        ([(0, 0), (1_000, 1)], [(0, 2)]),
        ([(0, 5)], [(0, 2)]),
        ([(0, 2)], [(0, 5)], [(0, 3)]),
        ([(0, 2)], [(0, 2)]),
        ([(0, 0), (7, 9)], [(7, 9), (8, 0)], [(8, 0), (9, 1)]),
        ([(0, 0), (7, 9)], [(7, 8), (8, 0)], [(8, 0), (9, 1)]),
        ([(5, 0)], [(0, 0), (5, 0)], [(0, 0)]),
    ],
)
def test_rows_come_by_time_and_then_as_they_were_stored(tmp_path, segments):
    found = append_in_segments(tmp_path, *segments)
    assert len(found) == sum(map(len, segments))
    assert found == sorted(found)
