"""`POST /uw` and `POST /gex_history_url`: what browsers and programs relay to us.

Tolerant in what is taken, exact in what is stored, honest in what is answered: an error is never
200, and a post is answered when its rows are visible. Unknown shapes are kept raw in `rejects`.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from core.batch import Rejected
from core.board import Board
from core.clock import NS_PER_MS, NS_PER_US, Clock
from core.errors import PipelineError
from core.settings import Settings
from ingest.gex_frames import Ignored, Item, Parsed, Refused, Unknown, is_batch, read_post
from ingest.gex_latency import Latencies
from ingest.gex_links import LinkRules, read_request, rules_of
from ingest.gex_queue import JobQueue
from ingest.gex_split import BOM
from ingest.gex_uw import Row
from ingest.gex_values import Fault, Faulty, parse_json
from storage.intake_loop import open_intake
from storage.paths import Paths
from webui.edge import error_answer
from webui.webhook_guard import Guard, GuardRules
from webui.webhook_relay import Post, Relay

BODY_BYTES_MAX: Final = 256 * 1024
BATCH_BYTES_MAX: Final = 2 * 1024 * 1024
LINK_BYTES_MAX: Final = 16 * 1024
RAW_PART_BYTES: Final = 60 * 1024
FAULTS_SHOWN_MAX: Final = 20
RETRY_AFTER_S: Final = "2"
PART: Final = "gex webhooks"
SHOW_S: Final = 1.0
SILENT_S: Final = 5.0
Take = Callable[[bytes], Awaitable[Response]]


class TooLarge(Exception):
    """A body is longer than `limit` bytes; never leaves this module."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit


class Webhooks:
    """The routes and what they need; `run` must be running while they are used."""

    def __init__(
        self,
        guard: Guard,
        relay: Relay,
        queue: JobQueue,
        rules: LinkRules,
        *,
        board: Board,
        clock: Clock,
    ) -> None:
        self._guard = guard
        self._relay = relay
        self._queue = queue
        self._queue_lock = anyio.Lock()
        self._rules = rules
        self._board = board
        self._clock = clock
        self._latencies = Latencies()

    def routes(self) -> Sequence[BaseRoute]:
        """For the application."""
        return (
            Route("/uw", _Bare(self.uw), methods=["POST", "OPTIONS"]),
            Route("/gex_history_url", self.gex_history_url, methods=["POST", "OPTIONS"]),
            Route("/api/gex/jobs/{number:int}", self.job),
        )

    async def run(self) -> None:
        """Show how it goes, until cancelled; then it is over for good."""
        with closing(self._queue), closing(self._relay):
            while True:
                self._latencies.show(self._board, "webhook.answer_ms")
                told = "POST /uw, POST /gex_history_url"
                self._board.state(PART, "ok", told, limit_s=SILENT_S)
                await anyio.sleep(SHOW_S)

    async def uw(self, request: Request) -> Response:
        """Frames and snapshots."""
        if request.method == "OPTIONS":
            return self._guard.preflight(request)
        began_ns = self._clock.monotonic_ns()
        answer = self._guard.refusal(request) or await self._answered(request, self._take)
        self._latencies.add((self._clock.monotonic_ns() - began_ns) / NS_PER_MS)
        self._board.count("webhook.posts")
        self._board.count(f"webhook.answered_{answer.status_code}")
        return self._guard.for_page(request, answer)

    async def gex_history_url(self, request: Request) -> Response:
        """Links to history files."""
        if request.method == "OPTIONS":
            return self._guard.preflight(request)
        answer = self._guard.refusal(request) or await self._answered(request, self._take_link)
        self._board.count(f"webhook.links_answered_{answer.status_code}")
        return self._guard.for_page(request, answer)

    async def job(self, request: Request) -> Response:
        """What became of a link; for whoever may post one."""
        refusal = self._guard.refusal(request)
        if refusal is not None:
            return refusal
        number: int = request.path_params["number"]
        async with self._queue_lock:
            job = await anyio.to_thread.run_sync(self._queue.get, min(number, 2**62))
        if job is None:
            return error_answer(404, "not_found", f"there is no job {number}")
        return JSONResponse(job.shown())

    async def _answered(self, request: Request, take: Take) -> Response:
        """Read the body and take it in; every error becomes its own code."""
        limit = LINK_BYTES_MAX if take == self._take_link else BATCH_BYTES_MAX
        try:
            return await take(await _body(request, limit))
        except TooLarge as error:
            return error_answer(413, "too_large", f"expected a body of at most {error.limit} bytes")
        except ClientDisconnect:  # nobody will read the answer
            return error_answer(400, "bad_request", "expected a whole body, the sender hung up")
        except Faulty as error:
            return _unprocessable(error.faults)
        except ValueError as error:
            return error_answer(400, "bad_request", f"expected JSON: {str(error)[:200]}")
        except PipelineError as error:
            answer = error_answer(503, error.code, error.message)
            answer.headers["retry-after"] = RETRY_AFTER_S
            return answer

    async def _take(self, body: bytes) -> Response:
        now_ns = self._clock.now_ns()
        found = parse_json(body)
        if len(body) > BODY_BYTES_MAX and not is_batch(found):
            raise TooLarge(BODY_BYTES_MAX)
        items = read_post(found, now_ns, body)
        refused = [item for item in items if isinstance(item, Refused)]
        post = Post(_rows(items), _kept_raw(items, now_ns // NS_PER_US))
        if post.rows or post.rejected:
            await self._relay.offer(post)
        self._board.count("webhook.rows", post.new_count)
        self._board.count("webhook.duplicates", post.duplicate_count)
        if refused and len(refused) == len(items):
            return _unprocessable([fault for item in refused for fault in item.faults])
        status, told = _told(items, post)
        return JSONResponse(told, status)

    async def _take_link(self, body: bytes) -> Response:
        asked = read_request(parse_json(body), self._rules, self._clock.now_ns())
        async with self._queue_lock:
            added = await anyio.to_thread.run_sync(partial(self._queue.add_link, asked))
        if added is None:
            answer = error_answer(503, "too_much", "too many files wait already; post it again")
            answer.headers["retry-after"] = "60"
            return answer
        job, outcome = added
        told = job.shown() | {"job_id": job.id, "id": job.id}
        told["status"] = "queued" if outcome == "refreshed" else outcome
        answer = JSONResponse(told, 202 if outcome == "queued" else 200)
        answer.headers["location"] = f"/api/gex/jobs/{job.id}"
        return answer


def open_webhooks(
    settings: Settings, names: frozenset[str], board: Board, clock: Clock
) -> Webhooks:
    """The webhooks of a data folder, as its settings say."""
    paths = Paths(settings.data_dir)
    rules = GuardRules(
        names, frozenset(settings.words("WEBHOOK_ORIGINS")), settings.text("WEBHOOK_TOKEN")
    )
    return Webhooks(
        Guard(rules, clock),
        Relay(partial(open_intake, paths)),
        JobQueue(paths.gex_jobs, clock),
        rules_of(settings.words("GEX_HISTORY_HOSTS")),
        board=board,
        clock=clock,
    )


class _Bare:
    """A handler as an ASGI application: it raises nothing that would have to be translated."""

    def __init__(self, handler: Callable[[Request], Awaitable[Response]]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._handler(Request(scope, receive))
        await answer(scope, receive, send)


async def _body(request: Request, limit: int) -> bytes:
    """The body, never more of it than is allowed."""
    if int(request.headers.get("content-length") or 0) > limit:
        raise TooLarge(limit)
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ValueError("as it is, found it compressed")
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > limit:
            raise TooLarge(limit)
    return bytes(parts).removeprefix(BOM)


def _rows(items: Sequence[Item]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {}
    for item in items:
        if isinstance(item, Parsed):
            rows.setdefault(item.table, []).append(item.row)
    return rows


def _kept_raw(items: Sequence[Item], now_us: int) -> list[Rejected]:
    """What is no row, as rows of `rejects`; what is too long for one is kept in parts."""
    kept = []
    for item in items:
        match item:
            case Unknown(raw):
                reason = "unknown shape"
            case Refused(faults, raw) if raw:
                reason = "; ".join(f"{fault.path}: {fault.msg}" for fault in faults[:5])[:500]
            case _:
                continue
        parts = [raw[at : at + RAW_PART_BYTES] for at in range(0, len(raw), RAW_PART_BYTES)]
        for number, part in enumerate(parts, 1):
            of = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
            kept.append(Rejected("uw", "*", "webhook", reason + of, part, now_us))
    return kept


def _told(items: Sequence[Item], post: Post) -> tuple[int, dict[str, object]]:
    """Status and body of the answer to a post that was not refused."""
    parsed = [item for item in items if isinstance(item, Parsed)]
    unknown = sum(isinstance(item, Unknown) for item in items)
    faults = [fault for item in items if isinstance(item, Refused) for fault in item.faults]
    faults += [Fault("", "refused by the guard, see table rejects")] * post.refused_count
    kinds = list(dict.fromkeys(item.kind for item in parsed))
    symbols = list(dict.fromkeys(str(item.row["symbol"]) for item in parsed))
    if post.new_count:
        status, word = 202, "accepted"
    elif unknown or faults or post.refused_count:
        status, word = 202, "stored_raw"
    else:
        status, word = 200, "duplicate" if parsed else "ignored"
    return status, {
        "status": word,
        "kind": kinds[0] if len(kinds) == 1 else kinds,
        "ticker": symbols[0] if len(symbols) == 1 else symbols,
        "stored": post.new_count,
        "duplicates": post.duplicate_count,
        "ignored": sum(isinstance(item, Ignored) for item in items),
        "stored_raw": unknown,
        "rejected": [asdict(fault) for fault in faults[:FAULTS_SHOWN_MAX]],
    }


def _unprocessable(faults: Sequence[Fault]) -> JSONResponse:
    shown = [asdict(fault) for fault in faults[:FAULTS_SHOWN_MAX]]
    first = f"{shown[0]['path'] or 'body'}: {shown[0]['msg']}"
    return error_answer(422, "unprocessable", first, detail=shown)
