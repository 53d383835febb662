"""Statements that are nothing but a range of one symbol's rows, answered without SQL.

`SELECT ... FROM trades WHERE symbol = 'MNQ' AND ts_event >= '...'` asks for what a View gives in
time order straight from memory. Only statements of exactly this grammar are taken; whatever has one
word more goes to the worker. The rows are the same either way, which a test holds.

    [SELECT * | columns] FROM table WHERE symbol = 'X' [AND time op 'moment']...
    [ORDER BY time [, ts_ns [, seq]]] [LIMIT n]
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pyarrow as pa

from core.errors import TooMuch
from core.schema import TABLES
from storage.query_text import SAFE_SYMBOL, TICKS_NAMES
from storage.view import View

TOKEN = re.compile(
    r"\s*(?:([A-Za-z_]\w*)|('(?:[^']|'')*')|(>=|<=|[=<>,*])|(\d+)(?!\w)|(\?|\$\d+))", re.ASCII
)
MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d(?:\.\d{1,6})?)?\Z", re.ASCII)
CHARS_MAX = 4096
TABLES_SCANNED = ("trades", "quotes", "depth", "ticks")
LIMIT_MAX = 10**15
REPEATED_ROWS = 16_384
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Scan:
    """One symbol's rows of a half-open range of time."""

    name: str
    columns: list[str]
    symbol: str = ""
    start_us: int | None = None
    end_us: int | None = None
    rows_max: int | None = None

    @property
    def table(self) -> str:
        """The table of the tape."""
        return "trades" if self.name == "ticks" else self.name

    @property
    def time(self) -> str:
        """What this table calls the venue's time."""
        return "timestamp" if self.name == "ticks" else "ts_event"

    def bound(self, operator: str, at_us: int) -> None:
        """Narrow the range."""
        if operator in (">", ">=", "="):
            low = at_us + (operator == ">")
            self.start_us = low if self.start_us is None else max(low, self.start_us)
        if operator in ("<", "<=", "="):
            high = at_us + (operator != "<")
            self.end_us = high if self.end_us is None else min(high, self.end_us)


class _Unlike(Exception):
    """The statement is not of the grammar; the worker judges it."""


def parse_scan(sql: str, literals: Sequence[str] = ()) -> Scan | None:
    """The scan a statement is, or None where it is anything else."""
    if len(sql) > CHARS_MAX:
        return None
    try:
        return _Parser(_tokens(sql, literals)).scan()
    except (_Unlike, IndexError, ValueError, OverflowError):
        return None


def _tokens(sql: str, literals: Sequence[str] = ()) -> list[str]:
    tokens: list[str] = []
    numbers: set[int] = set()
    text, place, asked = sql.rstrip(), 0, 0
    while place < len(text):
        found = TOKEN.match(text, place)
        if found is None:
            raise _Unlike
        place = found.end()
        if found[5] is None:
            tokens.append(found[1].lower() if found[1] else found[0].strip())
            continue
        asked += 1
        number = asked if found[5] == "?" else int(found[5][1:])
        numbers.add(number)
        tokens += _tokens(literals[number - 1])
    if numbers != set(range(1, len(literals) + 1)):
        raise _Unlike
    return tokens


@dataclass
class _Parser:
    """Reads the tokens from left to right."""

    tokens: list[str]
    place: int = 0
    names: list[str] = field(default_factory=list)

    def scan(self) -> Scan:
        if self._take("select"):
            self.names = self._names()
        self._must("from")
        scan = Scan(self._next(), self.names)
        if scan.name not in TABLES_SCANNED:
            raise _Unlike
        self._must("where")
        self._condition(scan)
        while self._take("and"):
            self._condition(scan)
        if self._take("order"):
            self._order(scan)
        if self._take("limit"):
            scan.rows_max = min(int(self._next()), LIMIT_MAX)
        if self.place != len(self.tokens) or not scan.symbol:
            raise _Unlike
        known = columns_of(scan.name)
        scan.columns = scan.columns or list(known)
        if len(set(scan.columns)) < len(scan.columns) or not set(scan.columns) <= set(known):
            raise _Unlike
        return scan

    def _names(self) -> list[str]:
        if self._take("*"):
            return []
        names = [self._next()]
        while self._take(","):
            names.append(self._next())
        return names

    def _condition(self, scan: Scan) -> None:
        name = self._next()
        if name == "symbol" and not scan.symbol:
            self._must("=")
            scan.symbol = self._text()
            if not SAFE_SYMBOL.match(scan.symbol):
                raise _Unlike
        elif name == scan.time:
            operator = self._next()
            if operator == "between":
                scan.bound(">=", self._moment())
                self._must("and")
                scan.bound("<=", self._moment())
            elif operator in ("=", "<", "<=", ">", ">="):
                scan.bound(operator, self._moment())
            else:
                raise _Unlike
        else:
            raise _Unlike

    def _order(self, scan: Scan) -> None:
        self._must("by")
        for number, name in enumerate((scan.time, "ts_ns", "seq")):
            if number and not self._take(","):
                break
            self._must(name)
            self._take("asc")

    def _moment(self) -> int:
        self._take("timestamp")
        text = self._text()
        if not MOMENT.match(text):
            raise _Unlike
        elapsed = datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH
        return elapsed // timedelta(microseconds=1)

    def _text(self) -> str:
        token = self._next()
        if token[0] != "'":
            raise _Unlike
        return token[1:-1].replace("''", "'")

    def _next(self) -> str:
        self.place += 1
        return self.tokens[self.place - 1]

    def _take(self, token: str) -> bool:
        is_there = self.place < len(self.tokens) and self.tokens[self.place] == token
        self.place += is_there
        return is_there

    def _must(self, token: str) -> None:
        if not self._take(token):
            raise _Unlike


@lru_cache
def columns_of(name: str) -> dict[str, str]:
    """Columns of a table as SQL shows them, and what the tape calls each."""
    names = TABLES["trades" if name == "ticks" else name].schema.names
    if name != "ticks":
        return {column: column for column in names}
    rest = {column: column for column in names if column not in TICKS_NAMES.values()}
    return TICKS_NAMES | rest


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """When an answer is too much."""

    rows: int
    bytes: int


def scanned(
    view: View, scan: Scan, known_at_us: int | None, limits: ScanLimits
) -> pa.RecordBatchReader:
    """The rows, in time order."""
    marks = view.watermarks(scan.table)  # before any row, so every row up to it is looked at
    rows = view.scan(
        scan.table,
        scan.symbol,
        start_us=scan.start_us,
        end_us=scan.end_us,
        known_at_us=known_at_us,
        standing_only=scan.name == "ticks",
    )
    seqs = {"visible_seq": str(marks.visible_seq), "durable_seq": str(marks.durable_seq)}
    fields = TABLES[scan.table].plain_schema
    inner = [columns_of(scan.name)[column] for column in scan.columns]
    schema = pa.schema(
        [
            pa.field(shown, fields.field(name).type)
            for shown, name in zip(scan.columns, inner, strict=True)
        ],
        metadata=seqs,
    )
    return pa.RecordBatchReader.from_batches(schema, _batches(rows, schema, inner, scan, limits))


def has_revisions(batch: pa.RecordBatch) -> bool:
    """Whether a batch holds a correction or cancel; only trades know them."""
    if "kind" not in batch.schema.names:
        return False
    kinds = batch.column("kind")
    new = kinds.dictionary.index("new").as_py()
    return bool((kinds.indices.to_numpy() != new).any())


def _batches(
    rows: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    inner: list[str],
    scan: Scan,
    limits: ScanLimits,
) -> Iterator[pa.RecordBatch]:
    left = limits.rows if scan.rows_max is None else scan.rows_max
    sent_rows = sent_bytes = 0
    for batch in rows:
        part = batch.slice(0, left - sent_rows) if scan.rows_max is not None else batch
        arrays = [plain_text(part.column(name)) for name in inner]
        answer = pa.RecordBatch.from_arrays(arrays, schema=schema)
        sent_rows += answer.num_rows
        sent_bytes += answer.nbytes
        if sent_rows > limits.rows or sent_bytes > limits.bytes:
            raise TooMuch(
                f"the answer is larger than {limits.rows} rows or {limits.bytes} bytes",
                hint="narrow the range, add LIMIT, or ask in parts",
            )
        if answer.num_rows:
            yield answer
        if scan.rows_max is not None and sent_rows >= left:
            return


def plain_text(column: pa.Array) -> pa.Array:
    """Text instead of codes; a column that repeats one word is made once for all batches."""
    if not pa.types.is_dictionary(column.type):
        return column
    if len(column) and not column.null_count and len(column) <= REPEATED_ROWS:
        codes = column.indices.to_numpy()
        if codes[0] == codes[-1] and (codes == codes[0]).all():
            word = column.dictionary[int(codes[0])].as_py()
            return _repeated(word).slice(0, len(column))
    return column.dictionary_decode()


@lru_cache(maxsize=256)
def _repeated(word: str) -> pa.StringArray:
    return pa.repeat(pa.scalar(word, pa.utf8()), REPEATED_ROWS)
