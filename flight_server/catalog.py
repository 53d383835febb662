"""What Flight SQL's drivers ask about the server: one catalog, one schema, the tables and views.

The Arrow schemas of the answers are those of format/FlightSql.proto of Apache Arrow.
"""

import re
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import pyarrow as pa

from core.schema import TABLES
from flight_server.ticket_kinds import Catalog
from storage.query_text import CATALOG, SCHEMA

VIEWS: Final = ("partitions", "services", "ticks")
_TEXT = pa.utf8()
_INT = pa.int32()


def _schema(*fields: tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, is_null) for name, kind, is_null in fields])


_TABLES = (
    ("catalog_name", _TEXT, True),
    ("db_schema_name", _TEXT, True),
    ("table_name", _TEXT, False),
    ("table_type", _TEXT, False),
)
_VALUE = pa.dense_union(
    [
        pa.field("string_value", _TEXT),
        pa.field("bool_value", pa.bool_()),
        pa.field("bigint_value", pa.int64()),
        pa.field("int32_bitmask", _INT),
        pa.field("string_list", pa.list_(_TEXT)),
        pa.field("int32_to_int32_list_map", pa.map_(_INT, pa.list_(_INT))),
    ]
)
SCHEMAS: Final = {
    "catalogs": _schema(("catalog_name", _TEXT, False)),
    "schemas": _schema(("catalog_name", _TEXT, True), ("db_schema_name", _TEXT, False)),
    "tables": _schema(*_TABLES),
    "tables with schemas": _schema(*_TABLES, ("table_schema", pa.binary(), False)),
    "table_types": _schema(("table_type", _TEXT, False)),
    "sql_info": _schema(("info_name", pa.uint32(), False), ("value", _VALUE, False)),
    "primary_keys": _schema(
        ("catalog_name", _TEXT, True),
        ("db_schema_name", _TEXT, True),
        ("table_name", _TEXT, False),
        ("column_name", _TEXT, False),
        ("key_name", _TEXT, True),
        ("key_sequence", _INT, False),
    ),
    "foreign_keys": _schema(
        ("pk_catalog_name", _TEXT, True),
        ("pk_db_schema_name", _TEXT, True),
        ("pk_table_name", _TEXT, False),
        ("pk_column_name", _TEXT, False),
        ("fk_catalog_name", _TEXT, True),
        ("fk_db_schema_name", _TEXT, True),
        ("fk_table_name", _TEXT, False),
        ("fk_column_name", _TEXT, False),
        ("key_sequence", _INT, False),
        ("fk_key_name", _TEXT, True),
        ("pk_key_name", _TEXT, True),
        ("update_rule", pa.uint8(), False),
        ("delete_rule", pa.uint8(), False),
    ),
    "types": _schema(
        ("type_name", _TEXT, False),
        ("data_type", _INT, False),
        ("column_size", _INT, True),
        ("literal_prefix", _TEXT, True),
        ("literal_suffix", _TEXT, True),
        ("create_params", pa.list_(pa.field("item", _TEXT, False)), True),
        ("nullable", _INT, False),
        ("case_sensitive", pa.bool_(), False),
        ("searchable", _INT, False),
        ("unsigned_attribute", pa.bool_(), True),
        ("fixed_prec_scale", pa.bool_(), False),
        ("auto_increment", pa.bool_(), True),
        ("local_type_name", _TEXT, True),
        ("minimum_scale", _INT, True),
        ("maximum_scale", _INT, True),
        ("sql_data_type", _INT, False),
        ("datetime_subcode", _INT, True),
        ("num_prec_radix", _INT, True),
        ("interval_precision", _INT, True),
    ),
}
# name, ODBC type, size, literal prefix and suffix
_TYPES: Final = (
    ("TINYINT", -6, 3, None),
    ("BIGINT", -5, 19, None),
    ("SMALLINT", 5, 5, None),
    ("INTEGER", 4, 10, None),
    ("DOUBLE", 8, 53, None),
    ("VARCHAR", 12, None, "'"),
    ("BOOLEAN", -7, 1, None),
    ("TIMESTAMP", 93, 26, "'"),
)


def catalog_schema(ask: Catalog) -> pa.Schema:
    """The schema of an answer."""
    return SCHEMAS["tables with schemas" if ask.has_schemas else ask.kind]


def catalog_rows(  # noqa: PLR0911  one for each kind
    ask: Catalog, schema_of_view: Callable[[str], pa.Schema]
) -> pa.RecordBatch:
    """The answer; `schema_of_view` tells the columns of a view."""
    schema = catalog_schema(ask)
    is_ours = ask.catalog in (None, CATALOG) and _like(SCHEMA, ask.schema_pattern)
    match ask.kind:
        case "catalogs":
            return _batch([[CATALOG]], schema)
        case "schemas":
            return _batch([[CATALOG], [SCHEMA]] if is_ours else [[], []], schema)
        case "table_types":
            return _batch([["TABLE", "VIEW"]], schema)
        case "sql_info":
            return _info(ask.numbers, schema)
        case "types":
            return _types(schema)
        case "tables":
            return _tables(ask, schema, is_ours, schema_of_view)
        case _:
            return _batch([[] for _ in schema], schema)  # no table has keys


def _tables(
    ask: Catalog, schema: pa.Schema, is_ours: bool, schema_of_view: Callable[[str], pa.Schema]
) -> pa.RecordBatch:
    found = [(name, "VIEW" if name in VIEWS else "TABLE") for name in sorted((*TABLES, *VIEWS))]
    # Drivers ask for "table", "TABLE" and "BASE TABLE" and mean the same.
    types = ask.table_types and {kind.upper().removeprefix("BASE ") for kind in ask.table_types}
    found = [
        (name, kind)
        for name, kind in found
        if is_ours and _like(name, ask.table_pattern) and (not types or kind in types)
    ]
    names = [name for name, _ in found]
    columns: list[Sequence[object]] = [
        [CATALOG] * len(found),
        [SCHEMA] * len(found),
        names,
        [kind for _, kind in found],
    ]
    if ask.has_schemas:
        shapes = [
            schema_of_view(name) if name in VIEWS else TABLES[name].plain_schema for name in names
        ]
        columns.append([shape.serialize().to_pybytes() for shape in shapes])
    return _batch(columns, schema)


def _info(numbers: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:
    """Numbers as the enumeration SqlInfo has them; none asked means all."""
    known: dict[int, str | bool | int] = {
        0: "tickflight",
        1: _version(),
        2: pa.__version__,
        3: True,  # read-only
        4: True,  # SQL
        5: False,  # Substrait
        8: 0,  # transactions: none
        9: False,  # CancelQuery; a dropped stream is cancelled
        500: False,
        501: False,
        502: False,
        503: 1,  # identifiers are case-insensitive
        504: '"',
        505: 1,
        506: True,
        529: "schema",
        531: "catalog",
    }
    asked = [number for number in numbers or known if number in known]
    places: dict[type, int] = {str: 0, bool: 1, int: 3}
    codes, offsets = [], []
    children: list[list[object]] = [[] for _ in range(_VALUE.num_fields)]
    for number in asked:
        code = places[type(known[number])]
        codes.append(code)
        offsets.append(len(children[code]))
        children[code].append(known[number])
    values = pa.UnionArray.from_dense(
        pa.array(codes, pa.int8()),
        pa.array(offsets, _INT),
        [pa.array(child, _VALUE.field(place).type) for place, child in enumerate(children)],
        [_VALUE.field(place).name for place in range(_VALUE.num_fields)],
    )
    return pa.RecordBatch.from_arrays([pa.array(asked, pa.uint32()), values], schema=schema)


def _types(schema: pa.Schema) -> pa.RecordBatch:
    rows = [
        {
            "type_name": name,
            "data_type": code,
            "column_size": size,
            "literal_prefix": quote,
            "literal_suffix": quote,
            "nullable": 1,
            "case_sensitive": name == "VARCHAR",
            "searchable": 3,
            "unsigned_attribute": None if quote else False,
            "fixed_prec_scale": False,
            "sql_data_type": 9 if name == "TIMESTAMP" else code,
            "datetime_subcode": 3 if name == "TIMESTAMP" else None,
        }
        for name, code, size, quote in sorted(_TYPES, key=lambda kind: kind[1])
    ]
    return pa.RecordBatch.from_pylist(rows, schema)


def _batch(columns: Sequence[Sequence[object]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array(list(c), f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _like(name: str, pattern: str | None) -> bool:
    """SQL's LIKE, and case does not matter; an empty or absent pattern narrows nothing."""
    if not pattern:
        return True
    parts = {"%": ".*", "_": "."}
    wanted = "".join(parts.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(wanted, name, re.IGNORECASE | re.DOTALL) is not None


def _version() -> str:
    try:
        return version("tickflight")
    except PackageNotFoundError:
        return "0"
