"""Answers in JSON for the scripts of the pages, and for other programs."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.clock import NS_PER_MS, US_PER_S
from core.errors import BadTicket, UnknownInstrument
from flight_server.bounds import time_bounds
from webui.access import Visitor
from webui.columns import MEDIA_TYPE, raw_columns
from webui.hub import Hub
from webui.market import gex_ticker
from webui.newest import SAMPLE_COLUMNS, as_lists, newest_first, newest_trades, trades_after
from webui.picture import Gatherer
from webui.services import Service, processes_of
from webui.sheets import (
    coverage_sheet,
    event_rows,
    events_sheet,
    queries_sheet,
    shown_gex,
    status_sheet,
    symbols_sheet,
)
from webui.views_live import BARS_MAX, EVERY_S, bars_of_symbol, columns_of, shown_ladder
from webui.words import format_age

SAMPLE_ROWS_MAX = 1_000
PARQUET_ROWS = 50_000
HEAT_S, HEAT_EVERY_S = 600, 3
MOMENTS = 240
GEX_WINDOW_US = 600 * US_PER_S
EVENTS_OF_SERVICE = 100
COLS_ROWS, COLS_ROWS_MAX = 500, 100_000
SEQ_MAX = 1 << 53  # what a browser counts to


class Api:
    """Handlers; plain functions, run in threads beside the loop."""

    def __init__(self, hub: Hub) -> None:
        self._now: Gatherer = hub.gatherer

    def status(self, request: Request) -> Response:
        """Everything the stream would say, as one frame."""
        now = self._now
        sheets = {
            "status": status_sheet(now),
            "symbols": symbols_sheet(now),
            "queries": queries_sheet(now),
            "events": events_sheet(now),
            "coverage": coverage_sheet(now),
        }
        topics = {name: sheet.as_dict() for name, sheet in sheets.items()}
        return JSONResponse({"v": 1, "n": 0, "t": now.now_ms, "d": topics})

    def bars(self, request: Request) -> Response:
        """The newest bars of a symbol as columns."""
        symbol = self._symbol(request)
        every_s = whole(request, "every", 60, 1, 3_600)
        if every_s not in EVERY_S:
            raise BadTicket(f"every={every_s}: expected one of {EVERY_S}")
        count = whole(request, "n", 390, 1, BARS_MAX)
        return JSONResponse(columns_of(bars_of_symbol(self._now, symbol, every_s, count)))

    def sample(self, request: Request) -> Response:
        """The newest trades, newest first, as rows of plain numbers."""
        symbol = self._symbol(request)
        batch = self._tail(symbol, whole(request, "n", 500, 1, SAMPLE_ROWS_MAX))
        return JSONResponse({"symbol": symbol, "columns": SAMPLE_COLUMNS, "rows": as_lists(batch)})

    def cols(self, request: Request) -> Response:
        """The newest trades, oldest first, as raw columns; with `after` only those above a seq."""
        symbol, tape = self._symbol(request), self._now.tape
        count = whole(request, "n", COLS_ROWS, 1, COLS_ROWS_MAX)
        after = whole(request, "after", 0, 0, SEQ_MAX)
        # Read before the rows, so that what comes meanwhile is told with the next answer.
        seen = tape.watermarks("trades").visible_seq
        found = (
            trades_after(tape, symbol, after, count)
            if after
            else newest_trades(tape, symbol, count)
        )
        about = {"symbol": symbol, "seq": seen}
        return Response(raw_columns(found, about), media_type=MEDIA_TYPE)

    def newest(self, request: Request, rows: int) -> pa.Table:
        """The newest valid trades of the symbol that is asked for."""
        return self._tail(self._symbol(request), rows)

    def parquet(self, request: Request) -> Response:
        """The newest trades as a Parquet file."""
        symbol = self._symbol(request)
        out = io.BytesIO()
        pq.write_table(self._tail(symbol, PARQUET_ROWS), out, compression="zstd")
        headers = {"content-disposition": f'attachment; filename="{symbol}-ticks.parquet"'}
        return Response(out.getvalue(), headers=headers, media_type="application/octet-stream")

    def samples(self, request: Request) -> Response:
        """A few rows of each symbol, and the Python that fetches more."""
        count = whole(request, "n", 5, 1, 100)
        visitor: Visitor = request.state.visitor
        asked = request.query_params.get("symbol")
        names = [self._symbol(request)] if asked else sorted(self._now.market.symbols)
        names = [n for n in names if visitor.symbols is None or n in visitor.symbols]
        samples = {name: as_records(self._tail(name, count)) for name in names}
        ticket = f"tail:{names[0] if names else 'MNQ'}?n={count}"
        python = python_for(self._now.flight_url(request.url.hostname), ticket)
        return JSONResponse({"samples": samples, "ticket": ticket, "python": python})

    def heat(self, request: Request) -> Response:
        """The ladder of the last ten minutes, one column each three seconds."""
        symbol = self._symbol(request)
        now = self._now
        seq = now.tape.watermarks("book").visible_seq
        back = int(now.rates.get("book", 0.0) * (HEAT_S + 60)) + 100
        slices = now.tape.after("book", symbol, max(seq - back, 0))
        columns = []
        if slices:
            rows = pa.Table.from_batches([s.batch for s in slices])
            times = rows.column("ts_event").cast(pa.int64()).to_numpy()
            wanted = np.arange(times[-1] - HEAT_S * US_PER_S, times[-1], HEAT_EVERY_S * US_PER_S)
            places = np.unique(np.searchsorted(times, wanted[wanted >= times[0]]))
            columns = [c for row in rows.take(places).to_pylist() if (c := heat_column(row))]
        found = now.market.symbols[symbol]
        return JSONResponse({"columns": columns, "tick": found.tick, "every_s": HEAT_EVERY_S})

    def gex(self, request: Request) -> Response:
        """The snapshot that was the newest at a moment."""
        symbol = self._symbol(request)
        at_ms = whole(request, "at", self._now.now_ms, 0, 1 << 52)
        row = None
        end_us = at_ms * 1_000 + 1
        reader = self._now.tape.view().scan(
            "gex",
            gex_ticker(symbol),
            start_us=end_us - GEX_WINDOW_US,
            end_us=end_us,
            standing_only=True,
        )
        for batch in reader:
            if batch.num_rows:
                row = batch.slice(batch.num_rows - 1).to_pylist()[0]
        return JSONResponse({"gex": None if row is None else shown_gex(self._now, symbol, row)})

    def moments(self, request: Request) -> Response:
        """Moments from the oldest snapshot to the newest, evenly spaced."""
        symbol = self._symbol(request)
        bounds = time_bounds(self._now.tape.view(), "gex", gex_ticker(symbol))
        found: list[int] = []
        if bounds is not None:
            found = [int(t) for t in np.linspace(bounds[0], bounds[1], MOMENTS) // 1_000]
        return JSONResponse({"moments": found})

    def service(self, request: Request) -> Response:
        """One service in depth: parts, limits, counters, events."""
        key = request.query_params.get("key", "")
        found = next((s for s in self._now.services if s.key == key), None)
        if found is None:
            raise BadTicket(f"no service {key!r}", hint="see /ui/status for their names")
        return JSONResponse(
            {
                "title": found.title,
                "facts": facts_of(self._now, found),
                "events": event_rows(self._now, EVENTS_OF_SERVICE, key),
            }
        )

    def _symbol(self, request: Request) -> str:
        name = request.query_params.get("symbol", "")
        if name not in self._now.market.symbols:
            known = ", ".join(sorted(self._now.market.symbols)) or "none yet"
            raise UnknownInstrument(f"nothing is known of {name!r}", hint=f"known: {known}")
        visitor: Visitor = request.state.visitor
        if visitor.symbols is not None and name not in visitor.symbols:
            raise UnknownInstrument(f"this key does not allow {name}")
        return name

    def _tail(self, symbol: str, rows: int) -> pa.Table:
        """The newest valid trades in memory, newest first."""
        return newest_first(newest_trades(self._now.tape, symbol, rows))


def heat_column(row: Mapping[str, Any]) -> list[object] | None:
    """[moment, levels, best bid, best ask] of one ladder; None where a side is empty.

    Levels are prices and sizes in turn: nested, a browser would hold four times as much.
    """
    book: dict[str, Any] = shown_ladder(row)
    if not book["b"] or not book["a"]:
        return None
    levels = [number for level in (*book["b"], *book["a"]) for number in level]
    return [book["ts"], levels, book["b"][0][0], book["a"][0][0]]


def facts_of(now: Gatherer, service: Service) -> list[tuple[str, str | int]]:
    """What a service's tile opens: its parts, since when, limits, and the counters of its name."""
    facts: list[tuple[str, str | int]] = [("What it does", service.about)]
    facts += [("State", f"{service.word}{': ' if service.detail else ''}{service.detail}")]
    if service.since_ms is not None:
        facts.append(("Since", service.since_ms))
    if service.limit_s is not None:
        facts.append(("May be silent for", format_age(service.limit_s)))
    for name, part in service.parts.items():
        words = f"{part['state']}{': ' if part['detail'] else ''}{part['detail']}"
        facts.append((f"Part {name}", words))
    for process in processes_of(service, now.boards):
        board = next((b for b in now.boards if b["process"] == process), None)
        if board is not None:
            facts.append((f"Process {process} runs since", board["started_ns"] // NS_PER_MS))
            facts.append(("Started again", f"{now.restarts.get(process, 0)} times seen"))
    starts = tuple({service.key, *(name.split()[0] for name in service.parts)})
    for board in now.boards:
        for name, value in (*board["counters"].items(), *board["gauges"].items()):
            if name.startswith(starts):
                facts.append((name, f"{value:,.10g}"))
    return facts


def python_for(flight_url: str, ticket: str) -> str:
    """A snippet that fetches a ticket."""
    return "\n".join(
        (
            "from pyarrow import flight",
            f'client = flight.connect("{flight_url}")',
            'key = [(b"authorization", b"Bearer " + KEY)]',
            "ask = flight.FlightCallOptions(headers=key)",
            f'table = client.do_get(flight.Ticket("{ticket}"), ask).read_all()',
        )
    )


def as_records(table: pa.Table) -> list[dict[str, object]]:
    """Rows with names, times in epoch ms."""
    return [dict(zip(SAMPLE_COLUMNS, row, strict=True)) for row in as_lists(table)]


def whole(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number of the query string; raise BadTicket."""
    text = request.query_params.get(name, str(default))
    if not text.isdigit() or not low <= int(text) <= high:
        raise BadTicket(f"{name}={text!r}: expected {low} to {high}")
    return int(text)
