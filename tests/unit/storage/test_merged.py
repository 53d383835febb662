"""Rows of several symbols that have their seqs already, stored all at once."""

import itertools
from contextlib import closing

import numpy as np
import pytest

from storage.disk import OsDisk
from storage.fast import FastTable
from storage.hot import HotReader
from storage.lane import Numbered
from storage.layout import layout_of
from storage.paths import Paths
from storage.segment import Segment
from storage.store import Store, StoreOptions
from storage.words import Words
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import trades

OPTIONS = StoreOptions(commit_ms=10_000, tables=frozenset({"trades"}), is_copy=True)
SMALL = layout_of("trades", block_rows=64, blocks_max=3)
SYMBOLS = ("MNQ", "NQ", "SPY", "QQQ", "MES")


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path)


@pytest.fixture
def store(paths):
    with open_store(paths) as store:
        yield store


def open_store(paths):
    return closing(Store.open(paths, OPTIONS, disk=OsDisk(), clock=ManualClock()))


def numbered(symbol, seqs, **columns):
    """Trades whose source numbers are their seqs."""
    seqs = np.asarray(seqs)
    given = {"source_seq": seqs, "price": seqs * 0.25}
    return Numbered(trades(symbol, len(seqs), **(given | columns)), seqs)


def interleaved(first_seq, rows, symbols):
    """Rows that take turns, a part a symbol."""
    seqs = np.arange(first_seq, first_seq + rows)
    return [numbered(s, seqs[n :: len(symbols)]) for n, s in enumerate(symbols) if n < rows]


def seqs_by_symbol(paths, up_to_seq=None):
    hot = HotReader(paths)
    return {
        symbol: [
            seq
            for part in hot.slices("trades", symbol, up_to_seq=up_to_seq)
            for seq in part.batch.column("seq").to_pylist()
        ]
        for symbol in hot.symbols("trades")
    }


def test_every_symbol_gets_its_rows_with_their_seqs_and_appending_goes_on(store, paths):
    store.append(trades("NQ", 3))
    assert store.append_merged("trades", interleaved(4, 40_000, SYMBOLS)) == 4
    assert store.append(trades("MNQ", 2)) == 40_004
    found = seqs_by_symbol(paths)
    assert sorted(itertools.chain(*found.values())) == list(range(1, 40_006))
    assert found["NQ"][:5] == [1, 2, 3, 5, 10]
    assert found["MNQ"][-3:] == [39_999, 40_004, 40_005]
    hot = HotReader(paths)
    for symbol in SYMBOLS[2:]:
        for part in hot.slices("trades", symbol):
            batch = part.batch
            assert batch.column("source_seq").equals(batch.column("seq"))
            assert np.array_equal(batch.column("price"), np.asarray(batch.column("seq")) * 0.25)
    assert seqs_by_symbol(paths, up_to_seq=9)["NQ"] == [1, 2, 3, 5]
    assert store.watermarks("trades").visible_seq == 40_005


def test_merged_rows_survive_a_restart_and_go_on_after_the_last_one(paths):
    for first_seq, rows, symbols in ((1, 100, SYMBOLS), (101, 7, SYMBOLS[:2])):
        with open_store(paths) as store:
            assert store.append_merged("trades", interleaved(first_seq, rows, symbols)) == first_seq
    found = seqs_by_symbol(paths)
    assert sorted(itertools.chain(*found.values())) == list(range(1, 108))


def test_a_hole_a_double_or_another_beginning_is_refused(store):
    for seqs in ([1, 2, 4], [1, 2, 2], [2, 3, 4]):
        with pytest.raises(AssertionError):
            store.append_merged("trades", [numbered("MNQ", seqs[:1]), numbered("NQ", seqs[1:])])
    assert store.watermarks("trades").visible_seq == 0
    assert store.append(trades("MNQ", 1)) == 1


def test_the_latest_trade_is_the_one_that_stands_after_all_rows(store, paths):
    parts = [
        numbered("MNQ", [1, 3]),
        numbered("NQ", [2]),
        numbered("MNQ", [4], source_seq=[3], kind=["cancel"], valid=[False]),
    ]
    store.append_merged("trades", parts)
    hot = HotReader(paths)
    assert hot.latest("MNQ")["seq"].to_pylist() == [1]
    assert hot.latest("NQ")["seq"].to_pylist() == [2]


def small_table(paths):
    disk = OsDisk()
    words = Words(paths, disk)
    words.recover()
    return FastTable(paths, "trades", words=words, disk=disk, layout=SMALL)


def test_more_rows_or_symbols_than_a_segment_has_room_for_take_several(paths):
    table = small_table(paths)
    for first_seq, rows, symbols in ((1, 30, SYMBOLS[:1]), (31, 700, SYMBOLS), (731, 5, SYMBOLS)):
        assert table.append_merged(interleaved(first_seq, rows, symbols)) == first_seq
    table.commit()
    table.close()
    again = small_table(paths)
    found = again.recover()
    assert (found.rows, found.cut_rows, found.holes) == (735, 0, [])
    assert again.next_seq == 736
    again.close()


def test_of_rows_that_a_kill_cut_short_those_before_the_first_missing_one_are_kept(paths):
    table = small_table(paths)
    table.append_merged(interleaved(1, 20, SYMBOLS[:2]))
    table.commit()
    table.append_merged(interleaved(21, 20, SYMBOLS[:2]))
    path = paths.segment("trades", 1)
    # As it is when the second symbol's rows were not yet counted.
    segment = Segment.open(OsDisk(), path, SMALL)
    segment.visible_rows[1] = 13  # to seq 26
    again = small_table(paths)
    found = again.recover()
    assert (found.rows, found.cut_rows) == (27, 6)
    assert again.append_merged(interleaved(28, 10, SYMBOLS[:2])) == 28
    again.close()
