"""The tables: names, Arrow types, meanings and units of every column.

`ts_event` and `ts_recv` are naive UTC microseconds; `ts_ns` holds the 0-999 ns rest of `ts_event`
(floor, never round), so exact order is (`ts_event`, `ts_ns`, `seq`). Prices are doubles in the
instrument's points. Text that repeats is dictionary<int16, utf8> here and plain utf8 in Parquet.
"""

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

TEXT = pa.dictionary(pa.int16(), pa.utf8())
TIME = pa.timestamp("us")

# Enumerations; the position in the tuple is the dictionary code in every data folder.
KINDS = ("new", "correction", "cancel")
GRADES = ("tns", "tick-candle", "conflated")
DEPTH_COMMANDS = (
    "none",
    "clear",
    "add_bid",
    "add_ask",
    "modify_bid",
    "modify_ask",
    "delete_bid",
    "delete_ask",
)
BOOK_LEVELS = 10  # a side, of table book
BOOK_SAMPLE_US = 100_000
SEEDED_WORDS = {"kind": KINDS, "grade": GRADES, "command": DEPTH_COMMANDS}


@dataclass(frozen=True, slots=True)
class Column:
    """One column and what it means."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    nullable: bool = False

    def field(self) -> pa.Field:
        """The Arrow field, meaning and unit in its metadata."""
        about = {"meaning": self.meaning}
        if self.unit:
            about["unit"] = self.unit
        return pa.field(self.name, self.type, nullable=self.nullable, metadata=about)


@dataclass(frozen=True)
class Table:
    """One table of the tape.

    `is_fast` tables live hot in mapped segments of fixed-width columns; the others in framed Arrow
    logs. `by_symbol` says whether sealed files are kept per symbol and day, or per day only.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]
    is_fast: bool = False
    by_symbol: bool = True

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of hot answers."""
        about = {"table": self.name, "meaning": self.meaning, "timezone": "UTC"}
        return pa.schema([column.field() for column in self.columns], metadata=about)

    @cached_property
    def plain_schema(self) -> pa.Schema:
        """The same with utf8 in place of dictionaries: what SQL and Parquet see."""
        return plain(self.schema)

    @cached_property
    def unnumbered_schema(self) -> pa.Schema:
        """The plain schema without seq, which the writer gives."""
        return self.plain_schema.remove(self.plain_schema.get_field_index("seq"))

    @cached_property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the dictionary columns."""
        return tuple(c.name for c in self.columns if pa.types.is_dictionary(c.type))


def plain(schema: pa.Schema) -> pa.Schema:
    """Replace dictionary fields by utf8, keep everything else."""
    fields = [
        field.with_type(pa.utf8()) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return pa.schema(fields, metadata=schema.metadata)


def _head() -> tuple[Column, ...]:
    return (
        Column("symbol", TEXT, "root or ticker, for example MNQ or SPY"),
        Column("ts_event", TIME, "venue time, naive UTC", "us"),
        Column("ts_ns", pa.int16(), "rest of ts_event below a microsecond", "ns"),
        Column("ts_recv", TIME, "our clock when the bytes arrived, naive UTC", "us"),
        Column("seq", pa.int64(), "our own number, without holes per table"),
        Column("source", TEXT, "who told us: dxlink, scid, demo ..."),
    )


TRADES = Table(
    "trades",
    "every print",
    (
        *_head(),
        Column("contract", TEXT, "the contract traded, for example MNQZ26; the ticker for stocks"),
        Column("price", pa.float64(), "trade price", "points"),
        Column("size", pa.int64(), "contracts or shares"),
        Column("side", pa.int8(), "aggressor: +1 buyer, -1 seller, 0 unknown"),
        Column("bid", pa.float64(), "best bid just before the trade", "points", nullable=True),
        Column("ask", pa.float64(), "best ask just before the trade", "points", nullable=True),
        Column("source_seq", pa.int64(), "the source's own number, 0 where it has none"),
        Column("conditions", TEXT, "sale conditions as the source writes them"),
        Column("kind", TEXT, "new, correction or cancel of the row with the same source_seq"),
        Column("valid", pa.bool_(), "false where the source voids the print"),
        Column("grade", TEXT, "how it was captured: tns, tick-candle or conflated"),
        Column("repaired", pa.bool_(), "true where a second source filled a gap"),
    ),
    is_fast=True,
)

QUOTES = Table(
    "quotes",
    "best bid and ask, one row a change",
    (
        *_head(),
        Column("contract", TEXT, "the contract quoted; the ticker for stocks"),
        Column("bid", pa.float64(), "best bid", "points", nullable=True),
        Column("ask", pa.float64(), "best ask", "points", nullable=True),
        Column("bid_size", pa.int64(), "contracts or shares at the bid"),
        Column("ask_size", pa.int64(), "contracts or shares at the ask"),
        Column("source_seq", pa.int64(), "the source's own number, 0 where it has none"),
    ),
    is_fast=True,
)

DEPTH = Table(
    "depth",
    "changes of price levels (market by price)",
    (
        *_head(),
        Column("contract", TEXT, "the contract"),
        Column("command", TEXT, "what happens to the level: " + ", ".join(DEPTH_COMMANDS)),
        Column("side", pa.int8(), "+1 bid, -1 ask, 0 both"),
        Column("price", pa.float64(), "price of the level", "points"),
        Column("size", pa.int64(), "contracts resting at the level after the change"),
        Column("orders", pa.int32(), "orders resting at the level, 0 where unknown"),
        Column("end_of_batch", pa.bool_(), "true on the last row of one change of the book"),
        Column("source_seq", pa.int64(), "the source's own number, 0 where it has none"),
    ),
    is_fast=True,
)

_LADDER_PRICES = pa.list_(pa.float64(), BOOK_LEVELS)
_LADDER_SIZES = pa.list_(pa.int64(), BOOK_LEVELS)

BOOK = Table(
    "book",
    "top ten price levels each side, sampled each 100 ms from depth",
    (
        *_head(),
        Column("contract", TEXT, "the contract"),
        Column("bid_px", _LADDER_PRICES, "bid prices, best first", "points"),
        Column("bid_sz", _LADDER_SIZES, "contracts at each bid"),
        Column("ask_px", _LADDER_PRICES, "ask prices, best first", "points"),
        Column("ask_sz", _LADDER_SIZES, "contracts at each ask"),
        Column("valid", pa.bool_(), "false between a lone clear and the next full snapshot"),
    ),
)

_WINDOWS = pa.list_(
    pa.struct([("minutes", pa.int16()), ("strike", pa.float64()), ("value", pa.float64())])
)
_STRIKES = pa.list_(
    pa.struct(
        [
            ("strike", pa.float64()),
            ("gex_vol", pa.float64()),
            ("gex_oi", pa.float64()),
            ("priors", pa.list_(pa.float64())),
        ]
    )
)


def _number(name: str, meaning: str, unit: str = "") -> Column:
    return Column(name, pa.float64(), meaning, unit, nullable=True)


def _count(name: str, meaning: str) -> Column:
    return Column(name, pa.int64(), meaning, nullable=True)


GEX = Table(
    "gex",
    "gamma exposure snapshots; one row a (ticker, package, category, source second) stands",
    (
        *_head(),
        Column("ticker", TEXT, "GEXBot's ticker, for example NQ_NDX"),
        Column("package", TEXT, "classic, state or orderflow; uw for Unusual Whales' exposures"),
        Column("category", TEXT, "gex_zero, gex_one, gex_full, gamma_zero ..., orderflow"),
        _number("spot", "price of the underlying", "points"),
        _number("zero_gamma", "price where net gamma changes sign", "points"),
        _number("net_gex", "same as sum_gex_vol"),
        _number("major_pos_vol", "strike of most positive gamma by volume", "points"),
        _number("major_pos_oi", "strike of most positive gamma by open interest", "points"),
        _number("major_neg_vol", "strike of most negative gamma by volume", "points"),
        _number("major_neg_oi", "strike of most negative gamma by open interest", "points"),
        _number("sum_gex_vol", "net gamma by volume"),
        _number("sum_gex_oi", "net gamma by open interest"),
        _number("delta_risk_reversal", "as the vendor gives it"),
        Column("min_dte", pa.int16(), "days to the nearest expiry", "days", nullable=True),
        Column("sec_min_dte", pa.int16(), "days to the next expiry", "days", nullable=True),
        Column("change_windows", _WINDOWS, "largest change per look-back window", nullable=True),
        Column("strikes", _STRIKES, "the ladder", nullable=True),
        Column("via", TEXT, "how it came: api, uw, hist or eod"),
        Column(
            "extra",
            pa.utf8(),
            "fields we do not know, as JSON; supersedes is the seq this row stands in place of",
            nullable=True,
        ),
    ),
)

OPTION_TRADES = Table(
    "option_trades",
    "option trades relayed from Unusual Whales; one row a trade id",
    (
        *_head(),
        Column("trade_id", pa.utf8(), "Unusual Whales' id of the trade, empty where it gave none"),
        Column("channel", TEXT, "the channel it came on, for example option_trades_super_algo"),
        Column("option_symbol", pa.utf8(), "OCC symbol of the contract, as it came"),
        Column("expiry", TIME, "midnight UTC of the day the contract expires", "us"),
        Column("option_kind", TEXT, "call or put"),
        _number("strike", "strike price", "USD"),
        _number("price", "price of the contract", "USD"),
        _count("size", "contracts traded"),
        _number("premium", "money paid", "USD"),
        _count("volume", "contracts traded that day so far"),
        _count("open_interest", "contracts open"),
        _number("underlying_price", "price of the underlying", "USD"),
        _number("bid", "smoothed best bid (ewma_nbbo_bid)", "USD"),
        _number("ask", "smoothed best ask (ewma_nbbo_ask)", "USD"),
        _number("delta", "greek, as the vendor gives it"),
        _number("gamma", "greek, as the vendor gives it"),
        _number("theta", "greek, as the vendor gives it"),
        _number("vega", "greek, as the vendor gives it"),
        _number("rho", "greek, as the vendor gives it"),
        _number("theo", "theoretical price, as the vendor gives it", "USD"),
        _number("implied_volatility", "as a fraction: 0.18 is 18 %"),
        Column("tags", pa.utf8(), "the vendor's tags, parted by commas"),
        Column("exchange", TEXT, "where it traded, for example XCBO"),
        Column("conditions", TEXT, "sale condition as the source writes it"),
        Column("extra", pa.utf8(), "fields without a column, as JSON", nullable=True),
    ),
)

MARKET_AGG = Table(
    "market_agg",
    "totals of the options market relayed from Unusual Whales; one row a frame",
    (
        *_head(),
        Column("channel", TEXT, "the channel it came on, for example market_agg_socket"),
        Column("date", TIME, "midnight UTC of the trading day", "us"),
        _number("call_premium", "money paid for calls", "USD"),
        _number("put_premium", "money paid for puts", "USD"),
        _count("call_volume", "calls traded"),
        _count("put_volume", "puts traded"),
        _number("put_call_ratio", "put volume over call volume"),
        Column("extra", pa.utf8(), "fields without a column, as JSON", nullable=True),
    ),
)

BARS_COLUMNS = (
    Column("symbol", TEXT, "root or ticker"),
    Column("ts_event", TIME, "start of the bar, naive UTC", "us"),
    Column("open", pa.float64(), "first price", "points"),
    Column("high", pa.float64(), "highest price", "points"),
    Column("low", pa.float64(), "lowest price", "points"),
    Column("close", pa.float64(), "last price", "points"),
    Column("volume", pa.int64(), "contracts or shares"),
    Column("vwap", pa.float64(), "volume-weighted mean price", "points", nullable=True),
    Column("count", pa.int64(), "trades in the bar"),
    Column("buy_volume", pa.int64(), "volume of buyer-initiated trades"),
    Column("sell_volume", pa.int64(), "volume of seller-initiated trades"),
    Column("notional", pa.float64(), "sum of price times size", "points x size"),
    Column("first_ns", pa.int64(), "exact time of the first trade, epoch", "ns"),
    Column("first_seq", pa.int64(), "seq of the first trade"),
    Column("last_ns", pa.int64(), "exact time of the last trade, epoch", "ns"),
    Column("last_seq", pa.int64(), "seq of the last trade"),
)
BARS_1S = Table("bars_1s", "one-second bars of valid trades", BARS_COLUMNS)
BARS_1M = Table("bars_1m", "one-minute bars of valid trades", BARS_COLUMNS)

GAPS = Table(
    "gaps",
    "holes in the tape: what may be missing, why, and whether it was repaired",
    (
        *_head(),
        Column("table_name", TEXT, "the table with the hole"),
        Column("from_ts", TIME, "start of the hole, naive UTC", "us"),
        Column("to_ts", TIME, "end of the hole, naive UTC; null while it lasts", "us", True),
        Column("reason", pa.utf8(), "what made the hole"),
        Column("state", TEXT, "open, backfilled or unrepairable"),
        Column("closed_at", TIME, "when it was closed", "us", nullable=True),
        Column("rows", pa.int64(), "rows lost or repaired, as far as known", nullable=True),
        Column("gap_id", pa.int64(), "rows with the same number tell the life of one gap"),
    ),
)

REJECTS = Table(
    "rejects",
    "rows refused by the guard, with the reason",
    (
        *_head(),
        Column("table_name", TEXT, "where the row would have gone"),
        Column("reason", pa.utf8(), "which rule it broke"),
        Column("raw", pa.binary(), "the row as it came, at most 64 KiB"),
    ),
)

SPOT_CHECKS = Table(
    "spot_checks",
    "samples of the tape held against a second witness, and how each came out",
    (
        *_head(),
        Column("table_name", TEXT, "the table whose rows were checked"),
        Column("witness", TEXT, "what they were held against: candle, scid, digest, rollup or eod"),
        Column("from_ts", TIME, "start of the sample, naive UTC", "us"),
        Column("to_ts", TIME, "end of the sample, naive UTC", "us"),
        Column("outcome", TEXT, "match, mismatch or unverifiable"),
        Column("rows", pa.int64(), "rows compared; 0 where there was nothing to compare with"),
        Column("matched", pa.int64(), "rows that were equal"),
        Column("detail", pa.utf8(), "what differed, or why it could not be compared"),
    ),
)

QUERIES = Table(
    "queries",
    "every Flight call",
    (
        *_head(),
        Column("key_name", pa.utf8(), "whose key; empty where nobody was known"),
        Column("method", TEXT, "do_get, get_flight_info, do_action ..."),
        Column("ticket", pa.utf8(), "what was asked, at most 4 KiB"),
        Column("rows", pa.int64(), "rows sent"),
        Column("bytes", pa.int64(), "bytes sent"),
        Column("ms", pa.float64(), "time from the call to its end", "ms"),
        Column("outcome", TEXT, "ok, cancelled or an error code"),
        Column("peer", pa.utf8(), "the caller's address, then `for mcp ADDRESS` of who asked /mcp"),
    ),
    by_symbol=False,
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        TRADES,
        QUOTES,
        DEPTH,
        BOOK,
        GEX,
        OPTION_TRADES,
        MARKET_AGG,
        BARS_1S,
        BARS_1M,
        GAPS,
        REJECTS,
        SPOT_CHECKS,
        QUERIES,
    )
}
LOGGED_TABLES = tuple(t for t in TABLES.values() if not t.name.startswith("bars_"))
FAST_TABLES = tuple(t for t in TABLES.values() if t.is_fast)
