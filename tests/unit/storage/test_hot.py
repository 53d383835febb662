"""Appending to the hot store and reading it back through another mapping of the same files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from core.batch import Rejected
from core.errors import StoreBusy, TooMuch, Unavailable
from core.schema import TABLES
from storage.disk import OsDisk
from storage.hot import HotReader
from storage.layout import BLOCK_ROWS
from storage.paths import Paths
from storage.store import Store, StoreOptions
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import START_US, trades

OPTIONS = StoreOptions(commit_ms=10_000, tables=frozenset({"trades", "quotes", "gaps", "rejects"}))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.fixture
def store(paths: Paths) -> Iterator[Store]:
    store = Store.open(paths, OPTIONS, disk=OsDisk(), clock=ManualClock())
    yield store
    store.close()


def rows(hot: HotReader, symbol: str, table: str = "trades") -> pa.Table:
    slices = hot.slices(table, symbol)
    found = pa.Table.from_batches([part.batch for part in slices], TABLES[table].schema)
    found.validate(full=True)
    return found


def test_rows_come_back_as_they_were_given(store: Store, paths: Paths) -> None:
    batch = trades("MNQ", 100, repaired=np.arange(100) % 3 == 0)
    store.append(batch)
    found = rows(HotReader(paths), "MNQ")
    assert found.column("seq").to_pylist() == list(range(1, 101))
    assert found.column("price").to_pylist() == batch.columns["price"].tolist()
    bids = [None if np.isnan(bid) else bid for bid in batch.columns["bid"].tolist()]
    assert found.column("bid").to_pylist() == bids
    assert found.column("repaired").to_pylist() == batch.columns["repaired"].tolist()
    assert set(found.column("valid").to_pylist()) == {True}
    assert set(found.column("kind").to_pylist()) == {"new"}
    assert set(found.column("contract").to_pylist()) == {"MNQZ5"}


def test_a_column_left_out_has_its_default_even_after_batches_that_had_it(
    store: Store, paths: Paths
) -> None:
    store.append(trades("MNQ", 3, valid=np.array([False, True, False])))
    bare = trades("MNQ", 2, 3)
    columns = {k: v for k, v in bare.columns.items() if k not in ("bid", "size", "side")}
    store.append(type(bare)("trades", "MNQ", "MNQH6", "other", columns))
    store.append(trades("MNQ", 1, 5))
    found = rows(HotReader(paths), "MNQ")
    assert found.column("valid").to_pylist() == [False, True, False, True, True, True]
    assert found.column("bid").is_null().to_pylist() == [True, False, False, True, True, True]
    assert found.column("size").to_pylist() == [1, 2, 3, 0, 0, 6]
    assert found.column("source").to_pylist() == ["test"] * 3 + ["other"] * 2 + ["test"]
    assert found.column("contract").to_pylist() == ["MNQZ5"] * 3 + ["MNQH6"] * 2 + ["MNQZ5"]


def test_text_columns_take_words_and_codes_of_known_words(store: Store, paths: Paths) -> None:
    words = np.array(["a", "b", "a"], object)
    codes = np.array([0, 1, 2], np.int16)
    store.append(trades("MNQ", 3, conditions=words, kind=codes))
    found = rows(HotReader(paths), "MNQ")
    assert found.column("conditions").to_pylist() == ["a", "b", "a"]
    assert found.column("kind").to_pylist() == ["new", "correction", "cancel"]


def test_a_reader_opened_first_sees_new_words_symbols_and_blocks(
    store: Store, paths: Paths
) -> None:
    hot = HotReader(paths)
    assert hot.symbols("trades") == []
    assert hot.latest("MNQ") is None
    store.append(trades("MNQ", 10))
    store.append(trades("SPY", BLOCK_ROWS + 10, 10))
    assert hot.symbols("trades") == ["MNQ", "SPY"]
    assert [part.batch.num_rows for part in hot.slices("trades", "SPY")] == [BLOCK_ROWS, 10]
    assert hot.latest("SPY").column("source_seq")[0].as_py() == BLOCK_ROWS + 19


def test_slices_can_be_cut_by_seq(store: Store, paths: Paths) -> None:
    for first in range(0, 60, 10):
        store.append(trades("MNQ" if first % 20 else "NQ", 10, first))
    hot = HotReader(paths)
    cut = hot.slices("trades", "MNQ", after_seq=15, up_to_seq=37)
    seqs = [seq for part in cut for seq in part.batch.column("seq").to_pylist()]
    assert seqs == [*range(16, 21), *range(31, 38)]
    assert (cut[0].first_seq, cut[-1].last_seq) == (16, 37)


def test_order_and_validity_of_a_slice_are_told(store: Store, paths: Paths) -> None:
    hot = HotReader(paths)
    store.append(trades("MNQ", 5, 10))
    part = hot.slices("trades", "MNQ")[0]
    assert part.is_sorted
    assert part.all_valid
    store.append(trades("MNQ", 5, 0, valid=np.zeros(5, np.bool_)))
    part = hot.slices("trades", "MNQ")[0]
    assert not part.is_sorted
    assert not part.all_valid
    assert (part.min_ts_us, part.max_ts_us) == (START_US, START_US + 14_000)


def test_latest_knows_a_contract_that_came_after_the_reader_last_looked(
    store: Store, paths: Paths
) -> None:
    store.append(trades("MNQ", 1))
    latest = HotReader(paths).latest  # as a client that asks for nothing else
    assert latest("MNQ").column("contract")[0].as_py() == "MNQZ5"
    store.append(replace(trades("MNQ", 1, first=1), contract="MNQH6", source="another"))
    assert latest("MNQ").column("contract")[0].as_py() == "MNQH6"
    assert latest("MNQ").column("source")[0].as_py() == "another"


def test_a_reject_whose_symbol_nobody_knows_is_kept(store: Store, paths: Paths) -> None:
    row = Rejected("trades", "", "file", "symbol is empty", b"raw", START_US)
    store.reject([row])
    assert rows(HotReader(paths), "*", "rejects").column("raw").to_pylist() == [b"raw"]


def test_latest_is_the_newest_valid_trade_not_the_last_to_arrive(
    store: Store, paths: Paths
) -> None:
    hot = HotReader(paths)
    store.append(trades("MNQ", 5, 10))
    store.append(trades("MNQ", 5, 0))
    store.append(trades("MNQ", 5, 20, valid=np.zeros(5, np.bool_)))
    latest = hot.latest("MNQ")
    assert latest.column("source_seq")[0].as_py() == 14
    assert latest.schema == TABLES["trades"].plain_schema


def test_durable_follows_visible_at_the_next_commit(store: Store, paths: Paths) -> None:
    hot = HotReader(paths)
    store.append(trades("MNQ", 7))
    assert (hot.watermarks("trades").visible_seq, hot.watermarks("trades").durable_seq) == (7, 0)
    store.commit()
    assert hot.watermarks("trades").durable_seq == 7


def test_a_second_writer_is_refused_and_told_who_writes(store: Store, paths: Paths) -> None:
    with pytest.raises(StoreBusy, match="already writes"):
        Store.open(paths, OPTIONS, disk=OsDisk(), clock=ManualClock())


def test_a_folder_nobody_wrote_to_is_told_as_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no hot data"):
        HotReader(Paths(tmp_path)).slices("trades", "MNQ")


def test_slow_rows_come_back_folded_in_order(store: Store, paths: Paths) -> None:
    hot = HotReader(paths)
    for number in range(30):
        row = {"symbol": "MNQ" if number % 2 else "NQ", "ts_event": number, "ts_recv": number}
        store.append_rows("gaps", [{**row, "gap_id": number}])
        if number % 7 == 0:
            hot.slices("gaps", "")
    found = rows(hot, "", "gaps")
    assert found.column("gap_id").to_pylist() == list(range(30))
    assert found.column("seq").to_pylist() == list(range(1, 31))
    assert rows(hot, "MNQ", "gaps").column("gap_id").to_pylist() == list(range(1, 30, 2))
    assert hot.symbols("gaps") == ["MNQ", "NQ"]


def test_a_word_too_long_for_the_dictionary_is_refused_whole(store: Store, paths: Paths) -> None:
    with pytest.raises(TooMuch):
        store.append(trades("M" * 300, 3))
    store.append(trades("MNQ", 3))
    assert rows(HotReader(paths), "MNQ").column("seq").to_pylist() == [1, 2, 3]


def test_everything_is_back_after_a_restart(paths: Paths) -> None:
    store = Store.open(paths, OPTIONS, disk=OsDisk(), clock=ManualClock())
    hot = HotReader(paths)
    store.append(trades("MNQ", BLOCK_ROWS + 5))
    store.append_rows("gaps", [{"symbol": "MNQ", "ts_event": 1, "ts_recv": 1, "gap_id": 1}])
    store.close()
    clock = ManualClock()
    clock.advance_s(60)
    again = Store.open(paths, OPTIONS, disk=OsDisk(), clock=clock)
    assert again.append(trades("MNQ", 5, BLOCK_ROWS + 5)) == BLOCK_ROWS + 6
    assert rows(hot, "MNQ").num_rows == BLOCK_ROWS + 10
    assert rows(hot, "", "gaps").num_rows == 1
    assert hot.latest("MNQ").column("source_seq")[0].as_py() == BLOCK_ROWS + 9
    again.close()


def test_the_last_trade_is_not_one_older_than_what_the_lake_holds(paths: Paths) -> None:
    before = Store.open(paths, OPTIONS, disk=OsDisk(), clock=ManualClock())
    before.append(trades("MNQ", 3))
    before.append(trades("NQ", 3))
    before.close()
    newest = {"MNQ": START_US + 10**9, "NQ": START_US}
    options = replace(OPTIONS, newest_sealed_us=newest)
    store = Store.open(paths, options, disk=OsDisk(), clock=ManualClock())
    try:
        assert HotReader(paths).latest("MNQ") is None, "readers look for it in the lake"
        assert HotReader(paths).latest("NQ") is not None
        store.append(trades("MNQ", 1, 3))
        assert HotReader(paths).latest("MNQ") is None, "still older than what is sealed"
        store.append(trades("MNQ", 1, ts_event=np.array([START_US + 10**9])))
        assert HotReader(paths).latest("MNQ") is not None
    finally:
        store.close()


def test_a_symbol_whose_word_is_not_told_yet_is_waited_for(store: Store, paths: Paths) -> None:
    store.append(trades("MNQ", 3))
    hot = HotReader(paths)
    assert hot.symbols("trades") == ["MNQ"]
    # As far as a writer is within an append: a block is there, words and rows are told at its end.
    store._fast("trades")._next_block(store.words.intern("symbol", "NQ"))
    assert hot.symbols("trades") == ["MNQ"]
    found = hot.spans("trades", 0, 3, {})
    assert found is not None
    assert list(found) == ["MNQ"]
    store.append(trades("NQ", 2))
    assert hot.symbols("trades") == ["MNQ", "NQ"]
