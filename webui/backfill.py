"""Asking the running feeds to fill a gap once more. Only for visitors with scope `admin`."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.board import BoardStatus
from core.errors import BadTicket, StoreError
from storage.intake import IntakeClient
from storage.paths import Paths
from webui.access import Visitor, parse_body
from webui.journal import Journal
from webui.ledger import GapRow
from webui.picture import Gatherer

FEED = "tastytrade"  # the part of the boards that keeps a history of trades
IMPORT = "import files: tickflight import FILE"
NO_HISTORY = {
    "quotes": "the feed keeps no history of quotes",
    "depth": "the book is known again from the next full snapshot on",
    "book": "the book is known again from the next full snapshot on",
    "gex": "the history file of the day is fetched after the close",
}


@dataclass(frozen=True)
class BackfillApi:
    """The handler behind the button."""

    now: Gatherer
    paths: Paths
    journal: Journal

    def ask(self, request: Request) -> Response:
        """Have the ingest process ask the source of a gap for its rows."""
        wanted = parse_body(request.state.body).get("gap")
        visitor: Visitor = request.state.visitor
        gaps = self.now.ledger.account.gaps
        gap = next((gap for gap in gaps if f"{gap.table}.{gap.gap_id}" == wanted), None)
        if gap is None:
            raise BadTicket("no such gap", hint="load the page again")
        why_not = hindrance_of(gap, self.now.boards)
        if gap.state == "backfilled" or why_not:
            raise BadTicket(why_not or "this gap is filled")
        client = IntakeClient(self.paths)
        try:
            asked = {"op": "backfill", "table": gap.table, "symbol": gap.symbol}
            told = str(client.ask({**asked, "gap_id": gap.gap_id})["told"])
        except StoreError as error:
            raise BadTicket(error.message, hint=error.hint) from error  # the feed says why not
        finally:
            client.close()
        text = f"{visitor.name} asked to fill a gap in {gap.table} of {gap.symbol}: {told}"
        self.journal.note("gaps", "ok", text)
        return JSONResponse({"told": told}, 202)


def hindrance_of(gap: GapRow, boards: Sequence[BoardStatus]) -> str:
    """Why nobody can be asked for the rows of a gap; "" where somebody can. Pure."""
    if gap.table != "trades":
        return NO_HISTORY.get(gap.table, IMPORT)
    if gap.symbol == "*":
        return f"of all symbols, so no feed can be asked; {IMPORT}"
    states = {name: part["state"] for b in boards for name, part in b["parts"].items()}
    if states.get(FEED, "off") not in ("off", "down"):
        return ""
    return f"no feed that keeps history runs here; {IMPORT}"
