"""A batch of ticks on its way from a decoder to the store: one table, one symbol, numpy columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.schema import TABLES

# Given by the store or told once per batch, so never among a batch's own columns.
STORE_COLUMNS = frozenset({"symbol", "seq", "source", "contract"})

NOBODY = "*"  # the symbol of a reject whose own is not known
FEW_ROWS = 24  # up to here lists are looked through faster than arrays


@dataclass(frozen=True, slots=True)
class TickBatch:
    """Rows of one symbol, contract and source, in the order they arrived.

    `columns` maps names of the table's other columns to 1-D arrays of equal length. Fixed-width
    columns carry the table's numpy type: `ts_event` and `ts_recv` int64 microseconds, `ts_ns`
    int16, prices float64 with NaN for "unknown", sizes int64, flags bool. Text columns
    (conditions, kind, grade, command) are arrays of str objects, or are left out. A column that is
    left out takes its default: 0, NaN, false, "" or the first word of its enumeration; `valid`
    defaults to true. `ts_event` and `ts_recv` are required. `is_sound` says that the guard has
    looked at the columns already, together with others.
    """

    table: str
    symbol: str
    contract: str
    source: str
    columns: Mapping[str, NDArray[np.generic]]
    is_sound: bool = False

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.columns["ts_event"])

    def take(self, rows: NDArray[np.bool_] | slice) -> "TickBatch":
        """The same batch with only the rows a mask or slice selects."""
        picked = {name: column[rows] for name, column in self.columns.items()}
        about = (self.table, self.symbol, self.contract, self.source)
        return TickBatch(*about, picked, self.is_sound)

    def to_arrow(self) -> pa.RecordBatch:
        """As a record batch that stands alone: the columns, and the names in schema metadata."""
        about = {
            "table": self.table,
            "symbol": self.symbol,
            "contract": self.contract,
            "source": self.source,
        }
        arrays = {
            name: pa.array(column, pa.utf8()) if column.dtype == object else pa.array(column)
            for name, column in self.columns.items()
        }
        return pa.RecordBatch.from_pydict(arrays).replace_schema_metadata(about)

    @classmethod
    def from_arrow(cls, batch: pa.RecordBatch) -> "TickBatch":
        """Read back what `to_arrow` wrote; raise ValueError where it is not such a batch."""
        about = {k.decode(): v.decode() for k, v in (batch.schema.metadata or {}).items()}
        missing = {"table", "symbol", "contract", "source"} - set(about)
        if missing:
            raise ValueError(f"batch lacks metadata {sorted(missing)}")
        columns = {
            name: column.to_numpy(zero_copy_only=False)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        unknown = set(columns) - set(TABLES[about["table"]].schema.names)
        if unknown:
            raise ValueError(f"table {about['table']} has no columns {sorted(unknown)}")
        return cls(about["table"], about["symbol"], about["contract"], about["source"], columns)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was refused: why, and the bytes as they came."""

    table: str
    symbol: str
    source: str
    reason: str
    raw: bytes
    ts_recv: int
    ts_event: int | None = field(default=None)
