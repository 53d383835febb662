from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import FeedGarbled
from ingest.ranks import KeptSeqs, Ranks


def seqs(*values):
    return np.array(values, np.int64)


def ranks_over(*chunks):
    """Ranks that have already dealt with some chunks."""
    ranks = Ranks(lambda number: chunks[number])
    for number, chunk in enumerate(chunks):
        ranks.remember(number, chunk)
    return ranks


def new(ranks, values, stored=()):
    return ranks.new_rows(seqs(*values), seqs(*stored)).tolist()


def test_rows_the_tape_lacks_are_new():
    assert new(ranks_over(), [1, 2, 3], [2]) == [True, False, True]


def test_of_equal_rows_as_many_are_known_as_the_tape_holds_and_the_later_ones_are_new():
    assert new(ranks_over(), [5, 5, 5], [5, 5]) == [False, False, True]


def test_equal_rows_in_one_chunk_are_all_new_to_an_empty_tape():
    assert new(ranks_over(), [5, 7, 5]) == [True, True, True]


def test_an_equal_row_in_the_next_chunk_is_new_whether_or_not_the_tape_shows_the_first_already():
    assert new(ranks_over(seqs(4, 5)), [5, 6], [4, 5]) == [True, True]
    assert new(ranks_over(seqs(4, 5)), [5, 6], []) == [True, True]


def test_an_equal_row_far_back_in_a_file_out_of_order_still_counts():
    ranks = ranks_over(seqs(9), seqs(1, 2), seqs(9, 9))
    assert new(ranks, [9, 9], [9, 9, 9, 9]) == [False, True]


def test_nothing_is_read_again_for_a_file_in_order():
    recalled = []
    ranks = Ranks(recalled.append)
    for number in range(5):
        values = seqs(*range(number * 10, number * 10 + 10))
        assert ranks.new_rows(values, seqs()).all()
        ranks.remember(number, values)
    assert recalled == []


def test_empty_chunks_are_no_trouble():
    ranks = ranks_over(seqs())
    assert new(ranks, []) == []
    assert new(ranks, [1]) == [True]


def test_kept_chunks_come_back_and_the_oldest_go_when_there_are_too_many():
    kept = KeptSeqs(rows_max=4)
    name = ("MNQ", "MNQZ26")
    kept.keep(name, 0, seqs(1, 2))
    kept.keep(name, 1, seqs(3, 4))
    assert kept.recall(name, 0).tolist() == [1, 2]
    kept.keep(name, 2, seqs(5))
    assert kept.recall(name, 1).tolist() == [3, 4]
    with pytest.raises(FeedGarbled, match="goes back in time") as caught:
        kept.recall(name, 0)
    assert "sort" in caught.value.hint


CHUNKS = st.lists(st.lists(st.integers(0, 6), max_size=6), max_size=6)


@settings(max_examples=200, deadline=None)
@given(CHUNKS, st.lists(st.integers(0, 6), max_size=10), st.booleans())
def test_any_file_in_any_order_adds_what_the_tape_lacks_and_nothing_else(chunks, before, is_live):
    chunks = [seqs(*chunk) for chunk in chunks]
    ranks = Ranks(lambda number: chunks[number])
    tape = list(before)
    for number, chunk in enumerate(chunks):
        visible = tape if is_live else before
        is_new = ranks.new_rows(chunk, seqs(*visible))
        tape += chunk[is_new].tolist()
        ranks.remember(number, chunk)
    in_file = Counter(value for chunk in chunks for value in chunk.tolist())
    assert Counter(tape) == in_file | Counter(before)
