"""`live:`: first what was stored since a given point, then every row as it becomes visible.

One loop serves replay, following and a client that fell behind: rows after `position` come from
memory where memory still holds them, else from hot and cold together, up to a watermark read
before; then `position` is that watermark. So no row is left out and none comes twice. Rows that
come from memory are in the order of `seq` per symbol; a replay from sealed files is in time order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from core.clock import NS_PER_S, Clock
from storage.follow import rows_between
from storage.view import Views

POLL_S_MIN: Final = 0.000_5
POLL_S_MAX: Final = 0.005
HEARTBEAT_S: Final = 10


@dataclass(frozen=True, slots=True)
class Follow:
    """What to follow; rows with a seq above `position` are sent."""

    table: str
    symbols: Sequence[str]
    position: int


def live_batches(
    views: Views, follow: Follow, *, is_gone: Callable[[], bool], clock: Clock
) -> Iterator[pa.RecordBatch]:
    """Batches until nobody wants them; an empty one now and then shows that the line is alive."""
    hot = views.hot
    table, position = follow.table, follow.position
    schema = views.view().scan(table, follow.symbols[0], start_us=0, end_us=1).schema
    pause_s = POLL_S_MIN
    sent_ns = clock.monotonic_ns()
    while not is_gone():
        visible_seq = hot.watermarks(table).visible_seq
        if visible_seq > position:
            for batch in _rows(views, follow, position, visible_seq):
                yield batch
                sent_ns = clock.monotonic_ns()
            position = visible_seq
            pause_s = POLL_S_MIN
            continue
        if clock.monotonic_ns() - sent_ns > HEARTBEAT_S * NS_PER_S:
            yield _empty(schema)
            sent_ns = clock.monotonic_ns()
        clock.sleep_s(pause_s)
        pause_s = min(pause_s * 1.5, POLL_S_MAX)


def _rows(views: Views, follow: Follow, after_seq: int, up_to_seq: int) -> Iterator[pa.RecordBatch]:
    """Rows with after_seq < seq <= up_to_seq, one symbol after the other."""
    for symbol in follow.symbols:
        yield from rows_between(
            views, follow.table, symbol, after_seq=after_seq, up_to_seq=up_to_seq
        )


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array([], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
