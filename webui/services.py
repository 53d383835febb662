"""The services grid: which parts of which process make up each service, and how it is. Pure.

A part that is known fills its place; a service without any part is off, which is no fault; a part
nobody here has heard of gets a tile of its own. States come from the boards alone, where the reader
judges ages; this module only chooses words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from core.board import NAMES_MAX, BoardStatus, PartStatus, State, worst
from webui.words import format_age

WORDS: Mapping[str, str] = {
    "ok": "on time",
    "late": "late",
    "degraded": "degraded",
    "down": "down",
    "off": "off",
    "closed": "closed",
    "unknown": "unknown",
}
GRAVITY = ("down", "degraded", "late", "unknown", "ok", "closed", "off")
FEEDS = frozenset({"dxlink", "gexbot", "webhooks", "sierra"})
HIDDEN_PARTS = frozenset({"http"})
NOT_RUNNING = "not running; start it with: tickflight up"
NOT_CONFIGURED = "not configured"
STARTING = "starting"


@dataclass(frozen=True, slots=True)
class ServiceKind:
    """A place in the grid: how the parts that fill it begin, and whose process it lives in.

    Where `process` is given the service is there even when no part names it.
    """

    key: str
    title: str
    parts: tuple[str, ...]
    process: str = ""
    about: str = ""


KINDS: tuple[ServiceKind, ...] = (
    ServiceKind(
        "dxlink", "DXLink", ("dxlink", "tastytrade", "demo market"), about="live trades and quotes"
    ),
    ServiceKind("gexbot", "GEXBot REST", ("gexbot", "gex"), about="gamma snapshots, polled"),
    ServiceKind(
        "webhooks",
        "GEXBot webhooks",
        ("webhook", "gex webhook", "uw", "gex history"),
        about="POST /uw and history",
    ),
    ServiceKind("sierra", "Sierra depth", ("sierra", "depth"), about="price levels"),
    ServiceKind("guard", "Validator", ("guard",), "ingest", "every row is checked"),
    ServiceKind("hot", "Hot store", ("hot store",), "ingest", "the last hour in memory"),
    ServiceKind("sealer", "Sealer", ("sealer",), "ingest", "hours into Parquet"),
    ServiceKind("mirror", "Redis", ("mirror", "redis"), about="shares the hot hour"),
    ServiceKind("lake", "DuckDB / Parquet", ("sql", "query worker"), "flight", "sealed history"),
    ServiceKind("flight", "Flight", ("flight", "audit"), "flight", "answers models"),
    ServiceKind(
        "spot", "Spot check", ("spot check", "second witness"), about="tape against witness"
    ),
    ServiceKind("retention", "Retention", ("retention",), "ingest", "old days leave"),
)
DEMO_TITLES = {"dxlink": "Demo market", "gexbot": "Demo gamma", "sierra": "Demo depth"}


@dataclass(frozen=True, slots=True)
class Service:
    """One tile; `age_ms` is the epoch ms it was last heard of."""

    key: str
    title: str
    state: str
    detail: str
    about: str
    seen_ms: int | None = None
    since_ms: int | None = None
    limit_s: float | None = None
    metric: str = ""
    unit: str = ""
    parts: Mapping[str, PartStatus] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """The state in a word."""
        return WORDS[self.state]


def services_of(
    boards: Sequence[BoardStatus], *, is_closed: bool = False, is_starting: bool = False
) -> list[Service]:
    """Every known service in its place, then what else is on the boards.

    `is_closed` says that no market is open: then the silence of a feed is no fault. `is_starting`:
    nor is a process that has not been heard of yet.
    """
    by_process = {board["process"]: board for board in boards}
    parts: dict[str, PartStatus] = {}
    for board in boards:
        for name, part in board["parts"].items():
            known = parts.get(name)
            # Two processes may have a part of one name; then the graver counts.
            is_graver = known is None or GRAVITY.index(part["state"]) < GRAVITY.index(
                known["state"]
            )
            if is_graver and name not in HIDDEN_PARTS:
                parts[name] = part
    found = []
    demo = parts.get("demo market")
    for kind in KINDS:
        own = {name: parts.pop(name) for name in list(parts) if kind_of(name) == kind.key}
        if demo is not None and not own and kind.key in DEMO_TITLES:
            own = {"demo market": demo}  # the made-up market has gamma and depth too
        service = _service(kind, own, by_process)
        if is_starting and kind.process and kind.process not in by_process:
            service = replace(service, state="unknown", detail=STARTING)
        if is_closed and kind.key in FEEDS and service.state == "late":
            service = replace(service, state="closed", detail="market closed")
        found.append(service)
    for name, part in parts.items():
        kind = ServiceKind(name.replace(" ", "_"), name.capitalize(), (name,))
        found.append(_service(kind, {name: part}, by_process))
    return found


@lru_cache(maxsize=NAMES_MAX)
def kind_of(part: str) -> str:
    """The place a part belongs to, by the longest beginning of its name; "" where none."""
    fits = [
        (len(start), kind.key) for kind in KINDS for start in kind.parts if part.startswith(start)
    ]
    return max(fits, default=(0, ""))[1]


def processes_of(service: Service, boards: Sequence[BoardStatus]) -> list[str]:
    """The processes a service lives in."""
    own = [b["process"] for b in boards if not service.parts.keys().isdisjoint(b["parts"])]
    return own or [kind.process for kind in KINDS if kind.key == service.key and kind.process]


def _service(
    kind: ServiceKind, parts: Mapping[str, PartStatus], boards: Mapping[str, BoardStatus]
) -> Service:
    board = boards.get(kind.process)
    if not parts:
        if not kind.process:
            return Service(kind.key, kind.title, "off", NOT_CONFIGURED, kind.about)
        if board is None:
            return Service(kind.key, kind.title, "down", NOT_RUNNING, kind.about)
        if not board["is_alive"]:  # it hangs or was killed; a stopped one leaves no board
            silent = f"process {kind.process} silent for {format_age(board['age_s'])}"
            return Service(kind.key, kind.title, "down", silent, kind.about)
        seen_ms = board["stamp_ns"] // 1_000_000
        return Service(
            kind.key, kind.title, "ok", "", kind.about, seen_ms, board["started_ns"] // 1_000_000
        )
    active = {n: p for n, p in parts.items() if p["state"] != "off"} or parts
    state = worst_state([part["state"] for part in active.values()])
    name, part = min(active.items(), key=lambda item: GRAVITY.index(item[1]["state"]))
    title = DEMO_TITLES.get(kind.key, kind.title) if name == "demo market" else kind.title
    return Service(
        kind.key,
        title,
        state,
        part["detail"],
        kind.about,
        part["seen_ns"] // 1_000_000,
        part["since_ns"] // 1_000_000,
        part["limit_s"],
        parts=parts,
    )


def worst_state(states: Sequence[State]) -> str:
    """The gravest."""
    return worst(states)


def headline(services: Sequence[Service]) -> tuple[str, str, str]:
    """(state, words, key of the first problem) over all services."""
    if not any(service.state not in ("off", "down") for service in services):
        first = next((s for s in services if s.state == "down"), None)
        return "down", "Nothing is running", first.key if first else ""
    counts = {
        state: [s for s in services if s.state == state] for state in ("down", "degraded", "late")
    }
    problems = [f"{len(found)} {state}" for state, found in counts.items() if found]
    if problems:
        gravest = next(state for state, found in counts.items() if found)
        return gravest, ", ".join(problems), counts[gravest][0].key
    on = sum(service.state in ("ok", "closed") for service in services)
    return "ok", f"All {on} on time", ""
