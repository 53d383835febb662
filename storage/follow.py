"""Rows after a given seq, for whoever replays and then follows: live streams and the mirror.

Rows come from memory while memory holds all of them, else from hot and cold together. The caller
reads a watermark first and asks up to it; then that watermark is its new position. So no row is
left out and none comes twice.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from storage.view import Views


def rows_between(
    views: Views, table: str, symbol: str, *, after_seq: int, up_to_seq: int
) -> Iterator[pa.RecordBatch]:
    """Rows with after_seq < seq <= up_to_seq; those from sealed files are in time order."""
    hot = views.hot
    slices = hot.slices(table, symbol, after_seq=after_seq, up_to_seq=up_to_seq)
    # Asked after the slices were taken: what was let go before that is not among them.
    if hot.first_seq(table) <= after_seq + 1:
        yield from (part.batch for part in slices)
        return
    for batch in views.view().scan(table, symbol):
        seqs = batch.column("seq")
        wanted = pc.and_(pc.greater(seqs, after_seq), pc.less_equal(seqs, up_to_seq))
        rows = batch.filter(wanted)
        if rows.num_rows:
            yield rows
