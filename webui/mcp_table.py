"""An Arrow table as a model reads it: columns with meanings, plain rows, and the same as CSV. Pure.

Times become ISO-8601 in UTC; in rows of our tables `ts_event` takes in `ts_ns`. A number that is
none is null. A whole number that a reader of JSON could round comes as text. Long cells are cut and
say so.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Final

import orjson
import pyarrow as pa

from core.clock import NS_PER_S, NS_PER_US, US_PER_S
from core.schema import Table

CELL_CHARS_MAX: Final = 400
NESTED_BYTES_MAX: Final = 8 * 1024
TEXT_BYTES_MAX: Final = 48 * 1024
EXACT_MAX: Final = 2**53

_PER_S: Final = {"s": 1, "ms": 1_000, "us": US_PER_S, "ns": NS_PER_S}


@dataclass(frozen=True, slots=True)
class Shown:
    """Columns and rows for JSON, and the rows as CSV; `rows` may be fewer than were given."""

    columns: list[dict[str, str]]
    rows: list[list[object]]
    csv: str


def show(table: pa.Table, known: Table | None, meanings: Mapping[str, str] | None = None) -> Shown:
    """Make a table readable, as many rows as fit; `known` and `meanings` tell of its columns."""
    below = known is not None and {"ts_event", "ts_ns"} <= set(table.column_names)
    names = [name for name in table.column_names if not (below and name == "ts_ns")]
    columns = [_column(table, name, known, meanings or {}) for name in names]
    cells = [
        _exact_moments(table) if below and name == "ts_event" else _cells(table.column(name))
        for name in names
    ]
    rows = [list(row) for row in zip(*cells, strict=True)]
    lines = [_line(names)]
    size = len(lines[0])
    for row in rows:
        line = _line(row)
        size += len(line.encode())
        if size > TEXT_BYTES_MAX and len(lines) > 1:
            break
        lines.append(line)
    return Shown(columns, rows[: len(lines) - 1], "".join(lines))


def iso(value: int, unit: str = "us") -> str:
    """Epoch time as ISO-8601 in UTC, with as many digits as its unit has where they are not 0."""
    seconds, rest = divmod(value, _PER_S[unit])
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return str(value)  # a year no calendar has
    fraction = f".{rest:0{len(str(_PER_S[unit])) - 1}d}" if rest else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _column(
    table: pa.Table, name: str, known: Table | None, meanings: Mapping[str, str]
) -> dict[str, str]:
    kind = table.schema.field(name).type
    told = {column.name: column for column in known.columns} if known else {}
    unit = told[name].unit if name in told else ""
    meaning = meanings.get(name) or (told[name].meaning if name in told else "")
    if pa.types.is_timestamp(kind):
        about = meaning.replace(", naive UTC", "")
        return {"name": name, "type": "time", "unit": "ISO-8601 UTC", "meaning": about}
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return {"name": name, "type": str(kind), "unit": unit, "meaning": meaning}


def _cells(column: pa.ChunkedArray) -> list[object]:
    if not pa.types.is_timestamp(column.type):
        return [_bounded(_plain(value)) for value in column.to_pylist()]
    unit = column.type.unit
    moments = column.cast(pa.timestamp(unit)).cast(pa.int64()).to_pylist()
    return [None if moment is None else iso(moment, unit) for moment in moments]


def _exact_moments(table: pa.Table) -> list[object]:
    moments = table.column("ts_event").cast(pa.int64()).to_pylist()
    return [
        iso(moment * NS_PER_US + below, "ns")
        for moment, below in zip(moments, table.column("ts_ns").to_pylist(), strict=True)
    ]


def _plain(value: object) -> object:  # noqa: PLR0911  one line a type
    match value:
        case None | bool():
            return value
        case int():
            return value if -EXACT_MAX <= value <= EXACT_MAX else str(value)
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return _plain(int(value)) if value == value.to_integral_value() else str(value)
        case bytes():
            return _short(value.decode("utf-8", "replace"))
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {str(name): _plain(one) for name, one in value.items()}
        case datetime():
            moment = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
            return moment.isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case _:
            return _short(str(value))


def _bounded(cell: object) -> object:
    """A list or an object that is too long to be read becomes the beginning of its text."""
    if isinstance(cell, list | dict) and len(text := orjson.dumps(cell)) > NESTED_BYTES_MAX:
        return _short(text.decode())
    return cell


def _short(text: str) -> str:
    if len(text) <= CELL_CHARS_MAX:
        return text
    return f"{text[:CELL_CHARS_MAX]} ... ({len(text)} characters)"


def _line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([_text(cell) for cell in cells])
    return out.getvalue()


def _text(cell: object) -> str:
    if isinstance(cell, list | dict):
        return orjson.dumps(cell).decode()
    return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)
