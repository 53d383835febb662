"""Writes docs/tables.md from the schema: `python -m tests.tidy.tables_page > docs/tables.md`."""

import pyarrow as pa

from core.schema import TABLES, Column, Table

HEAD = """# Tables

Every table carries `symbol`, `ts_event`, `ts_ns`, `ts_recv`, `seq` and `source`, except the bars.
Times are naive UTC microseconds; `ts_ns` holds the 0-999 nanoseconds below, so the exact order of
rows is (`ts_event`, `ts_ns`, `seq`). Text is `dictionary<int16, utf8>` in tickets' answers and
plain `utf8` in SQL and Parquet. Meanings and units stand in the Arrow field metadata too.
"""


def render() -> str:
    return "\n".join([HEAD, *(_section(table) for table in TABLES.values())]).rstrip() + "\n"


def _section(table: Table) -> str:
    lines = [f"## {table.name}", "", f"{table.meaning.capitalize()}.", ""]
    lines += ["| column | type | meaning | unit |", "|---|---|---|---|"]
    lines += [_row(column) for column in table.columns]
    return "\n".join(lines) + "\n"


def _row(column: Column) -> str:
    meaning = column.meaning + (" (may be null)" if column.nullable else "")
    return f"| `{column.name}` | {_type(column.type)} | {meaning} | {column.unit} |"


def _type(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "text"
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        size = f" of {kind.list_size}" if pa.types.is_fixed_size_list(kind) else ""
        return f"list{size}: {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(f"{field.name}: {_type(field.type)}" for field in kind) + "}"
    return {"string": "utf8"}.get(str(kind), str(kind))


if __name__ == "__main__":
    print(render(), end="")
