"""Hot and cold as one table: what a query may see at one moment.

A View pairs a manifest snapshot with the hot rows after the seq that snapshot holds sealed, per
symbol. Sealing moves rows from one side to the other in one step, so a row is seen once: never
twice, never not at all. Nothing here is changed in place; a new moment is a new View.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from core.schema import TABLES
from storage.cold import cold_parts
from storage.head import Watermarks
from storage.hot import HotReader
from storage.lake import Lake, as_lake
from storage.manifest import Manifest, Partition, Snapshot
from storage.paths import Paths
from storage.ranges import Range, Seqs
from storage.scan import HotPart, Part, Scan
from storage.standing import RevisionBook
from storage.superseded import NEAR_US, superseded_by

FRONT_FILES_MAX = 50  # sealed files looked through for the front contract's last trade


class View:
    """One moment of every table."""

    def __init__(self, hot: HotReader, manifests: "Manifests") -> None:
        self.hot = hot
        self._manifests = manifests
        self._revisions = RevisionBook()

    def watermarks(self, table: str) -> Watermarks:
        """Visible and durable seq of a table."""
        return self.hot.watermarks(table)

    def snapshot(self, table: str) -> Snapshot:
        """The sealed side of a table."""
        # Rollups are sealed together with the trades they sum up.
        leader = "trades" if table.startswith("bars_") else table
        return self._manifests.snapshot(table, self.hot.lake_version(leader))

    def symbols(self, table: str) -> list[str]:
        """Every symbol the table has rows of, hot or cold."""
        sealed = {name for name in self.snapshot(table).sealed_seq if name}
        return sorted(sealed | set(self.hot.symbols(table)))

    def latest(self, symbol: str) -> pa.RecordBatch | None:
        """The last valid trade, from memory, or from the lake where none is hot."""
        hot = self.hot.latest(symbol)
        return hot if hot is not None else self._latest_cold(symbol)

    def scan(
        self,
        table: str,
        symbol: str,
        *,
        start_us: int | None = None,
        end_us: int | None = None,
        known_at_us: int | None = None,
        standing_only: bool = False,
    ) -> Scan:
        """Rows of one symbol in time order; batches of at most 16,384 rows, text as dictionary.

        `standing_only` leaves out trades that are not valid or that a later row revises, and
        snapshots that a better source's supersede.
        """
        wanted = Range(start_us, end_us, known_at_us)
        # Before any row is looked at, so that a row and what revises it are seen as of one moment.
        visible_seq = self.hot.watermarks(table).visible_seq
        parts = self._parts(table, symbol, wanted, visible_seq)
        if standing_only and table == "trades":
            wanted = self._standing(symbol, wanted, visible_seq)
        if standing_only and table == "gex":
            wanted = replace(wanted, left_out=self._superseded(symbol, wanted, visible_seq))
        return Scan(table, parts, wanted)

    def columns(
        self, table: str, symbol: str, names: Sequence[str], *, start_us: int, end_us: int
    ) -> pa.Table:
        """Some columns of one symbol's rows in [start, end), as plain text and in no order.

        Columns that are not named are not read. `symbol` is not among them.
        """
        wanted = Range(start_us, end_us)
        schema = pa.schema([TABLES[table].plain_schema.field(name) for name in names])
        parts = self._parts(table, symbol, wanted)
        found = [rows.cast(schema) for part in parts for rows in part.columns(names, wanted)]
        return pa.Table.from_batches(found, schema)

    def estimate(
        self,
        table: str,
        symbol: str,
        *,
        start_us: int | None = None,
        end_us: int | None = None,
    ) -> tuple[int, int]:
        """Upper bound of (rows, bytes) a scan would give, without reading any."""
        parts = self._parts(table, symbol, Range(start_us, end_us))
        rows = int(sum(part.rows for part in parts))
        return rows, rows * _row_bytes(table)

    def _parts(
        self, table: str, symbol: str, wanted: Range, visible_seq: int | None = None
    ) -> list[Part]:
        """The pieces that may hold rows of the range, each row in exactly one of them."""
        snapshot = self.snapshot(table)
        sealed_seq = snapshot.sealed_seq.get(symbol if TABLES[table].by_symbol else "", 0)
        if visible_seq is None:
            visible_seq = self.hot.watermarks(table).visible_seq
        hot_seq = self.hot.first_seq(table)
        files = snapshot.pruned(
            symbols=[symbol] if symbol and TABLES[table].by_symbol else None,
            start_us=wanted.start_us,
            end_us=wanted.end_us,
        )
        # Sealed rows stay in memory for a while. Where every file of the range is still wholly
        # in memory, memory alone answers.
        after_seq = sealed_seq
        if all(file.first_seq >= hot_seq for file in files):
            files = []
            after_seq = 0
        slices = self.hot.slices(
            table, symbol, after_seq=after_seq, up_to_seq=visible_seq, wanted=wanted
        )
        return [*cold_parts(files, table, self.hot.words), *map(HotPart, slices)]

    def _superseded(self, symbol: str, wanted: Range, visible_seq: int) -> Seqs:
        """Seqs of the range's snapshots that do not stand, as far as known."""
        near = Range(
            None if wanted.start_us is None else wanted.start_us - NEAR_US,
            None if wanted.end_us is None else wanted.end_us + NEAR_US,
        )
        found = [
            rows
            for part in self._parts("gex", symbol, near, visible_seq)
            for rows in part.columns(("ts_recv", "extra"), near)
        ]
        return superseded_by(found, wanted.known_at_us)

    def _standing(self, symbol: str, wanted: Range, visible_seq: int) -> Range:
        """The range with what revises its trades: a revision may have any time."""
        files = self.snapshot("trades").revised(symbol)
        hot = self.hot.revising(symbol, visible_seq)
        revisions = self._revisions.revisions(files, hot, wanted.known_at_us)
        return replace(wanted, standing_only=True, revisions=revisions)

    def _latest_cold(self, symbol: str) -> pa.RecordBatch | None:
        """Of the front contract where it traded lately, otherwise of any."""
        files = sorted(
            self.snapshot("trades").pruned(symbols=[symbol]), key=lambda file: -file.max_ts_us
        )
        front = self.hot.front(symbol)
        if front is not None:
            found = self._last_of(symbol, files[:FRONT_FILES_MAX], front)
            if found is not None:
                return found
        return self._last_of(symbol, files, None)

    def _last_of(
        self, symbol: str, files: list[Partition], contract: str | None
    ) -> pa.RecordBatch | None:
        visible_seq = self.hot.watermarks("trades").visible_seq
        for file in files:
            bounds = Range(file.min_ts_us, file.max_ts_us + 1)
            wanted = self._standing(symbol, bounds, visible_seq)
            rows = Scan("trades", self._parts("trades", symbol, wanted), wanted).read_all()
            if contract is not None:
                rows = rows.filter(pc.equal(rows["contract"].cast(pa.utf8()), contract))
            if rows.num_rows:
                last = rows.slice(rows.num_rows - 1).combine_chunks().to_batches()[0]
                return last.cast(TABLES["trades"].plain_schema)
        return None


def _row_bytes(table: str) -> int:
    fixed = [f.type.bit_width for f in TABLES[table].schema if pa.types.is_primitive(f.type)]
    others = len(TABLES[table].schema) - len(fixed)
    return int(sum(fixed)) // 8 + 2 * others


class Manifests:
    """The newest manifest snapshot of each table, re-read when the writer says it moved."""

    def __init__(self, lake: Lake | str) -> None:
        self._lake = as_lake(lake)
        self._manifests: dict[str, Manifest] = {}
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def snapshot(self, table: str, version: int) -> Snapshot:
        """The sealed side as of `version` (as the writer counts) or newer."""
        with self._lock:
            manifest = self._manifests.get(table)
            if manifest is None:
                manifest = Manifest(self._lake, table)
                self._manifests[table] = manifest
                self._seen[table] = -1
            if self._seen[table] != version:
                snapshot = manifest.refresh()
                self._seen[table] = version
                return snapshot
            return manifest.snapshot()


class Views:
    """Gives the present View; one per process."""

    def __init__(self, paths: Paths, lake: Lake | str) -> None:
        self.hot = HotReader(paths)
        self._view = View(self.hot, Manifests(lake))

    def view(self) -> View:
        """What may be seen now."""
        return self._view
