"""The writer tells who waits for durable rows of each pass over its tables."""

from contextlib import closing

from storage.disk import OsDisk
from storage.head import Head, Word
from storage.paths import Paths
from storage.store import Store, StoreOptions
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import trades

OPTIONS = StoreOptions(commit_ms=10_000_000, tables=frozenset({"trades", "quotes", "gaps"}))


def test_a_pass_that_made_rows_durable_is_counted_with_its_time_and_no_other(tmp_path):
    clock = ManualClock()
    with closing(Store.open(Paths(tmp_path), OPTIONS, disk=OsDisk(), clock=clock)) as store:
        words = Head(Paths(tmp_path).head("trades"), is_writer=False).words
        before = words[Word.PASSES]
        clock.advance_s(1)
        store.append(trades("MNQ", 3))
        store.commit()
        assert words[Word.PASSES] == before + 1
        assert words[Word.PASSED_NS] == clock.monotonic_ns()
        clock.advance_s(1)
        store.commit()
        assert words[Word.PASSES] == before + 1
        store.append_rows("gaps", [{"symbol": "MNQ", "ts_event": 1, "ts_recv": 1, "reason": "x"}])
        store.commit()
        assert words[Word.PASSES] == before + 2
        seen = words[Word.NEWS]
        store.append(trades("MNQ", 3))
        store.append_rows("gaps", [{"symbol": "MNQ", "ts_event": 1, "ts_recv": 1, "reason": "x"}])
        store.commit()
        assert words[Word.PASSES] == before + 3
        assert words[Word.NEWS] == seen + 2
        assert words[Word.PASSED_NS] == clock.monotonic_ns()
        assert words[Word.ENDED] == words[Word.PASSES]
        assert words[Word.ENDED_NS] == clock.monotonic_ns()
