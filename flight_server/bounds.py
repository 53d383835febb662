"""From when to when a table has rows of a symbol, hot and cold together."""

from storage.view import View


def time_bounds(view: View, table: str, symbol: str) -> tuple[int, int] | None:
    """Smallest and largest ts_event in microseconds, both included; None where there is no row."""
    files = view.snapshot(table).pruned(symbols=[symbol])
    slices = view.hot.slices(table, symbol)
    if not files and not slices:
        return None
    lows = [file.min_ts_us for file in files] + [part.min_ts_us for part in slices]
    highs = [file.max_ts_us for file in files] + [part.max_ts_us for part in slices]
    return min(lows), max(highs)
