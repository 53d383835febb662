"""Made-up trades as plain rows, the batches they make, and bars worked out the slow, plain way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from core.clock import HOUR_US
from core.schema import TABLES

HOUR_14_US = 1_795_183_200_000_000  # 2026-11-20 14:00 UTC
WORDS = ("new", "correction", "cancel", "tns", "MNQZ26", "MNQH27", "dxlink", "@", "")


@dataclass(frozen=True)
class Trade:
    seq: int
    ts_us: int
    price: float = 100.0
    size: int = 1
    side: int = 0
    ns: int = 0
    source_seq: int = 0
    kind: str = "new"
    valid: bool = True
    source: str = "dxlink"
    contract: str = "MNQZ26"

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.contract, self.source, self.source_seq


def tape(count: int, first_seq: int = 1, *, step_us: int = 1_000, start_us: int = HOUR_14_US):
    """`count` trades in time order; seqs have holes, as other symbols share the numbers."""
    return [
        Trade(
            seq=first_seq + 2 * i,
            ts_us=start_us + i * step_us,
            price=100.0 + i % 16 * 0.25,
            size=i % 5 + 1,
            side=i % 3 - 1,
            ns=i % 7,
            source_seq=first_seq + 2 * i,
        )
        for i in range(count)
    ]


def batch(rows: Sequence[Trade], symbol: str = "MNQ") -> pa.RecordBatch:
    """Rows as the hot side hands them over."""
    schema = TABLES["trades"].schema
    count = len(rows)
    values = {
        "symbol": [symbol] * count,
        "ts_event": [row.ts_us for row in rows],
        "ts_ns": [row.ns for row in rows],
        "ts_recv": [row.ts_us + 700 for row in rows],
        "seq": [row.seq for row in rows],
        "source": [row.source for row in rows],
        "contract": [row.contract for row in rows],
        "price": [row.price for row in rows],
        "size": [row.size for row in rows],
        "side": [row.side for row in rows],
        "bid": [row.price - 0.25 if row.seq % 5 else None for row in rows],
        "ask": [row.price + 0.25 if row.seq % 3 else float("nan") for row in rows],
        "source_seq": [row.source_seq for row in rows],
        "conditions": ["@" if row.seq % 2 else "" for row in rows],
        "kind": [row.kind for row in rows],
        "valid": [row.valid for row in rows],
        "grade": ["tns"] * count,
        "repaired": [False] * count,
    }
    words = pa.array([*WORDS, symbol])
    places = {word: i for i, word in enumerate(words.to_pylist())}
    arrays = []
    for field in schema:
        if pa.types.is_dictionary(field.type):
            codes = pa.array([places[word] for word in values[field.name]], pa.int16())
            arrays.append(pa.DictionaryArray.from_arrays(codes, words))
        else:
            kind = pa.int64() if pa.types.is_timestamp(field.type) else field.type
            arrays.append(pa.array(values[field.name], kind).cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def plain_bars(rows: Iterable[Trade], width_us: int) -> dict[int, tuple[object, ...]]:
    """Bars by start time: (open, high, low, close, volume, count, buy, sell, notional)."""
    rows = list(rows)
    buckets: dict[int, list[Trade]] = {}
    for row in rows:
        is_revised = row.source_seq != 0 and any(
            other.kind != "new" and other.identity == row.identity and other.seq > row.seq
            for other in rows
        )
        if row.valid and row.kind != "cancel" and not is_revised:
            buckets.setdefault(row.ts_us // width_us * width_us, []).append(row)
    return {start: _bar(mine) for start, mine in buckets.items()}


def _bar(rows: list[Trade]) -> tuple[object, ...]:
    rows = sorted(rows, key=lambda row: (row.ts_us, row.ns, row.seq))
    prices = [row.price for row in rows]
    return (
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(row.size for row in rows),
        len(rows),
        sum(row.size for row in rows if row.side > 0),
        sum(row.size for row in rows if row.side < 0),
        sum(row.price * row.size for row in rows),
    )


BAR = (
    "open", "high", "low", "close", "volume", "count", "buy_volume", "sell_volume", "notional",
)  # fmt: skip


def bars_as_plain(bars: pa.Table) -> dict[int, tuple[object, ...]]:
    """Bars of one symbol in the form of `plain_bars`."""
    starts = bars["ts_event"].cast(pa.int64()).to_pylist()
    values = zip(*(bars[name].to_pylist() for name in BAR), strict=True)
    found = dict(zip(starts, values, strict=True))
    assert len(found) == len(starts), "a bucket has one bar"
    return found


def lake_seqs(lake: object, symbol: str = "MNQ") -> list[int]:
    """Sealed seqs of a symbol, in order, twins included."""
    rows = pl.scan_delta(f"{lake}/trades").filter(pl.col("symbol") == symbol)
    return sorted(rows.select("seq").collect()["seq"].to_list())


def lake_bars(lake: object, table: str, symbol: str = "MNQ") -> dict[int, tuple[object, ...]]:
    """Sealed bars of a symbol in the form of `plain_bars`."""
    rows = pl.scan_delta(f"{lake}/{table}").filter(pl.col("symbol") == symbol).collect()
    return bars_as_plain(rows.to_arrow())


def hours_later(rows: Iterable[Trade], hours: int, first_seq: int) -> list[Trade]:
    """The same rows again, later and with seqs of their own."""
    return [
        Trade(
            **{
                **row.__dict__,
                "seq": first_seq + 2 * i,
                "source_seq": first_seq + 2 * i,
                "ts_us": row.ts_us + hours * HOUR_US,
            }
        )
        for i, row in enumerate(rows)
    ]
