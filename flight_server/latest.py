"""`latest:` without SQL and with as little Python as can be: slices of the hot blocks.

The answer has plain text, because a dictionary costs a second message, and only the columns that
say what a trade was. `age_ms` is our clock now minus the venue's time of the trade.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
from pyarrow import flight

from core.clock import NS_PER_US, Clock
from core.schema import TRADES
from storage.head import Word
from storage.latest import AGE, MS_PER_US, Found
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


class _Told(NamedTuple):
    """An answer for one symbol, and what it was made of."""

    found: Found
    visible_seq: int
    durable_seq: int
    table: pa.Table


class LatestAnswers:
    """Makes the answers to `latest:`; one per server."""

    def __init__(self, views: Views, clock: Clock) -> None:
        self._views = views
        self._clock = clock
        self._hot = views.hot.latest_trades(COLUMNS)
        self._words = views.hot.table("trades").head.words
        self._told: dict[str, _Told] = {}  # of symbols that have traded, so there are few

    def table(self, symbols: Sequence[str]) -> tuple[pa.Table, int]:
        """The last valid trade of each symbol that has one, and the bytes of the rows."""
        # Looked at before any row, so every row up to visible_seq was seen; durable first, so it
        # is never ahead.
        durable_seq = self._words[_DURABLE]
        visible_seq = max(self._words[_VISIBLE], durable_seq)
        now_us = self._clock.now_ns() // NS_PER_US
        rows = [self._hot.get(name, now_us) or self._cold(name, now_us) for name in symbols]
        if len(rows) == 1 and rows[0] is not None:
            return self._one(symbols[0], rows[0], visible_seq, durable_seq), rows[0].bytes
        there = [found for found in rows if found is not None]
        table = _table([found.row for found in there], visible_seq, durable_seq)
        sent_bytes = sum(found.bytes for found in there)
        return table if len(there) == 1 else table.combine_chunks(), sent_bytes

    def _one(self, symbol: str, found: Found, visible_seq: int, durable_seq: int) -> pa.Table:
        """The answer as it was told last, if nothing has come since: its age is new already."""
        told = self._told.get(symbol)
        if (
            told is None
            or told.found is not found
            or told.visible_seq != visible_seq
            or told.durable_seq != durable_seq
        ):
            table = _table([found.row], visible_seq, durable_seq)
            told = self._told[symbol] = _Told(found, visible_seq, durable_seq, table)
        return told.table

    def _cold(self, symbol: str, now_us: int) -> Found | None:
        """From the lake, where a symbol has not traded for longer than memory reaches back."""
        row = self._views.view().latest(symbol)
        if row is None:
            return None
        age_ms = (now_us - row.column("ts_event")[0].value) * MS_PER_US
        row = row.select(COLUMNS).append_column(AGE, pa.array([age_ms])).cast(SCHEMA)
        return Found(row, row.nbytes)


def _table(rows: Sequence[pa.RecordBatch], visible_seq: int, durable_seq: int) -> pa.Table:
    metadata = {b"visible_seq": b"%d" % visible_seq, b"durable_seq": b"%d" % durable_seq}
    # A schema of its own would be compared with each row's field by field, every time.
    return pa.Table.from_batches(rows, SCHEMA).replace_schema_metadata(metadata)


def stream_of(table: pa.Table) -> flight.RecordBatchStream:
    """The answer as Flight sends it."""
    return flight.RecordBatchStream(table, _WRITE_OPTIONS)
