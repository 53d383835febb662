"""`latest:` without SQL and with as little Python as can be: slices of the hot blocks.

The answer has plain text, because a dictionary costs a second message, and only the columns that
say what a trade was. `age_ms` is our clock now minus the venue's time of the trade.
"""

from collections.abc import Sequence

import pyarrow as pa

from core.clock import NS_PER_MS, NS_PER_US, Clock
from core.schema import TRADES
from storage.view import View

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
AGE = pa.field("age_ms", pa.float64(), nullable=False)
SCHEMA = pa.schema([*(pa.field(n, TRADES.plain_schema.field(n).type) for n in COLUMNS), AGE])

_PLACES = tuple(TRADES.plain_schema.get_field_index(name) for name in COLUMNS)
_TIME_PLACE = TRADES.plain_schema.get_field_index("ts_event")
_MS_PER_US = NS_PER_US / NS_PER_MS
_AGE_TYPE = pa.float64()


def latest_table(view: View, symbols: Sequence[str], clock: Clock) -> pa.Table:
    """The last valid trade of each symbol that has one."""
    marks = view.watermarks("trades")
    schema = SCHEMA.with_metadata(
        {b"visible_seq": b"%d" % marks.visible_seq, b"durable_seq": b"%d" % marks.durable_seq}
    )
    now_us = clock.now_ns() // NS_PER_US
    batches = []
    for symbol in symbols:
        row = view.latest(symbol)
        if row is not None:
            age_ms = (now_us - row.column(_TIME_PLACE)[0].value) * _MS_PER_US
            arrays = [row.column(place) for place in _PLACES]
            arrays.append(pa.array((age_ms,), _AGE_TYPE))
            batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    table = pa.Table.from_batches(batches, schema)
    return table if len(batches) < 2 else table.combine_chunks()
