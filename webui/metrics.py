"""`/metrics`: the picture in Prometheus' text format, with the names and units it recommends.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from starlette.requests import Request
from starlette.responses import Response

from core.board import STATES
from core.clock import NS_PER_S, US_PER_S
from core.errors import PipelineError
from core.schema import LOGGED_TABLES
from webui.access import Visitor
from webui.picture import Gatherer

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without our prefix, its kind and what it means."""

    name: str
    kind: str
    help: str


Sample = tuple[Mapping[str, str], float]
Reader = Callable[[Gatherer], Iterator[Sample]]


def metrics_answer(now: Gatherer) -> Callable[[Request], Response]:
    """The handler."""

    def answer(request: Request) -> Response:
        visitor: Visitor = request.state.visitor
        visitor.require_all_symbols()
        return Response(render(now), media_type=MEDIA_TYPE)

    return answer


def render(now: Gatherer) -> str:
    """All families with their samples; one that has none yet is told all the same."""
    lines: list[str] = []
    for family, read in FAMILIES:
        name = f"tickflight_{family.name}"
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        lines += [f"{name}{_labels(labels)} {value:.15g}" for labels, value in read(now)]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _processes(now: Gatherer) -> Iterator[Sample]:
    for board in now.boards:
        yield {"process": board["process"]}, float(board["is_alive"])


def _parts(now: Gatherer) -> Iterator[Sample]:
    for board in now.boards:
        for name, part in board["parts"].items():
            labels = {"process": board["process"], "part": name}
            for state in STATES:
                yield {**labels, "state": state}, float(part["state"] == state)


def _visible(now: Gatherer) -> Iterator[Sample]:
    for table in LOGGED_TABLES:
        visible_seq = now.tape.version(table.name)[0]
        if visible_seq >= 0:
            yield {"table": table.name}, visible_seq


def _durable(now: Gatherer) -> Iterator[Sample]:
    for table in LOGGED_TABLES:
        try:
            yield {"table": table.name}, now.tape.watermarks(table.name).durable_seq
        except PipelineError:
            continue  # its process has not begun


def _ages(now: Gatherer) -> Iterator[Sample]:
    for name, symbol in sorted(now.market.symbols.items()):
        if symbol.ts_us is not None:
            yield {"symbol": name}, max(now.now_us - symbol.ts_us, 0) / US_PER_S


def _gaps(now: Gatherer) -> Iterator[Sample]:
    for state in ("open", "backfilled", "unrepairable"):
        yield {"state": state}, sum(gap.state == state for gap in now.ledger.account.gaps)


def _score(now: Gatherer) -> Iterator[Sample]:
    matched, rows, _ = now.ledger.account.score()
    if rows:
        yield {}, matched / rows


def _calls(now: Gatherer) -> Iterator[Sample]:
    for key in now.calls.last_hour(now.now_us):
        for quantile, ms in (("0.5", key.p50), ("0.95", key.p95), ("0.99", key.p99)):
            if not isnan(ms):  # a key none of whose calls was answered has none
                yield {"key": key.key, "quantile": quantile}, ms / 1_000


def _called(now: Gatherer) -> Iterator[Sample]:
    for key in now.calls.last_hour(now.now_us):
        yield {"key": key.key, "outcome": "denied"}, key.denied
        yield {"key": key.key, "outcome": "failed"}, key.failed
        yield {"key": key.key, "outcome": "ok"}, key.count - key.denied - key.failed


def _counters(now: Gatherer) -> Iterator[Sample]:
    for board in now.boards:
        for name, value in sorted(board["counters"].items()):
            yield {"process": board["process"], "name": _NOT_A_NAME.sub("_", name.lower())}, value


def _gauges(now: Gatherer) -> Iterator[Sample]:
    for board in now.boards:
        for name, value in sorted(board["gauges"].items()):
            yield {"process": board["process"], "name": _NOT_A_NAME.sub("_", name.lower())}, value


def _one(read: Callable[[Gatherer], float | None]) -> Reader:
    def samples(now: Gatherer) -> Iterator[Sample]:
        value = read(now)
        if value is not None:
            yield {}, value

    return samples


def _sealed_s(now: Gatherer) -> float | None:
    sealed_us = now.storage.sealed_us
    return None if sealed_us is None else sealed_us / US_PER_S


FAMILIES: Sequence[tuple[Family, Reader]] = (
    (Family("process_up", "gauge", "1 while a process keeps its board fresh"), _processes),
    (Family("part_state", "gauge", "1 at the state a part is in"), _parts),
    (Family("rows_visible_total", "counter", "rows that queries may see"), _visible),
    (Family("rows_durable_total", "counter", "rows a power cut cannot take"), _durable),
    (Family("hot_rows", "gauge", "rows in memory"), _one(lambda now: now.storage.hot_rows)),
    (Family("hot_bytes", "gauge", "bytes of hot files"), _one(lambda now: now.storage.hot_bytes)),
    (Family("lake_rows", "gauge", "sealed rows"), _one(lambda now: now.storage.lake_rows)),
    (Family("lake_bytes", "gauge", "bytes of sealed files"),
     _one(lambda now: now.storage.lake_bytes)),
    (Family("lake_files", "gauge", "sealed files"), _one(lambda now: now.storage.lake_files)),
    (Family("sealed_until_timestamp_seconds", "gauge", "time of the newest sealed trade"),
     _one(_sealed_s)),
    (Family("disk_free_bytes", "gauge", "free bytes where the tape is kept"),
     _one(lambda now: now.storage.free_bytes)),
    (Family("symbol_age_seconds", "gauge", "time since a symbol's last trade"), _ages),
    (Family("gaps", "gauge", "holes of the tape by state"), _gaps),
    (Family("spot_check_ratio", "gauge", "rows equal to their witness, 24 h"), _score),
    (Family("call_duration_seconds", "gauge", "quantiles over the last hour, by key"), _calls),
    (Family("calls", "gauge", "calls of the last hour, by key and outcome"), _called),
    (Family("events_total", "counter", "what processes count, by their own names"), _counters),
    (Family("measure", "gauge", "what processes measure, by their own names"), _gauges),
    (Family("scrape_timestamp_seconds", "gauge", "when the picture was taken"),
     _one(lambda now: now.now_ns / NS_PER_S)),
)  # fmt: skip
