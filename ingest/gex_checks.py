"""Holds what was polled against the vendor's own file of the day, second by second. Pure but reads.

One row of `spot_checks` a file: the polled seconds that the file has too, and how many agree.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.clock import NS_PER_US, US_PER_S
from core.schema import SPOT_CHECKS
from ingest.gex_links import Series
from ingest.gex_spool import Part
from storage.view import View

COMPARED: Final = (
    *("spot", "zero_gamma", "sum_gex_vol", "sum_gex_oi"),
    *("major_pos_vol", "major_pos_oi", "major_neg_vol", "major_neg_oi"),
)
WITNESS: Final = "eod"
TOLD_MAX: Final = 3
_TOLERANCE: Final = 1e-9  # of a number printed and read again


def hold_against(
    view: View, parts: Sequence[Part], series: Series, now_ns: int
) -> tuple[pa.RecordBatch, str]:
    """A row of `spot_checks`, and its outcome in words."""
    names = ("ts_event", "package", "category", *COMPARED)
    file = pa.Table.from_batches([part.read(names) for part in parts]).sort_by("ts_event")
    times = _seconds(file)
    start_us, end_us = int(times[0]) * US_PER_S, (int(times[-1]) + 1) * US_PER_S
    stored = view.columns("gex", series.ticker, (*names, "via"), start_us=start_us, end_us=end_us)
    polled = stored.filter(
        (pc.field("via") == "api")
        & (pc.field("package") == series.package)
        & (pc.field("category") == series.category)
    ).sort_by("ts_event")
    polled_times = _seconds(polled)
    place = np.searchsorted(times, polled_times)
    is_there = (place < len(times)) & (times[np.minimum(place, len(times) - 1)] == polled_times)
    ours = polled.filter(pa.array(is_there))
    theirs = file.take(pa.array(place[is_there]))
    agrees = np.ones(ours.num_rows, np.bool_)
    apart: dict[str, int] = {}
    for name in COMPARED:
        same = np.isclose(
            _numbers(ours, name), _numbers(theirs, name), rtol=_TOLERANCE, atol=0, equal_nan=True
        )
        if not same.all():
            apart[name] = int(np.count_nonzero(~same))
        agrees &= same
    rows, matched = ours.num_rows, int(np.count_nonzero(agrees))
    missing = polled.num_rows - rows
    outcome = "unverifiable" if not rows else "match" if matched == rows else "mismatch"
    detail = _detail(rows, apart, missing, polled_times[is_there][~agrees])
    row: dict[str, object] = {
        "symbol": series.ticker,
        "ts_event": now_ns // NS_PER_US,
        "ts_ns": now_ns % NS_PER_US,
        "ts_recv": now_ns // NS_PER_US,
        "source": "gexbot",
        "table_name": "gex",
        "witness": WITNESS,
        "from_ts": start_us,
        "to_ts": end_us,
        "outcome": outcome,
        "rows": rows,
        "matched": matched,
        "detail": detail,
    }
    told = f"{matched} of {rows} polled seconds agree" if rows else detail
    return _batch(row), f"{outcome}: {told}"


def _detail(rows: int, apart: dict[str, int], missing: int, seconds: NDArray[np.int64]) -> str:
    """What differed, or why there was nothing to compare."""
    parts = [f"{name} differs {count} times" for name, count in apart.items()]
    if len(seconds):
        parts.append("first at " + ", ".join(map(str, seconds[:TOLD_MAX].tolist())))
    if missing:
        parts.append(f"{missing} polled seconds are not in the file")
    if not rows:
        parts.append("nothing was polled that the file has")
    return "; ".join(parts)


def _seconds(rows: pa.Table) -> NDArray[np.int64]:
    times: NDArray[np.int64]
    times = rows.column("ts_event").cast(pa.int64()).to_numpy() // US_PER_S
    return times


def _numbers(rows: pa.Table, name: str) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = rows.column(name).to_numpy()
    return numbers


def _batch(row: dict[str, object]) -> pa.RecordBatch:
    fields = [field for field in SPOT_CHECKS.plain_schema if field.name != "seq"]
    return pa.RecordBatch.from_arrays(
        [pa.array([row[field.name]], field.type) for field in fields],
        names=[field.name for field in fields],
    )
