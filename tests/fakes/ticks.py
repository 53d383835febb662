"""Small batches of made-up trades for tests."""

import numpy as np

from core.batch import TickBatch

START_US = 1_763_647_200_000_000  # 2025-11-20 14:00:00 UTC


def trades(symbol: str, count: int, first: int = 0, **columns: object) -> TickBatch:
    """`count` trades a millisecond apart; `first` is the source number of the first."""
    numbers = np.arange(first, first + count)
    given = {
        "ts_event": START_US + numbers * 1000,
        "ts_ns": (numbers % 1000).astype(np.int16),
        "ts_recv": START_US + numbers * 1000 + 500,
        "price": 100.0 + (numbers % 40) * 0.25,
        "size": numbers % 7 + 1,
        "side": (numbers % 3 - 1).astype(np.int8),
        "bid": np.where(numbers % 5 == 0, np.nan, 99.75 + (numbers % 40) * 0.25),
        "ask": 100.25 + (numbers % 40) * 0.25,
        "source_seq": numbers,
    }
    given.update({name: _array(column) for name, column in columns.items()})
    return TickBatch("trades", symbol, f"{symbol}Z5", "test", given)


def _array(column):
    is_text = isinstance(column, list) and isinstance(column[0], str)
    return np.array(column, object) if is_text else np.asarray(column)
