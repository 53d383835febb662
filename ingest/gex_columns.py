"""Rows of the gamma tables as columns: all flat ones in a single conversion. Pure."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import pyarrow as pa

from core.schema import TABLES

_HEAD: Final = ("symbol", "ts_event", "source")
VALUES: Final = (
    *("spot", "zero_gamma", "sum_gex_vol", "sum_gex_oi"),
    *("major_pos_vol", "major_pos_oi", "major_neg_vol", "major_neg_oi"),
    *("delta_risk_reversal", "min_dte", "sec_min_dte"),
)
# What the writer looks at of a row, in this order.
TOLD: Final[Mapping[str, tuple[str, ...]]] = {
    "gex": (*_HEAD, "ticker", "package", "category", "via", *VALUES, "extra"),
    "option_trades": (*_HEAD, "trade_id"),
    "market_agg": _HEAD,
}


def flat_columns(
    table: str, rows: Sequence[Mapping[str, object]], *, without: str = ""
) -> list[pa.Array]:
    """The columns of a table's plain schema in its order, but for seq and one more."""
    columns: list[pa.Array] = pa.array(rows, _struct(table, without)).flatten()
    return columns


@cache
def _struct(table: str, without: str) -> pa.StructType:
    return pa.struct([field for field in TABLES[table].unnumbered_schema if field.name != without])
