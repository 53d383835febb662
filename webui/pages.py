"""The pages: HTML that carries its data, so that the first paint is the whole picture."""

import gzip
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TypedDict

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from core.errors import PipelineError, UnknownInstrument
from webui.assets import Assets
from webui.checklist import checklist
from webui.coverage import CELL, CELL_GAP, month_marks
from webui.hub import Hub
from webui.newest import newest_first, newest_trades, tick_rows
from webui.picture import Gatherer
from webui.sheet import Row, Sheet, beat_paths
from webui.sheets import (
    coverage_sheet,
    events_sheet,
    gex_frame,
    queries_sheet,
    shape_of,
    status_sheet,
    symbols_sheet,
)
from webui.views_live import bars_of_symbol, columns_of, gap_spans, ladder_frame, packed
from webui.words import DASH, format_age, format_clock, format_day_clock

HERE = Path(__file__).parent
GZIP_LEVEL = 4  # higher costs time and saves next to nothing
BOOT_BARS = 150
YOUNG_MINUTES = 20
TICKS_PAINTED = 20
FAVOURITE = "MNQ"
APOLOGIES = {401: "Not let in", 403: "Not allowed", 404: "Nothing is here"}
NAV = (
    ("o", "/", "Overview"),
    ("m", "/market", "Market"),
    ("d", "/data", "Data"),
    ("q", "/queries", "Queries"),
    ("k", "/keys", "Keys"),
    ("e", "/events", "Events"),
)


class Boot(TypedDict, total=False):
    """What the scripts need to begin with; an inert block of JSON in the page."""

    page: str
    build: str
    now: int
    symbol: str
    symbols: Sequence[str]
    shape: str
    topics: Sequence[str]
    bars: Mapping[str, object]
    gaps: Sequence[object]
    gex: Mapping[str, object] | None
    ladder: Mapping[str, object] | None
    every: int
    tick: float
    coverage: Mapping[str, object]


class Pages:
    """Handlers of the pages; plain functions, run in threads beside the loop."""

    def __init__(self, hub: Hub, assets: Assets) -> None:
        self._hub = hub
        self._now: Gatherer = hub.gatherer
        self._assets = assets
        self._env = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "views"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.globals.update(asset=assets.url, nav=NAV, DASH=DASH)
        self._env.filters.update(
            clock=format_clock, dayclock=format_day_clock, age=format_age, beats=beat_paths
        )

        for view in self._env.list_templates():
            self._env.get_template(view)  # compiled now, so that nobody waits for it later

    def overview(self, request: Request) -> Response:
        """Everything at a glance."""
        now = self._now
        symbol = self._symbol(request.query_params.get("symbol", ""))
        sheet = status_sheet(now).merge(symbols_sheet(now)).merge(queries_sheet(now))
        sheet = sheet.merge(events_sheet(now)).merge(coverage_sheet(now))
        topics = ["status", "symbols", "queries", "events", "coverage"]
        topics += [f"{kind}:{symbol}" for kind in ("bar", "ladder", "gex") if symbol]
        boot = self._boot("overview", symbol, topics)
        needs = [] if symbol else checklist(now.settings)
        return self.render(
            "overview.html", request, sheet, boot, symbol=symbol, needs=needs, **self.map()
        )

    def market(self, request: Request) -> Response:
        """One symbol in depth."""
        asked, known = request.path_params.get("symbol", ""), self._symbol("")
        symbol = asked if asked in self._now.market.symbols else ""
        if known and not symbol:
            if asked:
                names = ", ".join(sorted(self._now.market.symbols))
                raise UnknownInstrument(f"{asked!r} is none of the symbols shown", hint=names)
            return RedirectResponse(f"/market/{known}", 303)
        sheet = status_sheet(self._now).merge(symbols_sheet(self._now))
        topics = ["status", "symbols"]
        topics += [f"{kind}:{symbol}" for kind in ("bar", "ladder", "gex") if symbol]
        boot = self._boot("market", symbol, topics)
        ticks = self._ticks(symbol) if symbol else []
        return self.render("market.html", request, sheet, boot, symbol=symbol, ticks=ticks)

    def _ticks(self, symbol: str) -> list[Row]:
        """The top of the tape; scripts fetch the rest of it."""
        try:
            return tick_rows(newest_first(newest_trades(self._now.tape, symbol, TICKS_PAINTED)))
        except PipelineError:
            return []

    def login(self, request: Request) -> Response:
        """The door: a link from the command line, or a key."""
        page = self._env.get_template("login.html").render()
        return HTMLResponse(page)

    def apology(self, request: Request, status: int, words: str) -> Response:
        """What is wrong, for whoever looks at it in a browser, and the way back."""
        title = APOLOGIES.get(status, "This did not work")
        if words == HTTPStatus.NOT_FOUND.phrase:
            words = f"There is no page {request.url.path}."
        page = self._env.get_template("error.html").render(title=title, words=words)
        return HTMLResponse(page, status)

    def render(
        self, view: str, request: Request, sheet: Sheet, boot: Boot, **more: object
    ) -> Response:
        """A page of a view and its cells."""
        visitor = getattr(request.state, "visitor", None)
        page = self._env.get_template(view).render(
            sheet=sheet,
            boot=as_json(boot),
            page=boot["page"],
            now_ms=self._now.now_ms,
            visitor=visitor,
            services=self._now.services,
            symbols=sorted(self._now.market.symbols),
            every=boot.get("every", 60),
            flight_url=self._now.flight_url(request.url.hostname),
            is_stored=self._now.is_stored,
            **more,
        )
        return compressed(page, request)

    def boot(self, page: str, topics: Sequence[str]) -> Boot:
        """The least every page needs."""
        return Boot(
            page=page,
            build=self._assets.build,
            now=self._now.now_ms,
            symbols=sorted(self._now.market.symbols),
            shape=shape_of(self._now),
            topics=topics,
        )

    def _boot(self, page: str, symbol: str, topics: Sequence[str]) -> Boot:
        now = self._now
        boot = self.boot(page, topics)
        if symbol in now.market.symbols:
            # A market that began minutes ago is looked at by the second.
            is_young = len(now.market.symbols[symbol].bars.minutes) < YOUNG_MINUTES
            boot["every"] = 1 if is_young else 60
            bars = bars_of_symbol(now, symbol, boot["every"], BOOT_BARS)
            start_us = bars[0].start_us if bars else now.now_us
            boot["bars"] = packed(columns_of(bars))
            boot["gaps"] = gap_spans(now, symbol, start_us)
            boot["gex"] = gex_frame(now, symbol)
            boot["ladder"] = ladder_frame(now, symbol)
            boot["tick"] = now.market.symbols[symbol].tick
        boot["symbol"] = symbol
        return boot

    def map(self) -> dict[str, object]:
        """The geometry of the map of the year."""
        days = self._now.coverage.days
        return {
            "cov_width": self._now.coverage.width,
            "cov_months": month_marks(days, CELL + CELL_GAP),
            "cov_table": self._now.coverage.months,
            "cov_first": days[0].day if days else None,
            "cov_days": len(days),
        }

    def _symbol(self, asked: str) -> str:
        known = self._now.market.symbols
        for name in (asked, FAVOURITE, *sorted(known)):
            if name in known:
                return name
        return ""


def compressed(page: str, request: Request) -> Response:
    """HTML, compressed where the browser can take that; nothing in it is secret."""
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return HTMLResponse(page)
    body = gzip.compress(page.encode(), GZIP_LEVEL, mtime=0)
    headers = {"content-encoding": "gzip", "vary": "accept-encoding"}
    return HTMLResponse(body, headers=headers)


def as_json(value: object) -> Markup:
    """JSON that cannot end the block it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for mark, escape in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        text = text.replace(mark, escape)
    return Markup(text)  # noqa: S704 - escaped above
