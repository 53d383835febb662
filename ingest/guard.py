"""The guard: keeps impossible rows out of the tape and says which rule each of them broke.

It judges single rows only. Duplicates, order and gaps are other people's work, and a row that is
merely unlikely (a crossed quote, a far-away price) passes. Rows in are always rows out plus
rejects. A batch without fault costs a handful of reductions; only one that fails a reduction is
looked at row by row.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from core.batch import FEW_ROWS, Rejected, TickBatch
from core.clock import MINUTE_NS, NS_PER_US
from core.schema import SEEDED_WORDS
from core.symbol import SYMBOL_FORM, is_symbol

AHEAD_US_MAX = 5 * MINUTE_NS // NS_PER_US
TIME_US_MIN = 631_152_000_000_000  # 1990-01-01, before any venue we can read
RAW_BYTES_MAX = 65_536
_INT64_MAX = 2**63 - 1

SYMBOL = "symbol is empty"
NAME = f"symbol is not {SYMBOL_FORM}"
RECV = "ts_recv is not between 1990 and 5 minutes from now"
OLD = "ts_event is before 1990"
AHEAD = "ts_event is more than 5 minutes ahead of ts_recv or of our clock"
NAN = "price is not a number"
INFINITE = "price is infinite"
NOT_POSITIVE = "price is not above zero"

_PRICES = frozenset(("price", "bid", "ask"))
_NO_LEVEL = ("none", "clear")  # depth commands that carry no price
_QUOTED = {name: f"{name} is neither above zero nor unknown" for name in ("bid", "ask")}
_WHOLE = {  # whole-number columns: least and greatest value allowed, and the reason
    "ts_ns": (0, 999, "ts_ns is not in 0..999"),
    "size": (0, _INT64_MAX, "size is negative"),
    "bid_size": (0, _INT64_MAX, "bid_size is negative"),
    "ask_size": (0, _INT64_MAX, "ask_size is negative"),
    "orders": (0, _INT64_MAX, "orders is negative"),
    "side": (-1, 1, "side is not -1, 0 or +1"),
}
_WORDS = {
    name: (frozenset(words), f"{name} is not one of {', '.join(words)}")
    for name, words in SEEDED_WORDS.items()
}
# The place of a reason is its code; 0 is a good row.
REASONS = (
    "",
    SYMBOL,
    NAME,
    RECV,
    OLD,
    AHEAD,
    NAN,
    INFINITE,
    NOT_POSITIVE,
    *_QUOTED.values(),
    *(reason for _, _, reason in _WHOLE.values()),
    *(reason for _, reason in _WORDS.values()),
)
_CODES = {reason: code for code, reason in enumerate(REASONS)}

_SIDE_BYTES = b"\xff\x00\x01"

# Which type a column has is the table's promise, not something numpy's types can tell.
Columns = Mapping[str, NDArray[Any]]

_least, _greatest = np.minimum.reduce, np.maximum.reduce
_least_known, _greatest_known = np.fmin.reduce, np.fmax.reduce


def check(batch: TickBatch, now_us: int, *, behind_us: int = 0) -> tuple[TickBatch, list[Rejected]]:
    """Divide a batch into the rows that may enter the tape and those that may not, with reasons.

    `behind_us` is how slow our clock is known to be: what happened is allowed for that, what we
    stamped is not.
    """
    faults = find_faults(batch, now_us, behind_us)
    if faults is None:
        return batch, []
    good = batch.take(faults == 0)
    rejects = reject_rows(batch, faults, now_us)
    assert good.rows + len(rejects) == batch.rows
    return good, rejects


def find_faults(batch: TickBatch, now_us: int, behind_us: int = 0) -> NDArray[np.uint8] | None:
    """For each row the code of the first rule it breaks, see REASONS; None where all are good."""
    rows = batch.rows
    lengths = set(map(len, batch.columns.values()))
    assert len(lengths) == 1, f"{batch.table} batch has columns of different lengths"
    if batch.is_sound and is_symbol(batch.symbol):
        return None
    if rows == 0 or (rows <= FEW_ROWS and _are_few_and_good(batch, now_us, behind_us)):
        return None
    if is_symbol(batch.symbol) and are_sound(batch.columns, now_us, behind_us):
        return None
    faults = np.zeros(rows, np.uint8)
    for reason, broken in _judge(batch, now_us, behind_us):
        faults[broken & (faults == 0)] = _CODES[reason]
    return faults if faults.any() else None


def reject_rows(batch: TickBatch, faults: NDArray[np.uint8], now_us: int) -> list[Rejected]:
    """The rows with a fault as rejects, each with its own columns as JSON."""
    rows = np.flatnonzero(faults)
    columns = {name: column[rows].tolist() for name, column in batch.columns.items()}
    about = {"table": batch.table, "symbol": batch.symbol, "contract": batch.contract}
    sane_max = now_us + AHEAD_US_MAX
    rejects = []
    for place, row in enumerate(rows):
        values = {name: _plain(column[place]) for name, column in columns.items()}
        raw = orjson.dumps(about | values, default=str)[:RAW_BYTES_MAX]
        ts_recv, ts_event = columns["ts_recv"][place], columns["ts_event"][place]
        rejects.append(
            Rejected(
                batch.table,
                batch.symbol,
                batch.source,
                REASONS[faults[row]],
                raw,
                ts_recv if TIME_US_MIN <= ts_recv <= sane_max else now_us,
                ts_event if TIME_US_MIN <= ts_event <= sane_max else None,
            )
        )
    return rejects


def _are_few_and_good(batch: TickBatch, now_us: int, behind_us: int) -> bool:
    """Whether no row of a few can have a fault; false says only that a closer look is needed."""
    values = {name: column.tolist() for name, column in batch.columns.items()}
    ts_event, ts_recv = values["ts_event"], values["ts_recv"]
    recv_least = min(ts_recv)
    if not (
        is_symbol(batch.symbol)
        and recv_least >= TIME_US_MIN
        and max(ts_recv) <= now_us + AHEAD_US_MAX
        and min(ts_event) >= TIME_US_MIN
        and max(ts_event) <= min(recv_least, now_us) + AHEAD_US_MAX + behind_us
    ):
        return False
    for name, column in values.items():
        if name in _PRICES:  # a sum with a value that is no number, or infinite, is not finite
            is_plain = min(column) > 0 and math.isfinite(sum(column))
        elif name in _WHOLE:
            least, greatest, _ = _WHOLE[name]
            is_plain = least <= min(column) and max(column) <= greatest
        elif name not in _WORDS:
            continue
        elif isinstance(column[0], str):
            is_plain = _WORDS[name][0].issuperset(column)
        else:
            is_plain = min(column) >= 0 and max(column) < len(_WORDS[name][0])
        if not is_plain:
            return False
    return True


def are_sound(columns: Columns, now_us: int, behind_us: int) -> bool:
    """Whether no row can have a fault; false says only that a closer look is needed.

    The rows may be of several symbols: batches made of them are sound then, and need no look of
    their own.
    """
    ts_recv = columns["ts_recv"]
    recv_least = int(_least(ts_recv))
    has_plain_times = (
        recv_least >= TIME_US_MIN
        and _greatest(ts_recv) <= now_us + AHEAD_US_MAX
        and _least(columns["ts_event"]) >= TIME_US_MIN
        and _greatest(columns["ts_event"]) <= min(recv_least, now_us) + AHEAD_US_MAX + behind_us
    )
    if not (has_plain_times and _has_plain_prices(columns)):
        return False
    for name, column in columns.items():
        if name == "side":
            assert column.itemsize == 1
            is_plain = not column.tobytes().translate(None, _SIDE_BYTES)
        elif name == "ts_ns":
            assert column.itemsize == 2
            is_plain = _greatest(column.view(np.uint16)) <= 999
        elif name in _WHOLE:
            is_plain = _least(column) >= 0
        elif name in _WORDS and column.dtype != object:
            is_plain = _least(column) >= 0 and _greatest(column) < len(_WORDS[name][0])
        else:
            is_plain = name not in _WORDS or _WORDS[name][0].issuperset(column.tolist())
        if not is_plain:
            return False
    return True


def _has_plain_prices(columns: Columns) -> bool:
    """Whether price, bid and ask need no closer look."""
    found = [columns[name] for name in _PRICES if name in columns]
    if not found:
        return True
    together = np.concatenate(found)
    if _least(together) > 0:
        return bool(_greatest(together) < np.inf)
    if "price" in columns and not _least(columns["price"]) > 0:
        return False
    # A bid or ask that is not a number is an unknown one.
    return not (_least_known(together) <= 0 or _greatest_known(together) == np.inf)


def _judge(
    batch: TickBatch, now_us: int, behind_us: int
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Every rule with the rows that break it; a row takes the first reason that fits."""
    columns: Columns = batch.columns
    if not is_symbol(batch.symbol):
        yield NAME if batch.symbol else SYMBOL, np.ones(batch.rows, np.bool_)
    ts_event, ts_recv = columns["ts_event"], columns["ts_recv"]
    bad_recv = (ts_recv < TIME_US_MIN) | (ts_recv > now_us + AHEAD_US_MAX)
    yield RECV, bad_recv
    yield OLD, ts_event < TIME_US_MIN
    known_recv = np.where(bad_recv, now_us, ts_recv)  # so that the addition cannot overflow
    yield AHEAD, ts_event > np.minimum(known_recv, now_us) + AHEAD_US_MAX + behind_us
    if "price" in columns:
        price = columns["price"]
        needs_price = np.ones(batch.rows, np.bool_)
        if "command" in columns:
            needs_price = ~_is_one_of(_NO_LEVEL, "command", columns["command"])
        yield NAN, np.isnan(price)
        yield INFINITE, np.isinf(price)
        yield NOT_POSITIVE, needs_price & (price <= 0)
    for name, reason in _QUOTED.items():
        if name in columns:
            yield reason, (columns[name] <= 0) | np.isinf(columns[name])
    for name, (least, greatest, reason) in _WHOLE.items():
        if name in columns:
            yield reason, (columns[name] < least) | (columns[name] > greatest)
    for name, (words, reason) in _WORDS.items():
        if name in columns:
            yield reason, ~_is_one_of(words, name, columns[name])


def _is_one_of(words: Collection[str], name: str, column: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows of an enumeration are one of some words, told as words or as their codes."""
    if column.dtype == object:
        return np.array([word in words for word in column.tolist()], np.bool_)
    known = [word in words for word in SEEDED_WORDS[name]]
    is_code = (column >= 0) & (column < len(known))
    return np.asarray(np.array([*known, False])[np.where(is_code, column, len(known))])


def _plain(value: object) -> object:
    """A value JSON can hold; floats that are no numbers go as their names."""
    return repr(value) if isinstance(value, float) and not np.isfinite(value) else value
