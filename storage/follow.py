"""Rows after a given seq, for whoever replays and then follows: live streams and the mirror.

Rows come from memory while memory holds all of them, else from hot and cold together. The caller
reads a watermark first and asks up to it; then that watermark is its new position. So no row is
left out and none comes twice.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from storage.hot import HotReader
from storage.reader import HotSlice
from storage.view import Views


def hot_rows(
    hot: HotReader, table: str, symbol: str, *, after_seq: int, up_to_seq: int
) -> list[HotSlice] | None:
    """Rows with after_seq < seq <= up_to_seq in seq order; None where memory lacks some."""
    slices = hot.slices(table, symbol, after_seq=after_seq, up_to_seq=up_to_seq)
    # Asked after the slices were taken: what was let go before that is not among them.
    return slices if hot.first_seq(table) <= after_seq + 1 else None


def rows_between(
    views: Views, table: str, symbol: str, *, after_seq: int, up_to_seq: int
) -> Iterator[pa.RecordBatch]:
    """The same from hot and cold; rows that come from sealed files are in time order."""
    slices = hot_rows(views.hot, table, symbol, after_seq=after_seq, up_to_seq=up_to_seq)
    if slices is not None:
        yield from (part.batch for part in slices)
        return
    for batch in views.view().scan(table, symbol):
        seqs = batch.column("seq")
        wanted = pc.and_(pc.greater(seqs, after_seq), pc.less_equal(seqs, up_to_seq))
        rows = batch.filter(wanted)
        if rows.num_rows:
            yield rows
