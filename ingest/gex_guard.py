"""The guard of gamma rows: keeps impossible ones out of the tape, whoever brings them. Pure.

What a snapshot's own fields may be is judged where it is read; these rules hold for rows that come
as columns as well. Rows in are always good rows plus rejects.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from core.batch import NOBODY, Rejected
from ingest.guard import AHEAD_US_MAX, OLD, RAW_BYTES_MAX, SYMBOL, TIME_US_MIN

AHEAD = "ts_event is more than 5 minutes ahead of our clock"
TICKER = "ticker is empty"
SPOT = "spot is not a finite number"


def check_gamma(
    table: str, rows: pa.RecordBatch, now_us: int
) -> tuple[NDArray[np.bool_], list[Rejected]]:
    """Which rows may enter the tape, and the others as rejects with the first rule they break."""
    is_good = np.ones(rows.num_rows, np.bool_)
    rejects: list[Rejected] = []
    for reason, broken in _judge(rows, now_us):
        if not broken.any():
            continue
        places = np.flatnonzero(broken & is_good).tolist()
        rejects += [_reject(table, rows.slice(place, 1), reason, now_us) for place in places]
        is_good &= ~broken
    return is_good, rejects


def is_sound(told: Mapping[str, object], now_us: int) -> bool:
    """Whether a row told by its values breaks none of the rules."""
    event_us, spot = told["ts_event"], told.get("spot")
    assert isinstance(event_us, int)
    return (
        bool(told["symbol"])
        and bool(told.get("ticker", NOBODY))
        and TIME_US_MIN <= event_us <= now_us + AHEAD_US_MAX
        and (spot is None or (isinstance(spot, float) and math.isfinite(spot)))
    )


def _judge(rows: pa.RecordBatch, now_us: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Every rule with the rows that break it."""
    names = rows.schema.names
    yield SYMBOL, _is_empty(rows.column("symbol"))
    if "ticker" in names:
        yield TICKER, _is_empty(rows.column("ticker"))
    times = rows.column("ts_event").cast(pa.int64()).to_numpy()
    yield OLD, times < TIME_US_MIN
    yield AHEAD, times > now_us + AHEAD_US_MAX
    if "spot" in names:  # null is a spot nobody told
        spot = rows.column("spot")
        is_told = np.ones(len(spot), np.bool_) if not spot.null_count else _mask(spot.is_valid())
        yield SPOT, is_told & ~np.isfinite(spot.to_numpy(zero_copy_only=False))


def _is_empty(text: pa.Array) -> NDArray[np.bool_]:
    return np.array([not word for word in text.to_pylist()], np.bool_)


def _mask(column: pa.Array) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False)
    return mask


def _plain(column: pa.Array) -> object:
    """The one value of a column as JSON can hold it: times as numbers, odd floats as names."""
    if pa.types.is_timestamp(column.type):  # of any year
        column = column.cast(pa.int64())
    (value,) = column.to_pylist()
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _reject(table: str, row: pa.RecordBatch, reason: str, now_us: int) -> Rejected:
    """One row with all it said; its own time is kept where that is one."""
    values = {
        name: _plain(column) for name, column in zip(row.schema.names, row.columns, strict=True)
    }
    event_us = row.column("ts_event").cast(pa.int64())[0].as_py()
    is_sane = TIME_US_MIN <= event_us <= now_us + AHEAD_US_MAX
    return Rejected(
        table,
        str(values.get("symbol") or NOBODY),
        str(values.get("source") or ""),
        reason,
        orjson.dumps(values, default=str)[:RAW_BYTES_MAX],
        now_us,
        event_us if is_sane else None,
    )
