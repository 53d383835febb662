"""What each ticket answers: a schema with its metadata and a stream of batches.

Whether the key may ask was settled before, in `access`.

Three answers are kept apart: a symbol nobody knows, a range older than what is kept, and a good
question that simply has no rows.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import pyarrow as pa

from core.clock import DAY_US, NS_PER_US, Clock
from core.errors import OutsideRetention, Unavailable, UnknownInstrument
from core.symbol import GEX_TICKERS
from flight_server.asking import Queries
from flight_server.bars import bars_question
from flight_server.book_at import LOOK_BACK_US, book_question
from flight_server.bounds import time_bounds
from flight_server.gapbook import GAPS_SHOWN_MAX, Gap, GapBook, refuse_gaps
from flight_server.keys import Agent
from flight_server.put import Puts
from flight_server.ticket_kinds import Bars, BookAt, Range, Span, Sql, State, Tail
from storage.query import Question
from storage.view import View, Views

TICKED_TABLES = ("trades", "quotes", "depth", "gex", "book")
TAIL_WINDOW_US = 1_000_000
TAIL_GROWTH = 8
STATE_WINDOW_US = 120_000_000


@dataclass(frozen=True)
class Sources:
    """Where answers come from, and what this installation promises."""

    views: Views
    queries: Queries | None
    clock: Clock
    symbols: frozenset[str]
    gex_tickers: frozenset[str]
    retention_days: int
    gaps: GapBook = field(default_factory=GapBook)
    puts: Puts | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out: the schema with its metadata, and the batches."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]


def answer_range(sources: Sources, ask: Range) -> Answer:
    """`ticks:` and `depth:`."""
    table = "trades" if ask.kind == "ticks" else ask.kind
    view = sources.views.view()
    return _scan(sources, view, table, ask.symbol, ask.span)


def answer_tail(sources: Sources, ask: Tail) -> Answer:
    """`tail:`: ever longer looks back until there are enough rows."""
    view = sources.views.view()
    metadata = _watermarks(view, "trades")
    batches = _tail(view, "trades", ask)
    if not batches:
        require_known(sources, view, ask.symbol)
    start_us = batches[0].column("ts_event")[0].value if batches else None
    gaps = sources.gaps.overlapping(view, "trades", ask.symbol, start_us, None) if batches else []
    metadata[b"gaps"] = _gaps_json(gaps)
    schema = view.scan("trades", ask.symbol, start_us=0, end_us=1).schema
    return Answer(_with(schema, metadata), batches)


def answer_state(sources: Sources, ask: State) -> Answer:
    """`gex:` and `book:`: the newest, or a range."""
    symbol = GEX_TICKERS.get(ask.symbol, ask.symbol) if ask.kind == "gex" else ask.symbol
    view = sources.views.view()
    if ask.is_range:
        return _scan(sources, view, ask.kind, symbol, ask.span)
    metadata = _watermarks(view, ask.kind)
    rows = _newest(view, ask.kind, symbol, ask.span.known_at_us)
    if not rows:
        require_known(sources, view, symbol, asked=ask.symbol)
    schema = view.scan(ask.kind, symbol, start_us=0, end_us=1).schema
    return Answer(_with(schema, metadata), rows)


def answer_book_at(sources: Sources, ask: BookAt, is_cancelled: Callable[[], bool]) -> Answer:
    """`book:..?at=..`: one row, or none where nothing is known of the time before."""
    view = sources.views.view()
    metadata = _watermarks(view, "depth")
    moment = replace(ask.span, start_ns=ask.at_ns - LOOK_BACK_US * NS_PER_US, end_ns=ask.at_ns)
    _check_range(sources, view, "depth", ask.symbol, moment)
    gaps = sources.gaps.overlapping(view, "depth", ask.symbol, moment.end_us, moment.end_us)
    metadata[b"gaps"] = _gaps_json(gaps)
    reader = _queries(sources).run(book_question(ask), is_cancelled=is_cancelled)
    return Answer(_with(reader.schema, metadata), reader)


def answer_bars(sources: Sources, ask: Bars, is_cancelled: Callable[[], bool]) -> Answer:
    """`bars:`: whole bars only, over the rollups, or over trades where `known_at` is given."""
    view = sources.views.view()
    question, span = bars_question(ask, sources.clock.now_ns())
    metadata = _watermarks(view, "trades")
    metadata[b"gaps"] = _check_range(sources, view, "trades", ask.symbol, span)
    reader = _queries(sources).run(question, is_cancelled=is_cancelled)
    return Answer(_with(reader.schema, metadata), reader)


def answer_sql(
    sources: Sources, agent: Agent, ask: Sql, is_cancelled: Callable[[], bool]
) -> Answer:
    """One statement, in the query worker's sandbox."""
    metadata = _watermarks(sources.views.view(), "trades")
    reader = _queries(sources).run(sql_question(agent, ask), is_cancelled=is_cancelled)
    # What the worker says of the tables that are read comes first; without any, trades stand in.
    metadata |= _asked_watermarks(reader.schema)
    return Answer(_with(reader.schema, metadata), reader)


def _asked_watermarks(schema: pa.Schema) -> dict[bytes, bytes]:
    """Both seqs of the table a statement reads; of trades where it reads that and others."""
    told = schema.metadata or {}
    marks = json.loads(told.get(b"watermarks", b"{}"))
    if marks:
        asked = marks.get("trades") or next(iter(marks.values()))
        return {name.encode(): b"%d" % seq for name, seq in asked.items()}
    return {name: told[name] for name in (b"visible_seq", b"durable_seq") if name in told}


def sql_question(agent: Agent, ask: Sql) -> Question:
    """The statement with what its asker may see."""
    known_at_us = None if ask.known_at_ns is None else ask.known_at_ns // NS_PER_US
    return Question(ask.text, params=ask.params, symbols=agent.seen, known_at_us=known_at_us)


def require_known(sources: Sources, view: View, symbol: str, *, asked: str = "") -> None:
    """Raise UnknownInstrument where a symbol is neither configured nor stored."""
    known = known_symbols(sources, view)
    if symbol not in known:
        raise UnknownInstrument(
            f"nothing is known of {asked or symbol}",
            hint=f"known symbols: {', '.join(sorted(known)) or 'none yet'}",
        )


def known_symbols(sources: Sources, view: View) -> frozenset[str]:
    """Every symbol that is configured or has rows."""
    stored = (view.symbols(table) for table in TICKED_TABLES)
    return sources.symbols | sources.gex_tickers | frozenset(chain.from_iterable(stored))


def _scan(sources: Sources, view: View, table: str, symbol: str, span: Span) -> Answer:
    metadata = _watermarks(view, table)
    # Before the rows are fixed: a gap that closes in between is told of, never hidden.
    gaps = sources.gaps.overlapping(view, table, symbol, span.start_us, span.end_us)
    rows = view.scan(
        table,
        symbol,
        start_us=span.start_us,
        end_us=span.end_us,
        known_at_us=span.known_at_us,
        standing_only=True,
    )
    if rows.rows_max == 0:
        _check_empty(sources, view, symbol, span)
    metadata[b"gaps"] = _told(gaps, span)
    return Answer(_with(rows.schema, metadata), rows)


def _check_range(sources: Sources, view: View, table: str, symbol: str, span: Span) -> bytes:
    """Tell apart unknown, outside retention and empty; give the gaps as JSON."""
    rows, _ = view.estimate(table, symbol, start_us=span.start_us, end_us=span.end_us)
    if rows == 0:
        _check_empty(sources, view, symbol, span)
    gaps = sources.gaps.overlapping(view, table, symbol, span.start_us, span.end_us)
    return _told(gaps, span)


def _told(gaps: list[Gap], span: Span) -> bytes:
    """The gaps as JSON; raise GapInRange where the asker wants none."""
    if span.is_strict:
        refuse_gaps(gaps)
    return _gaps_json(gaps)


def _check_empty(sources: Sources, view: View, symbol: str, span: Span) -> None:
    """Raise where a range without rows is no good question."""
    require_known(sources, view, symbol)
    kept_from_us = sources.clock.now_ns() // NS_PER_US - sources.retention_days * DAY_US
    if span.end_us is not None and span.end_us <= kept_from_us:
        raise OutsideRetention(
            f"the whole range is older than the {sources.retention_days} days kept of {symbol}",
            hint="ask for a later range, or import the old data with `tickflight import`",
        )


def _queries(sources: Sources) -> Queries:
    if sources.queries is None:
        raise Unavailable("SQL is not answered by this server", hint="use ticks: or tail: instead")
    return sources.queries


def _watermarks(view: View, table: str) -> dict[bytes, bytes]:
    """Read before any row, so every row up to visible_seq was looked at."""
    marks = view.watermarks(table)
    return {
        b"visible_seq": b"%d" % marks.visible_seq,
        b"durable_seq": b"%d" % marks.durable_seq,
    }


def _gaps_json(gaps: Sequence[Gap]) -> bytes:
    shown = [gap.shown() for gap in gaps[:GAPS_SHOWN_MAX]]
    return json.dumps(shown).encode()


def _with(schema: pa.Schema, metadata: dict[bytes, bytes]) -> pa.Schema:
    return schema.with_metadata({**(schema.metadata or {}), **metadata})


def _tail(view: View, table: str, ask: Tail) -> list[pa.RecordBatch]:
    """The last rows in time order, oldest first."""
    symbol, rows_max = ask.symbol, ask.rows
    bounds = time_bounds(view, table, symbol)
    if bounds is None:
        return []
    low_us, high_us = bounds
    if ask.known_at_us is not None:
        high_us = min(high_us, ask.known_at_us)
    window_us = TAIL_WINDOW_US
    while True:
        start_us = max(low_us, high_us - window_us)
        enough, _ = view.estimate(table, symbol, start_us=start_us)
        if enough >= rows_max or start_us == low_us:
            batches = last_rows(
                view.scan(
                    table,
                    symbol,
                    start_us=start_us,
                    known_at_us=ask.known_at_us,
                    standing_only=True,
                ),
                rows_max,
            )
            if start_us == low_us or sum(b.num_rows for b in batches) >= rows_max:
                return batches
        window_us *= TAIL_GROWTH


def last_rows(batches: Iterable[pa.RecordBatch], rows_max: int) -> list[pa.RecordBatch]:
    """The end of a stream, at most `rows_max` rows."""
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if batch.num_rows:
            kept.append(batch)
            rows += batch.num_rows
        while kept and rows - kept[0].num_rows >= rows_max:
            rows -= kept.pop(0).num_rows
    if rows > rows_max:
        kept[0] = kept[0].slice(rows - rows_max)
    return kept


def _newest(view: View, table: str, symbol: str, known_at_us: int | None) -> list[pa.RecordBatch]:
    """The newest row; of gex one for each package and category that spoke lately."""
    bounds = time_bounds(view, table, symbol)
    if bounds is None:
        return []
    low_us, high_us = bounds
    if known_at_us is not None:
        high_us = min(high_us, known_at_us)
    window_us = STATE_WINDOW_US
    while True:
        start_us = max(low_us, high_us - window_us)
        found = _last_of_each(
            view.scan(
                table,
                symbol,
                start_us=start_us,
                end_us=high_us + 1,
                known_at_us=known_at_us,
                standing_only=True,
            ),
            ("package", "category") if table == "gex" else (),
        )
        if found or start_us <= low_us:
            return found
        window_us *= TAIL_GROWTH


def _last_of_each(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> list[pa.RecordBatch]:
    newest: dict[tuple[object, ...], pa.RecordBatch] = {}
    for batch in batches:
        for key, row in _last_places(batch, names):
            newest.pop(key, None)
            newest[key] = batch.slice(row, 1)
    return list(newest.values())


def _last_places(
    batch: pa.RecordBatch, names: Sequence[str]
) -> Iterator[tuple[tuple[object, ...], int]]:
    columns = [batch.column(name).to_pylist() for name in names]
    places = {tuple(column[row] for column in columns): row for row in range(batch.num_rows)}
    return iter(sorted(places.items(), key=lambda item: item[1]))
