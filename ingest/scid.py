"""Sierra Chart intraday files (.scid): whole records to columns of trades.

Pure: bytes come from a `ReadAt` the caller hands in, nothing is written, and what is no trade
(quote updates, bars, zero pages, a half record at the end) is counted apart and never passed off
as one. Impossible prices and times are left to the guard.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.batch import TickBatch
from ingest.sierra_file import (
    EPOCH_US,
    SAMPLE_RECORDS,
    Format,
    ReadAt,
    RecordFile,
    Records,
    prove,
)

SOURCE = "scid"

# Values of `open` in a trade that was told in parts; the bits decide, not the decimals.
FIRST_BITS = 0xFD709EF9
LAST_BITS = 0xFD709F01
_SIGN_BIT = 0x80000000

RECORD = np.dtype(
    [
        ("time", "<i8"),
        ("open", "<u4"),  # float32, read as bits
        ("high", "<f4"),
        ("low", "<f4"),
        ("close", "<f4"),
        ("trades", "<u4"),
        ("volume", "<u4"),
        ("bid_volume", "<u4"),
        ("ask_volume", "<u4"),
    ]
)
FORMAT = Format(".scid", b"SCID", 56, RECORD, 65_536)
assert RECORD.itemsize == 40

_BUNDLE_WORDS = np.array(["", "bundle_first", "bundle", "bundle_last"], object)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many records there were of each kind."""

    trades: int = 0
    quotes: int = 0
    bars: int = 0
    blanks: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.trades + other.trades,
            self.quotes + other.quotes,
            self.bars + other.bars,
            self.blanks + other.blanks,
        )

    @property
    def records(self) -> int:
        return self.trades + self.quotes + self.bars + self.blanks


@dataclass(frozen=True, slots=True)
class Naming:
    """What a file's trades are called, and the factor its prices are written with."""

    symbol: str
    contract: str
    scale: int


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """A trade told in parts whose last part has not come yet: the raw price it is at."""

    price: float


@dataclass(frozen=True, slots=True)
class Decoded:
    """The trades of one run of records, what else was there, and the bundle left open."""

    batch: TickBatch
    tally: Tally
    bundle: OpenBundle | None = field(default=None)


def open_scid(read_at: ReadAt, size: int, name: str) -> RecordFile:
    """Prove the header of a file of `size` bytes; raise FeedGarbled where it is none of ours."""
    return prove(read_at, size, name, FORMAT)


def sample_prices(file: RecordFile) -> NDArray[np.float32]:
    """Raw prices of trades from the beginning, the middle and the end of the file."""
    prices = [part["close"][is_trade(part)] for part in file.sample()]
    return np.concatenate(prices).astype(np.float32)


def first_time_us(file: RecordFile) -> int | None:
    """Time of the first record that has one, microseconds since 1970; None without any."""
    times = file.read(0, SAMPLE_RECORDS)["time"]
    times = times[times > 0]
    return int(times[0]) - EPOCH_US if len(times) else None


def decode(
    records: Records, naming: Naming, ts_recv: int, bundle: OpenBundle | None = None
) -> Decoded:
    """The trades among some records, in file order; `bundle` is what the run before left open."""
    trade = is_trade(records)
    trades = records if trade.all() else records[trade]
    unix_us = trades["time"] - EPOCH_US
    raw_price = trades["close"]
    columns: dict[str, NDArray[np.generic]] = {
        # Below a millisecond the file keeps a counter, not time.
        "ts_event": unix_us - unix_us % 1_000,
        "ts_recv": np.full(len(trades), ts_recv, np.int64),
        "price": to_points(raw_price, naming.scale),
        "size": trades["volume"].astype(np.int64),
        "side": _sides(trades),
        "bid": _quotes(trades["low"], naming.scale),
        "ask": _quotes(trades["high"], naming.scale),
        "source_seq": unix_us,
    }
    bundles, bundle = _bundles(trades["open"], raw_price, bundle)
    if bundles is not None:
        columns["conditions"] = _BUNDLE_WORDS[bundles]
    batch = TickBatch("trades", naming.symbol, naming.contract, SOURCE, columns)
    return Decoded(batch, _count(records, trade), bundle)


def is_trade(records: Records) -> NDArray[np.bool_]:
    """Which records are single trades: not quote updates, bars or blanks.

    A record without volume is a quote update where it has a quote; without one it is a print of
    an index, which has no volume.
    """
    single: NDArray[np.bool_] = (records["trades"] == 1) & _has_trade_open(records["open"])
    if (records["volume"] > 0).all():
        return single
    has_quote = (records["high"] > 0) | (records["low"] > 0)
    single &= (records["volume"] > 0) | (~has_quote & (records["close"] != 0))
    return single


def to_points(raw: NDArray[np.float32], scale: int) -> NDArray[np.float64]:
    """Prices in points. Unscaled ones become the shortest decimal that is the same float32."""
    wide = raw.astype(np.float64)
    if scale != 1:
        return wide / scale
    left = np.flatnonzero(np.isfinite(wide) & (wide * 4 != np.rint(wide * 4)))
    for digits in range(2, 9):
        if len(left) == 0:
            break
        short = np.round(wide[left], digits)
        is_same = short.astype(np.float32) == raw[left]
        wide[left[is_same]] = short[is_same]
        left = left[~is_same]
    return wide


def _has_trade_open(bits: NDArray[np.uint32]) -> NDArray[np.bool_]:
    is_open: NDArray[np.bool_] = (bits & ~np.uint32(_SIGN_BIT)) == 0
    is_open |= (bits == FIRST_BITS) | (bits == LAST_BITS)
    return is_open


def _count(records: Records, trade: NDArray[np.bool_]) -> Tally:
    trades = int(np.count_nonzero(trade))
    if trades == len(records):
        return Tally(trades)
    rest = records[~trade]
    without_volume = rest["volume"] == 0
    blank = without_volume & (rest["trades"] == 0) & (rest["close"] == 0) & (rest["high"] == 0)
    quote = without_volume & ~blank & _has_trade_open(rest["open"])
    blanks, quotes = int(np.count_nonzero(blank)), int(np.count_nonzero(quote))
    return Tally(trades, quotes, len(rest) - blanks - quotes, blanks)


def _sides(trades: Records) -> NDArray[np.int8]:
    """+1 where the buyer took the ask, -1 where the seller hit the bid, 0 where it is unclear."""
    at_bid, at_ask = trades["bid_volume"], trades["ask_volume"]
    sides = (at_ask > at_bid).view(np.int8) - (at_ask < at_bid).view(np.int8)
    unclear = (at_ask > 0) == (at_bid > 0)
    if unclear.any():
        price, bid, ask = trades["close"], trades["low"], trades["high"]
        # In a crossed or locked book a price can be at both; then it says nothing.
        lifted = (ask > 0) & (price >= ask)
        hit = (bid > 0) & (price <= bid)
        by_price = lifted.view(np.int8) - hit.view(np.int8)
        sides = np.where(unclear, by_price, sides)
    return sides


def _quotes(raw: NDArray[np.float32], scale: int) -> NDArray[np.float64]:
    points = to_points(raw, scale)
    points[~(points > 0)] = np.nan
    return points


def _bundles(
    bits: NDArray[np.uint32], price: NDArray[np.float32], bundle: OpenBundle | None
) -> tuple[NDArray[np.int8] | None, OpenBundle | None]:
    """Each trade's place in `_BUNDLE_WORDS`, None where all stand alone, and what stays open.

    A bundle runs from its first part to its last at one price; where the price changes without a
    last part it is over, so that one lost record cannot mark the rest of the file.
    """
    first, last = bits == FIRST_BITS, bits == LAST_BITS
    if len(bits) == 0 or (bundle is None and not first.any() and not last.any()):
        return None, bundle
    rows = np.arange(len(bits))
    was_over = np.empty(len(bits), np.bool_)
    was_over[0] = bundle is None or price[0] != bundle.price
    was_over[1:] = last[:-1] | (price[1:] != price[:-1])
    begun = np.maximum.accumulate(np.where(first, rows, -1))
    ended = np.maximum.accumulate(np.where(was_over, rows, -1))
    # A bundle handed over begins before row 0: it lasts while nothing has ended.
    inside = (begun >= 0) & (begun >= ended) | (ended < 0)
    words = np.where(first, 1, np.where(last, 3, np.where(inside, 2, 0))).astype(np.int8)
    is_open = bool(inside[-1]) and not last[-1]
    return words, OpenBundle(float(price[-1])) if is_open else None
