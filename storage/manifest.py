"""The manifest: which partitions of a table are alive, at one version, as an index in memory.

A snapshot is immutable; `refresh` replaces it. Pruning by symbol and time is a binary search and
touches no file. What a partition holds is in the log's statistics, so every process sees the same.
It refuses to look into folders: a file that the log does not name does not exist.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from types import MappingProxyType
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.errors import SealFailed
from core.schema import TABLES, Table
from storage.delta import Change, DeltaLog, LogFile
from storage.lake import Lake, as_lake

NOBODY = "__HIVE_DEFAULT_PARTITION__"  # the folder of rows without a symbol
EPOCH_END_US = 1 << 62


@dataclass(frozen=True, slots=True)
class Partition:
    """One sealed file. Times are inclusive bounds of `ts_event` and the newest `ts_recv`.

    `path` is where it lies on this machine, or would: see `local`. `sealed_ms` is when it was
    written and read back, as the log has it; 0 before it is listed.
    """

    table: str
    symbol: str
    date: str
    path: str
    rows: int
    bytes: int
    first_seq: int
    last_seq: int
    min_ts_us: int
    max_ts_us: int
    max_recv_us: int
    has_revisions: bool = False
    sealed_ms: int = field(default=0, compare=False)
    lake: Lake | None = field(default=None, compare=False, repr=False)

    def local(self) -> str:
        """Its path, once it is there; raise Unavailable where a bucket does not give it."""
        if self.lake is not None:
            self.lake.fetch([self])
        return self.path


@dataclass(frozen=True)
class Snapshot:
    """The living partitions of one table at one version, sorted by (symbol, time, seq)."""

    table: str
    version: int
    sealed_seq: Mapping[str, int]
    columns: Mapping[str, list[object] | NDArray[np.int64]] = field(repr=False)
    url: str = ""
    lake: Lake | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.columns["path"])

    def pruned(
        self,
        *,
        symbols: Collection[str] | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
    ) -> list[Partition]:
        """Partitions that may hold rows of the half-open range [start, end), and no others."""
        wanted = self.symbols if symbols is None else sorted(set(symbols) & set(self._runs))
        if start_us is None and end_us is None:
            return [self._at(i) for symbol in wanted for i in range(*self._runs[symbol])]
        low = -EPOCH_END_US if start_us is None else start_us
        high = EPOCH_END_US if end_us is None else end_us
        return [self._at(i) for symbol in wanted for i in self._overlapping(symbol, low, high)]

    def sealed_after(self, symbol: str, seq: int) -> list[Partition]:
        """Partitions of a symbol that hold rows with a seq above `seq`."""
        low, high = self._runs.get(symbol, (0, 0))
        news = np.flatnonzero(self._numbers("last_seq")[low:high] > seq)
        return [self._at(low + int(i)) for i in news]

    def revised(self, symbol: str) -> list[Partition]:
        """Partitions of a symbol that hold corrections or cancels: few of a year's."""
        low, high = self._runs.get(symbol, (0, 0))
        places = np.flatnonzero(self._numbers("has_revisions")[low:high])
        return [self._at(low + int(i)) for i in places]

    @cached_property
    def symbols(self) -> list[str]:
        """Symbols with at least one partition, sorted."""
        return list(self._runs)

    def newest_us(self) -> dict[str, int]:
        """The newest `ts_event` of each symbol."""
        newest: dict[str, int] = {}
        for partition in self.pruned():
            known = newest.get(partition.symbol, partition.max_ts_us)
            newest[partition.symbol] = max(known, partition.max_ts_us)
        return newest

    @cached_property
    def paths(self) -> frozenset[str]:
        """Every living file, as `Partition.path`."""
        return frozenset(f"{self.url}/{path}" for path in self.columns["path"])

    @cached_property
    def last_seq(self) -> int:
        """The largest seq in any partition, 0 where there is none."""
        return int(np.max(self._numbers("last_seq"), initial=0))

    @cached_property
    def rows(self) -> int:
        """Rows in all partitions."""
        return int(np.sum(self._numbers("rows")))

    @cached_property
    def bytes(self) -> int:
        """Bytes of all partitions."""
        return int(np.sum(self._numbers("bytes")))

    @cached_property
    def oldest_us(self) -> int | None:
        """The oldest `ts_event`, None where nothing is sealed."""
        return int(np.min(self._numbers("min_ts_us"))) if len(self) else None

    @cached_property
    def _runs(self) -> dict[str, tuple[int, int]]:
        """Where each symbol's partitions begin and end."""
        names = [str(name) for name in self.columns["symbol"]]
        cuts = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]]
        ends = [*cuts, len(names)][1:]
        return {names[low]: (low, high) for low, high in zip(cuts, ends, strict=True)}

    @cached_property
    def _reach(self) -> NDArray[np.int64]:
        """The latest time up to and including each partition, so that it can be searched."""
        times = self._numbers("max_ts_us").copy()
        for low, high in self._runs.values():
            np.maximum.accumulate(times[low:high], out=times[low:high])
        return times

    @cached_property
    def _made(self) -> list[Partition | None]:
        return [None] * len(self)

    def _numbers(self, name: str) -> NDArray[np.int64]:
        values = self.columns[name]
        assert isinstance(values, np.ndarray), name
        return values

    def _overlapping(self, symbol: str, start_us: int, end_us: int) -> Iterator[int]:
        low, high = self._runs[symbol]
        first = low + int(np.searchsorted(self._reach[low:high], start_us))
        last = low + int(np.searchsorted(self._numbers("min_ts_us")[low:high], end_us))
        ends = self._numbers("max_ts_us")
        return (int(i) + first for i in np.flatnonzero(ends[first:last] >= start_us))

    def _at(self, i: int) -> Partition:
        made = self._made[i]
        if made is None:
            row = {
                name: int(values[i]) if isinstance(values, np.ndarray) else str(values[i])
                for name, values in self.columns.items()
            }
            row["path"] = f"{self.url}/{row['path']}"
            row["has_revisions"] = bool(row["has_revisions"])
            made = Partition(table=self.table, lake=self.lake, **row)  # type: ignore[arg-type]
            self._made[i] = made
        return made


class Manifest:
    """One table's list of living partitions, kept as a Delta Lake log."""

    def __init__(self, lake: Lake | str, table: str) -> None:
        self.table = TABLES[table]
        self.lake = as_lake(lake)
        self.url = str(self.lake.folder / table)
        by = ("symbol", "date") if self.table.by_symbol else ("date",)
        self._log = DeltaLog(self.lake, table, lake_schema(self.table), by)
        self._lock = Lock()
        self._sealed: dict[str, int] = {}
        self._snapshot = _snapshot(self, -1, {}, pa.table({"path": pa.array([], pa.utf8())}))

    def snapshot(self) -> Snapshot:
        """The snapshot last read; the first call reads."""
        return self._snapshot if self._snapshot.version >= 0 else self.refresh()

    def refresh(self) -> Snapshot:
        """Read the newest version on this machine; cheap where nothing changed."""
        with self._lock:
            return self._read()

    def fetch(self) -> Snapshot:
        """Read the newest version there is; raise LakeError. For who writes, or reads alone."""
        with self._lock:
            self._log.fetch()
            return self._read()

    def commit(
        self,
        added: Sequence[Partition],
        removed: Sequence[Partition],
        sealed: Mapping[str, int],
        *,
        now_ns: int,
        is_rewrite: bool = False,
    ) -> Snapshot:
        """Publish one version, durable on return; raise SealFailed where it cannot be."""
        with self._lock:
            known = self._read().sealed_seq
            back = {s: hi for s, hi in sealed.items() if hi < known.get(s, 0)}
            if back:
                raise SealFailed(f"{self.table.name} is sealed further than {back}: {known}")
            now_ms = now_ns // 1_000_000
            change = Change(
                [self._log_file(partition, now_ms) for partition in added],
                [self._log_file(partition, now_ms) for partition in removed],
                {self._app_id(symbol): hi for symbol, hi in sealed.items()},
                removed_ms=now_ms,
                is_rewrite=is_rewrite,
            )
            self._log.commit(change)
            return self._read()

    def repair(self) -> None:
        """Drop an end of the log that a power cut tore; only for the lake's one writer."""
        with self._lock:
            self._log.repair()

    def tombstones(self) -> dict[str, int]:
        """Removed files by `Partition.path`, and when they were removed, in milliseconds."""
        with self._lock:
            if self._read().version < 0:
                return {}
            return {f"{self.url}/{path}": ms for path, ms in self._log.tombstones().items()}

    def folder(self, symbol: str, date: str) -> str:
        """Where partitions of a symbol and day lie, relative to the table."""
        name = quote(symbol, safe="") if symbol else NOBODY
        return f"symbol={name}/date={date}" if self.table.by_symbol else f"date={date}"

    def _app_id(self, symbol: str) -> str:
        return f"{self.table.name}/{symbol}"

    def _read(self) -> Snapshot:
        old = self._snapshot
        version = self._log.refresh()
        if version == old.version or version < 0:
            return old
        since = old.version if version > old.version else -1
        news = self._log.transactions(since)
        prefix = self._app_id("")
        sealed = {
            key.removeprefix(prefix): hi for key, hi in news.items() if key[: len(prefix)] == prefix
        }
        self._sealed = {**(self._sealed if since >= 0 else {}), **sealed}
        self._snapshot = _snapshot(self, self._log.version, self._sealed, self._log.files())
        return self._snapshot

    def _log_file(self, partition: Partition, now_ms: int) -> LogFile:
        values: dict[str, str | None] = {"date": partition.date}
        if self.table.by_symbol:
            values["symbol"] = partition.symbol or None
        has_recv = "ts_recv" in self.table.schema.names
        return LogFile(
            path=partition.path.removeprefix(f"{self.url}/"),
            bytes=partition.bytes,
            partition=values,
            modified_ms=now_ms if has_recv else partition.max_recv_us // 1_000,
            stats=_stats(self.table, partition),
        )


def lake_schema(table: Table) -> pa.Schema:
    """The columns an outside reader sees: partition columns first, meanings as metadata."""
    fields = [field.with_nullable(True) for field in table.plain_schema if field.name != "symbol"]
    head = [table.plain_schema.field("symbol").with_nullable(True), pa.field("date", pa.date32())]
    return pa.schema([*head, *fields])


def seq_columns(table: Table) -> tuple[str, str]:
    """The columns whose minimum and maximum are a partition's first and last seq."""
    return ("seq", "seq") if "seq" in table.schema.names else ("first_seq", "last_seq")


def _stats(table: Table, partition: Partition) -> dict[str, object]:
    first, last = seq_columns(table)
    low: dict[str, object] = {
        "ts_event": _iso(partition.min_ts_us),
        first: partition.first_seq,
    }
    high: dict[str, object] = {
        "ts_event": _iso(partition.max_ts_us),
        last: partition.last_seq,
    }
    if "ts_recv" in table.schema.names:
        high["ts_recv"] = _iso(partition.max_recv_us)
    if "kind" in table.schema.names and not partition.has_revisions:
        low["kind"] = high["kind"] = "new"
    return {"numRecords": partition.rows, "minValues": low, "maxValues": high, "nullCount": {}}


def _iso(time_us: int) -> str:
    return str(np.datetime_as_string(np.datetime64(time_us, "us")))


def _snapshot(
    manifest: Manifest, version: int, sealed: Mapping[str, int], files: pa.Table
) -> Snapshot:
    """Index the log's files, sorted so that pruning can search."""
    table = manifest.table
    first, last = seq_columns(table)
    has_recv, has_kind = (name in table.schema.names for name in ("ts_recv", "kind"))
    symbols = _column(files, "partition.symbol", pa.utf8())
    times = _column(files, "min.ts_event", pa.int64())
    seqs = _column(files, f"min.{first}", pa.int64())
    keys = pa.table({"symbol": symbols, "time": times, "seq": seqs})
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])

    def words(name: str) -> list[object]:
        return list(_column(files, name, pa.utf8()).take(order).to_pylist())

    def numbers(name: str) -> NDArray[np.int64]:
        return np.array(_column(files, name, pa.int64()).take(order), np.int64)

    kinds = words("min.kind") if has_kind else ["new"] * len(order)
    recv = numbers("max.ts_recv") if has_recv else numbers("modification_time") * 1_000
    columns: dict[str, list[object] | NDArray[np.int64]] = {
        "symbol": words("partition.symbol"),
        "date": words("partition.date"),
        "path": [unquote(str(path)) for path in words("path")],
        "rows": numbers("num_records"),
        "bytes": numbers("size_bytes"),
        "first_seq": numbers(f"min.{first}"),
        "last_seq": numbers(f"max.{last}"),
        "min_ts_us": numbers("min.ts_event"),
        "max_ts_us": numbers("max.ts_event"),
        "max_recv_us": recv,
        "has_revisions": np.array([kind != "new" for kind in kinds], np.int64),
        "sealed_ms": numbers("modification_time"),
    }
    sealed = MappingProxyType(dict(sealed))
    return Snapshot(table.name, version, sealed, columns, manifest.url, manifest.lake)


def _column(files: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of the log's files; where the log lacks it, or a value of it, "" or 0."""
    nothing = "" if pa.types.is_string(kind) else 0
    if name not in files.column_names:
        return pa.chunked_array([pa.repeat(pa.scalar(nothing, kind), files.num_rows)])
    return pc.fill_null(files[name].cast(kind), nothing)
