"""`latest:` without SQL and with as little Python as can be: slices of the hot blocks.

The answer has plain text, because a dictionary costs a second message, and only the columns that
say what a trade was. `age_ms` is our clock now minus the venue's time of the trade.
"""

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import flight

from core.clock import NS_PER_US, Clock
from core.schema import TRADES
from storage.head import Word
from storage.latest import AGE, MS_PER_US
from storage.view import Views

COLUMNS = (
    "symbol",
    "ts_event",
    "ts_ns",
    "price",
    "size",
    "side",
    "bid",
    "ask",
    "contract",
    "source",
    "seq",
    "ts_recv",
)
SCHEMA = pa.schema([*(pa.field(n, TRADES.plain_schema.field(n).type) for n in COLUMNS), AGE])


_DURABLE, _VISIBLE = int(Word.DURABLE_SEQ), int(Word.VISIBLE_SEQ)
# Left out, pyarrow makes them anew for every stream, which takes longer than making the stream.
_WRITE_OPTIONS = pa.ipc.IpcWriteOptions()


class LatestAnswers:
    """Makes the answers to `latest:`; one per server."""

    def __init__(self, views: Views, clock: Clock) -> None:
        self._views = views
        self._clock = clock
        self._hot = views.hot.latest_trades(COLUMNS)
        self._words = views.hot.table("trades").head.words

    def table(self, symbols: Sequence[str]) -> tuple[pa.Table, int]:
        """The last valid trade of each symbol that has one, and the bytes of the rows."""
        # Looked at before any row, so every row up to visible_seq was seen; durable first, so it
        # is never ahead.
        durable_seq = self._words[_DURABLE]
        visible_seq = max(self._words[_VISIBLE], durable_seq)
        metadata = pa.KeyValueMetadata(
            {b"visible_seq": b"%d" % visible_seq, b"durable_seq": b"%d" % durable_seq}
        )
        now_us = self._clock.now_ns() // NS_PER_US
        batches = []
        sent_bytes = 0
        for symbol in symbols:
            found = self._hot.get(symbol, now_us) or self._cold(symbol, now_us)
            if found is not None:
                batches.append(found[0])
                sent_bytes += found[1]
        # A schema of its own would be compared with each batch's field by field, every time.
        table = pa.Table.from_batches(batches, SCHEMA).replace_schema_metadata(metadata)
        return table if len(batches) == 1 else table.combine_chunks(), sent_bytes

    def _cold(self, symbol: str, now_us: int) -> tuple[pa.RecordBatch, int] | None:
        """From the lake, where a symbol has not traded for longer than memory reaches back."""
        row = self._views.view().latest(symbol)
        if row is None:
            return None
        age_ms = (now_us - row.column("ts_event")[0].value) * MS_PER_US
        row = row.select(COLUMNS).append_column(AGE, pa.array([age_ms])).cast(SCHEMA)
        return row, row.nbytes


def stream_of(table: pa.Table) -> flight.RecordBatchStream:
    """The answer as Flight sends it."""
    return flight.RecordBatchStream(table, _WRITE_OPTIONS)
