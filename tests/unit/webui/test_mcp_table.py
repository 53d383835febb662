import csv
import datetime as dt
import io
import json
from decimal import Decimal

import pyarrow as pa

from core.schema import TRADES
from webui.mcp_table import CELL_CHARS_MAX, NESTED_BYTES_MAX, TEXT_BYTES_MAX, iso, show

MOMENT_US = 1_763_649_000_123_456


def one(value, kind=None):
    """How a single cell is shown."""
    return show(pa.table({"x": pa.array([value], kind)}), None).rows[0][0]


def test_times_are_iso_in_utc_with_the_digits_they_have():
    assert iso(MOMENT_US) == "2025-11-20T14:30:00.123456Z"
    assert iso(MOMENT_US * 1_000 + 7, "ns") == "2025-11-20T14:30:00.123456007Z"
    assert iso(1_763_649_000, "s") == "2025-11-20T14:30:00Z"
    assert iso(1_763_649_000_005, "ms") == "2025-11-20T14:30:00.005Z"
    assert iso(-1) == "1969-12-31T23:59:59.999999Z"
    assert iso(10**18) == str(10**18)


def test_the_nanoseconds_of_our_tables_go_into_the_time():
    table = pa.table(
        {
            "ts_event": pa.array([MOMENT_US], pa.timestamp("us")),
            "ts_ns": pa.array([789], pa.int16()),
        }
    )
    shown = show(table, TRADES)
    assert shown.rows == [["2025-11-20T14:30:00.123456789Z"]]
    assert [column["name"] for column in shown.columns] == ["ts_event"]
    # Of a statement nobody knows whether both are of one row.
    assert show(table, None).rows == [["2025-11-20T14:30:00.123456Z", 789]]


def test_columns_of_our_tables_carry_meaning_and_unit():
    table = pa.table({"price": [1.0], "side": pa.array([1], pa.int8())})
    price, side = show(table, TRADES, {"side": "who"}).columns
    assert price == {"name": "price", "type": "double", "unit": "points", "meaning": "trade price"}
    assert side["meaning"] == "who"


def test_cells_are_plain_and_none_of_them_lies():
    assert one(2**53) == 2**53
    assert one(2**53 + 1) == str(2**53 + 1)
    assert one(-(2**60)) == str(-(2**60))
    assert one(float("nan")) is None
    assert one(float("inf")) is None
    assert one(24_916.25) == 24_916.25
    assert one(Decimal(7)) == 7
    assert one(Decimal("0.5")) == "0.5"
    assert one(Decimal(2**70)) == str(2**70)
    assert one(None, pa.int64()) is None
    assert one(None, pa.timestamp("us")) is None
    assert one(True) is True
    assert one(b"\xffabc") == "\ufffdabc"
    assert one(dt.date(2026, 11, 20)) == "2026-11-20"
    assert one(MOMENT_US, pa.timestamp("us", "America/New_York")) == iso(MOMENT_US)
    assert one([{"at": dt.datetime(2026, 11, 20, tzinfo=dt.UTC)}]) == [
        {"at": "2026-11-20T00:00:00Z"}
    ]
    assert one("MNQ", pa.dictionary(pa.int16(), pa.utf8())) == "MNQ"


def test_long_cells_are_cut_and_say_how_long_they_were():
    text = one("x" * (CELL_CHARS_MAX + 1))
    assert text.endswith(f"({CELL_CHARS_MAX + 1} characters)")
    nested = one(list(range(NESTED_BYTES_MAX)))
    assert isinstance(nested, str)
    assert nested.startswith("[0,1,2")


def test_the_csv_says_what_the_rows_say():
    table = pa.table({"a": ['x,"y"\n', None], "b": [[1, 2], []], "c": [True, False]})
    shown = show(table, None)
    assert list(csv.reader(io.StringIO(shown.csv))) == [
        ["a", "b", "c"],
        ['x,"y"\n', "[1,2]", "true"],
        ["", "[]", "false"],
    ]


def test_rows_that_do_not_fit_are_left_out_of_both_forms():
    shown = show(pa.table({"a": ["x" * 390] * 1_000}), None)
    assert 0 < len(shown.rows) < 1_000
    assert len(shown.csv) <= TEXT_BYTES_MAX
    assert shown.csv.count("\n") == len(shown.rows) + 1


def test_one_row_is_shown_however_long_it_is():
    table = pa.table({f"c{number}": ["x" * 390] for number in range(500)})
    assert len(show(table, None).rows) == 1


def test_no_rows_still_show_their_columns():
    shown = show(TRADES.schema.empty_table(), TRADES)
    assert shown.rows == []
    assert len(shown.columns) == len(TRADES.columns) - 1
    assert json.dumps(shown.columns)
