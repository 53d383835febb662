"""Ticks from Parquet and CSV files, whoever wrote them: columns by their usual names to trades.

Needed are a time, a price and, unless the caller names it, a symbol. Cells that cannot be read
become impossible values, so that the guard refuses their rows; nothing is guessed. Times without a
zone are UTC.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from core.batch import Rejected, TickBatch
from core.clock import US_PER_S
from core.errors import FeedGarbled
from ingest.cells import to_flags, to_numbers, to_sides, to_texts, to_times, to_whole_numbers
from ingest.contract import parse_future

CHUNK_ROWS = 65_536
CSV_BLOCK_BYTES = 4 << 20
SOURCE = "file"

_NAMES = {
    "ts_event": ("ts_event", "timestamp", "time", "datetime"),
    "price": ("price",),
    "size": ("size", "volume", "qty", "quantity"),
    "symbol": ("symbol", "root", "ticker"),
    "contract": ("contract",),
    "ts_ns": ("ts_ns",),
    "side": ("side",),
    "bid": ("bid",),
    "ask": ("ask",),
    "source_seq": ("source_seq",),
    "conditions": ("conditions",),
    "kind": ("kind",),
    "grade": ("grade",),
    "valid": ("valid",),
    "repaired": ("repaired",),
}
_OPTIONAL: dict[str, Callable[[pa.Array], NDArray[np.generic]]] = {
    "size": lambda cells: to_whole_numbers(cells, -1, empty=0),
    "side": to_sides,
    "bid": to_numbers,
    "ask": to_numbers,
    "conditions": to_texts,
    "kind": to_texts,
    "grade": to_texts,
    "valid": to_flags,
    "repaired": to_flags,
}
_HINT = "name the columns symbol, timestamp, price, size; or name the symbol with --symbol"
_DIALECT_HINT = "give a comma-separated UTF-8 file with a header line"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a file, one batch a symbol and contract, and the lines that are no rows."""

    batches: list[TickBatch]
    rows: int
    bytes_done: int
    unreadable: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Table:
    """A file whose columns have been found; `chunks(ts_recv)` reads it."""

    chunks: Callable[[int], Iterator[Chunk]]


def open_parquet(path: Path, symbol: str | None) -> Table:
    """Find the columns of a Parquet file; raise FeedGarbled where ticks are not among them."""
    try:
        file = pa.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, "Parquet", error) from error
    columns = _find_columns(file.schema_arrow.names, symbol, path)
    return Table(partial(_parquet_chunks, file, columns, symbol, path))


def open_csv(path: Path, symbol: str | None) -> Table:
    """Find the columns of a CSV file; raise FeedGarbled where ticks are not among them."""
    try:
        parsing = pa.csv.ParseOptions(invalid_row_handler=lambda _line: "skip")
        with pa.csv.open_csv(path, _csv_reading(), parsing) as reader:
            names = reader.schema.names
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, "CSV", error) from error
    columns = _find_columns(names, symbol, path)
    return Table(partial(_csv_chunks, path, names, columns, symbol))


def _parquet_chunks(
    file: pa.parquet.ParquetFile,
    columns: dict[str, str],
    symbol: str | None,
    path: Path,
    ts_recv: int,
) -> Iterator[Chunk]:
    size, done = path.stat().st_size, 0
    try:
        for batch in file.iter_batches(CHUNK_ROWS, columns=list(columns.values())):
            done += batch.num_rows
            cells = {ours: batch.column(theirs) for ours, theirs in columns.items()}
            batches = _to_batches(cells, batch.num_rows, symbol, ts_recv)
            yield Chunk(batches, batch.num_rows, size * done // file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, "Parquet", error) from error


def _csv_chunks(
    path: Path, names: list[str], columns: dict[str, str], symbol: str | None, ts_recv: int
) -> Iterator[Chunk]:
    unreadable: list[Rejected] = []

    def refuse(line: pa.csv.InvalidRow) -> str:
        reason = f"line has {line.actual_columns} columns, the header has {line.expected_columns}"
        raw = (line.text or "").encode()
        unreadable.append(Rejected("trades", symbol or "", SOURCE, reason, raw, ts_recv))
        return "skip"

    try:
        reader = pa.csv.open_csv(
            path,
            read_options=_csv_reading(),
            parse_options=pa.csv.ParseOptions(invalid_row_handler=refuse),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.utf8()),
                include_columns=list(columns.values()),
            ),
        )
        with reader:
            done = 0
            for batch in reader:
                cells = {ours: batch.column(theirs) for ours, theirs in columns.items()}
                batches = _to_batches(cells, batch.num_rows, symbol, ts_recv)
                lines, unreadable[:] = list(unreadable), []
                done += CSV_BLOCK_BYTES
                yield Chunk(batches, batch.num_rows + len(lines), done, lines)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, "CSV", error) from error
    if unreadable:
        yield Chunk([], len(unreadable), done, list(unreadable))


def _csv_reading() -> pa.csv.ReadOptions:
    return pa.csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES)


def _find_columns(names: list[str], symbol: str | None, path: Path) -> dict[str, str]:
    """Our names to the file's."""
    there = {name.strip().lower(): name for name in reversed(names)}
    found = {
        ours: there[alias]
        for ours, aliases in _NAMES.items()
        for alias in reversed(aliases)
        if alias in there
    }
    if symbol is not None:
        found.pop("symbol", None)
    needed = {"ts_event", "price"} | ({"symbol"} if symbol is None else set())
    if missing := sorted(needed - set(found)):
        raise FeedGarbled(
            f"expected columns {', '.join(missing)} in {path.name}, found {', '.join(names)[:500]}",
            hint=_HINT,
        )
    return found


def _to_batches(
    cells: dict[str, pa.Array], rows: int, symbol: str | None, ts_recv: int
) -> list[TickBatch]:
    """The rows of each symbol and contract apart, file order kept within each."""
    columns = _to_columns(cells, rows, ts_recv)
    fixed = pa.repeat(symbol, rows) if symbol is not None else cells["symbol"]
    symbols = to_texts(fixed)
    contracts = to_texts(cells["contract"]) if "contract" in cells else np.full(rows, "", object)
    batches = []
    for name in dict.fromkeys(zip(symbols.tolist(), contracts.tolist(), strict=True)):
        is_mine = (symbols == name[0]) & (contracts == name[1])
        root, contract = _name(*name, ts_recv)
        whole = TickBatch("trades", root, contract, SOURCE, columns)
        batches.append(whole if is_mine.all() else whole.take(is_mine))
    return batches


def _name(symbol: str, contract: str, ts_recv: int) -> tuple[str, str]:
    """Root and contract; a symbol that is itself a contract, MNQZ26, gives both."""
    if contract:
        return symbol, contract
    future = parse_future(symbol, datetime.fromtimestamp(ts_recv // US_PER_S, UTC).date())
    return (future.root, future.contract) if future else (symbol, symbol)


def _to_columns(
    cells: dict[str, pa.Array], rows: int, ts_recv: int
) -> dict[str, NDArray[np.generic]]:
    ts_event, ts_ns = to_times(cells["ts_event"])
    if "ts_ns" in cells:
        ts_ns = to_whole_numbers(cells["ts_ns"], -1).clip(-1, 1_000).astype(np.int16)
    columns: dict[str, NDArray[np.generic]] = {
        "ts_event": ts_event,
        "ts_ns": ts_ns,
        "ts_recv": np.full(rows, ts_recv, np.int64),
        "price": to_numbers(cells["price"]),
    }
    columns |= {name: read(cells[name]) for name, read in _OPTIONAL.items() if name in cells}
    if "source_seq" in cells:
        columns["source_seq"] = to_whole_numbers(cells["source_seq"], 0, empty=0)
    else:
        # Without a number of its own a row is known by its exact time.
        columns["source_seq"] = ts_event * 1_000 + ts_ns
    return columns


def _unreadable(path: Path, kind: str, error: Exception) -> FeedGarbled:
    detail = str(error).splitlines()[0][:300] if str(error) else "nothing"
    hint = _DIALECT_HINT if kind == "CSV" else "check that the copy is complete"
    return FeedGarbled(f"expected {path.name} to be {kind}, found: {detail}", hint=hint)
