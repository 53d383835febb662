"""What this feed has stored before, read back through the same view as every query."""

import pyarrow as pa
import pyarrow.compute as pc

from core.batch import TickBatch
from core.clock import HOUR_US
from core.schema import TABLES
from ingest.dxlink_columns import SOURCE, content_of
from ingest.dxlink_known import Stored
from ingest.gapbook import Gap
from ingest.stored import column_values
from storage.view import View, Views

# What names a trade, and what it is compared by.
_COPIED = ("ts_event", "ts_ns", "price", "size", "side", "source_seq", "conditions")


class StoredTape:
    """Hot and cold rows of this feed."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def last_us(self, symbol: str, contract: str) -> int | None:
        """Time of the newest print of a contract; looks back in ever longer steps."""
        view = self._views.view()
        files = view.snapshot("trades").pruned(symbols=[symbol])
        spans = [(file.min_ts_us, file.max_ts_us) for file in files]
        spans += [(part.min_ts_us, part.max_ts_us) for part in view.hot.slices("trades", symbol)]
        if not spans:
            return None
        end_us, step_us = max(high for _, high in spans) + 1, HOUR_US
        first_us = min(low for low, _ in spans)
        while end_us > first_us:
            rows = _rows(view, symbol, contract, end_us - step_us, end_us)
            if rows.num_rows:
                newest: int = pc.max(rows["ts_event"].cast(pa.int64())).as_py()
                return newest
            end_us, step_us = end_us - step_us, step_us * 2
        return None

    def stored(self, symbol: str, contract: str, start_us: int, end_us: int) -> Stored:
        """Prints with start <= ts_event < end, in the order they were stored."""
        rows = _rows(self._views.view(), symbol, contract, start_us, end_us).sort_by("seq")
        content = content_of(
            rows["price"].to_numpy(),
            rows["size"].to_numpy(),
            rows["valid"].to_numpy(),
            rows["kind"].to_numpy(),
        )
        return Stored(rows["source_seq"].to_numpy(), content)

    def copies(self, symbol: str, contract: str, start_us: int, end_us: int) -> list[TickBatch]:
        """Standing trades that others repaired, in time order, by source."""
        view = self._views.view()
        span = {"start_us": start_us, "end_us": end_us}
        if not pc.any(view.columns("trades", symbol, ["repaired"], **span)["repaired"]).as_py():
            return []  # nearly always
        rows = view.scan("trades", symbol, standing_only=True, **span).read_all()
        rows = rows.cast(TABLES["trades"].plain_schema)
        is_copy = pc.and_(rows["repaired"], pc.equal(rows["contract"], contract))
        rows = rows.filter(pc.and_(is_copy, pc.not_equal(rows["source"], SOURCE)))
        found = []
        for source in pc.unique(rows["source"]).to_pylist():
            told = rows.filter(pc.equal(rows["source"], source)).combine_chunks()
            columns = {name: column_values(told[name]) for name in _COPIED}
            found.append(TickBatch("trades", symbol, contract, source, columns))
        return found

    def open_gaps(self, table: str) -> list[Gap]:
        """Gaps this feed has in a table whose last row says open."""
        view = self._views.view()
        last: dict[int, Gap] = {}
        for symbol in view.symbols("gaps"):
            rows = view.scan("gaps", symbol).read_all().cast(TABLES["gaps"].plain_schema)
            is_ours = pc.and_(pc.equal(rows["source"], SOURCE), pc.equal(rows["table_name"], table))
            ours = rows.filter(is_ours).sort_by("seq")
            times = ours["from_ts"].cast(pa.int64()).to_pylist()
            for row, from_us in zip(ours.to_pylist(), times, strict=True):
                contract, _, reason = row["reason"].partition(": ")
                number = row["gap_id"]
                last[number] = Gap(number, symbol, contract, from_us, None, reason, row["state"])
        return [gap for gap in last.values() if gap.state == "open"]


def _rows(view: View, symbol: str, contract: str, start_us: int, end_us: int) -> pa.Table:
    """Trades of one contract that this feed brought."""
    rows = view.scan("trades", symbol, start_us=start_us, end_us=end_us).read_all()
    rows = rows.cast(TABLES["trades"].plain_schema)
    is_ours = pc.and_(pc.equal(rows["source"], SOURCE), pc.equal(rows["contract"], contract))
    return rows.filter(is_ours)
