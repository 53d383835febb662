"""Requests to fill a hole once more, from whoever has a button to the feed that may.

A feed takes requests between its own steps and answers each; who asked waits for that, not for the
rows. Nothing is retried here: a feed that cannot says why.
"""

import threading
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeout
from dataclasses import dataclass, field
from typing import Final

import pyarrow.compute as pc

from core.errors import BadTicket, PipelineError, TooMuch, Unavailable
from core.schema import TABLES
from ingest.gapbook import Gap
from storage.view import View

WAITING_MAX: Final = 16
ANSWER_S_MAX: Final = 5.0
NOBODY: Final = "no feed that keeps history runs here"
IMPORT: Final = "import files: tickflight import FILE"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One hole somebody wants filled, and where to answer in words what is done about it."""

    gap: Gap
    answer: "Future[str]" = field(default_factory=Future)


class Backfills:
    """The requests that wait, by the feed they are for; any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Request]] = {}

    def open(self, feed: str) -> None:
        """Have requests handed to a feed from now on; the one opened first is asked first."""
        with self._lock:
            self._waiting.setdefault(feed, deque())

    def take(self, feed: str) -> list[Request]:
        """The requests that wait for a feed."""
        with self._lock:
            waiting = self._waiting.get(feed)
            found = list(waiting or ())
            if waiting:
                waiting.clear()
        return found

    def ask(self, gap: Gap, *, answer_s_max: float = ANSWER_S_MAX) -> str:
        """Ask one feed after the other until one does something; what it does, in words.

        Raise BadTicket where none can, Unavailable where none answers.
        """
        refusal: PipelineError = BadTicket(NOBODY, hint=IMPORT)
        for feed in list(self._waiting):
            request = Request(gap)
            self._offer(feed, request)
            try:
                return request.answer.result(answer_s_max)
            except WaitTimeout:
                self._withdraw(feed, request)
                refusal = Unavailable(f"{feed} is busy", hint="ask again in a moment")
            except PipelineError as error:
                refusal = error
        raise refusal

    def _withdraw(self, feed: str, request: Request) -> None:
        """Nobody waits for the answer any more."""
        with self._lock:
            if request in self._waiting[feed]:
                self._waiting[feed].remove(request)

    def _offer(self, feed: str, request: Request) -> None:
        with self._lock:
            waiting = self._waiting[feed]
            if len(waiting) >= WAITING_MAX:
                raise TooMuch(f"{WAITING_MAX} requests wait already", hint="ask again in a moment")
            waiting.append(request)


def find_gap(view: View, table: str, symbol: str, gap_id: int) -> Gap:
    """A gap as it stands; raise BadTicket where there is none, or nothing to fill."""
    rows = view.scan("gaps", symbol).read_all().cast(TABLES["gaps"].plain_schema)
    is_meant = pc.and_(pc.equal(rows["gap_id"], gap_id), pc.equal(rows["table_name"], table))
    rows = rows.filter(is_meant).sort_by("seq")
    if not rows.num_rows:
        raise BadTicket(f"no gap {gap_id} in {table} of {symbol}")
    row = rows.slice(rows.num_rows - 1).to_pylist()[0]
    if row["state"] == "backfilled":
        raise BadTicket("this gap is filled")
    contract, _, reason = row["reason"].partition(": ")
    spans = [rows[name].cast("int64").to_pylist()[-1] for name in ("from_ts", "to_ts")]
    from_us, to_us = spans
    return Gap(gap_id, symbol, contract, from_us, to_us, reason, row["state"], row["rows"])
