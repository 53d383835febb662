"""What the tape holds of Sierra Chart's files already, read back through the view of every query.

Everything asked for is the newest of something, so it looks back from the end in growing steps.
"""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from core.batch import TickBatch
from core.clock import HOUR_US
from core.schema import TABLES
from ingest import depth
from ingest.depth import DepthNaming
from ingest.gapbook import Gap
from ingest.stored import column_values
from storage.view import View, Views

STEP_US = 60_000_000
STEP_GROWTH = 8
_COMPARED = ("ts_event", "price", "size", "side", "conditions")


class SierraTape:
    """Hot and cold rows of these files, and the trades they are held against."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def depth_records(self, naming: DepthNaming) -> int:
        """Records of a depth file that are stored, counted from its first one."""
        first, day_us = naming.first_source_seq, naming.day_us
        start_us, end_us = day_us - depth.DAY_SLACK_US, day_us + depth.DAY_US + depth.DAY_SLACK_US

        def newest(rows: pa.Table) -> int | None:
            seqs = _of(rows, naming.contract, depth.SOURCE)["source_seq"].to_numpy()
            seqs = seqs[(seqs >= first) & (seqs < first + depth.RECORDS_PER_DAY_MAX)]
            return int(seqs.max()) if len(seqs) else None

        found = self._look_back("depth", naming.symbol, (start_us, end_us), newest)
        return 0 if found is None else found - first + 1

    def last_us(self, table: str, symbol: str, contract: str, source: str | None) -> int | None:
        """Time of the newest row of a contract, of one source or of any."""

        def newest(rows: pa.Table) -> int | None:
            times = _of(rows, contract, source)["ts_event"].cast(pa.int64())
            found: int | None = pc.max(times).as_py()
            return found

        return self._look_back(table, symbol, (0, 2**62), newest)

    def price(self, symbol: str) -> float | None:
        """A price to tell a file's scale by; None where nothing has traded."""
        last = self._views.view().latest(symbol)
        return None if last is None else float(last.column("price")[0].as_py())

    def trades(self, symbol: str, contract: str, start_us: int, end_us: int) -> TickBatch:
        """Valid trades of a contract, whoever brought them, in time order, to be compared."""
        rows = self._views.view().scan(
            "trades", symbol, start_us=start_us, end_us=end_us, standing_only=True
        )
        table = rows.read_all().cast(TABLES["trades"].plain_schema)
        table = table.filter(pc.equal(table["contract"], contract)).combine_chunks()
        columns = {name: column_values(table[name]) for name in (*_COMPARED, "source_seq")}
        columns["ts_recv"] = columns["ts_event"]
        return TickBatch("trades", symbol, contract, "tape", columns)

    def gaps(self, table: str, source: str | None = None, start_us: int | None = None) -> list[Gap]:
        """Gaps of a table that are not repaired; who told of them, and since when they are told."""
        view = self._views.view()
        last: dict[tuple[str, int], Gap] = {}
        for symbol in view.symbols("gaps"):
            rows = (
                view.scan("gaps", symbol, start_us=start_us)
                .read_all()
                .cast(TABLES["gaps"].plain_schema)
            )
            rows = rows.filter(pc.equal(rows["table_name"], table)).sort_by("seq")
            spans = [rows[name].cast(pa.int64()).to_pylist() for name in ("from_ts", "to_ts")]
            for row, from_us, to_us in zip(rows.to_pylist(), *spans, strict=True):
                if source is not None and row["source"] != source:
                    continue
                contract, _, reason = row["reason"].partition(": ")
                gap = Gap(row["gap_id"], symbol, contract, from_us, to_us, reason, row["state"])
                last[symbol, row["gap_id"]] = gap
        return [gap for gap in last.values() if gap.state != "backfilled"]

    def _look_back(
        self,
        table: str,
        symbol: str,
        bounds: tuple[int, int],
        newest: Callable[[pa.Table], int | None],
    ) -> int | None:
        view = self._views.view()
        spans = _spans(view, table, symbol)
        if not spans:
            return None
        first_us = max(bounds[0], min(low for low, _ in spans))
        end_us, step_us = min(bounds[1], max(high for _, high in spans) + 1), STEP_US
        while end_us > first_us:
            start_us = max(first_us, end_us - step_us)
            rows = view.scan(table, symbol, start_us=start_us, end_us=end_us).read_all()
            found = newest(rows.cast(TABLES[table].plain_schema)) if rows.num_rows else None
            if found is not None:
                return found
            end_us, step_us = start_us, min(step_us * STEP_GROWTH, HOUR_US)
        return None


def _spans(view: View, table: str, symbol: str) -> list[tuple[int, int]]:
    """From when to when each piece of a table has rows of a symbol."""
    files = view.snapshot(table).pruned(symbols=[symbol])
    spans = [(file.min_ts_us, file.max_ts_us) for file in files]
    return spans + [(part.min_ts_us, part.max_ts_us) for part in view.hot.slices(table, symbol)]


def _of(rows: pa.Table, contract: str, source: str | None) -> pa.Table:
    rows = rows.filter(pc.equal(rows["contract"], contract))
    return rows if source is None else rows.filter(pc.equal(rows["source"], source))
