"""The health board: what one process counts, measures and knows of its parts.

Each process writes its board to a small file a few times a second; whoever shows health reads the
files of all of them. Ages are judged by the reader, causes never. Nothing durable depends on it: a
board that is old or cannot be read counts as a process that is down.
"""

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypedDict, get_args

from core.clock import NS_PER_S, Clock

State = Literal["ok", "late", "degraded", "down", "off", "closed"]
STATES: tuple[State, ...] = get_args(State)
# Gravest first; "closed" (market) and "off" (not configured) are no fault.
_BY_GRAVITY: tuple[State, ...] = ("down", "degraded", "late", "ok", "closed", "off")

NAMES_MAX = 1_000  # names are fixed in code; more means that a value slipped into a name
STALE_S = 5
SUFFIX = ".status.json"


class PartStatus(TypedDict):
    """How one part is: since when, when it last said so, and how long it may be silent."""

    state: State
    detail: str
    limit_s: float | None
    since_ns: int
    seen_ns: int
    age_s: float


class BoardStatus(TypedDict):
    """A whole board at `stamp_ns`; `state` is the gravest of the parts'.

    `is_alive` is false where the process no longer writes.
    """

    process: str
    pid: int
    is_alive: bool
    state: State
    started_ns: int
    stamp_ns: int
    age_s: float
    counters: dict[str, int]
    gauges: dict[str, float]
    parts: dict[str, PartStatus]


class Board:
    """Counters, gauges and part states of one process; any thread may call any method."""

    def __init__(self, process: str, clock: Clock) -> None:
        self.process = process
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._lock = threading.Lock()
        self._counters: dict[str, int] = {}
        self._gauges: dict[str, float] = {}
        self._parts: dict[str, PartStatus] = {}

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter, which starts at 0 and never goes down."""
        assert n >= 0, name
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + n
        assert len(self._counters) <= NAMES_MAX, name

    def gauge(self, name: str, value: float) -> None:
        """Set what a measure is now."""
        with self._lock:
            self._gauges[name] = value
        assert len(self._gauges) <= NAMES_MAX, name

    def state(
        self, part: str, state: State, detail: str = "", *, limit_s: float | None = None
    ) -> None:
        """Say how a part is. An "ok" that is not said again within `limit_s` reads as late."""
        assert state in STATES, state
        now_ns = self._clock.now_ns()
        with self._lock:
            was = self._parts.get(part)
            self._parts[part] = PartStatus(
                state=state,
                detail=detail,
                limit_s=limit_s,
                since_ns=was["since_ns"] if was and was["state"] == state else now_ns,
                seen_ns=now_ns,
                age_s=0.0,
            )
        assert len(self._parts) <= NAMES_MAX, part

    def snapshot(self) -> BoardStatus:
        """Everything on the board now, as plain values that JSON can carry."""
        now_ns = self._clock.now_ns()
        with self._lock:
            counters, gauges, parts = dict(self._counters), dict(self._gauges), dict(self._parts)
        board = BoardStatus(
            process=self.process,
            pid=os.getpid(),
            is_alive=True,
            state="ok",
            started_ns=self._started_ns,
            stamp_ns=now_ns,
            age_s=0.0,
            counters=counters,
            gauges=gauges,
            parts=parts,
        )
        return _judged(board, now_ns)

    def publish(self, path: Path) -> None:
        """Replace the process's status file in one step; it need not survive a power cut."""
        scratch = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
        scratch.write_text(json.dumps(self.snapshot()))
        os.replace(scratch, path)

    def withdraw(self, path: Path) -> None:
        """Take the status file away: this process ends because it was asked to."""
        path.unlink(missing_ok=True)


def worst(states: Iterable[State]) -> State:
    """Return the gravest of several states, "ok" where there are none."""
    return min(states, key=_BY_GRAVITY.index, default="ok")


def read_boards(folder: Path, now_ns: int) -> list[BoardStatus]:
    """Read every process's board, by name, judged by its age at `now_ns`.

    A board its writer left alone for more than STALE_S is down with all its parts, whatever it
    says; so is one that cannot be read.
    """
    boards = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            board: BoardStatus = json.loads(path.read_bytes())
            boards.append(_judged(board, now_ns))
        except FileNotFoundError:
            continue  # its process took it away just now
        except (ValueError, TypeError, KeyError, AttributeError):
            boards.append(_unreadable(path, now_ns))
    return boards


def _judged(board: BoardStatus, now_ns: int) -> BoardStatus:
    age_s = _age_s(board["stamp_ns"], now_ns)
    is_alive = age_s <= STALE_S
    state: State
    if not is_alive:
        silence = f"process silent for {age_s:.0f} s, limit {STALE_S} s"
        parts = {
            name: _with(part, "down", silence, now_ns) for name, part in board["parts"].items()
        }
        state = "down"
    else:
        parts = {name: _judged_part(part, now_ns) for name, part in board["parts"].items()}
        state = worst(part["state"] for part in parts.values())
    return {**board, "is_alive": is_alive, "state": state, "age_s": age_s, "parts": parts}


def _judged_part(part: PartStatus, now_ns: int) -> PartStatus:
    age_s, limit_s = _age_s(part["seen_ns"], now_ns), part["limit_s"]
    if part["state"] == "ok" and limit_s is not None and age_s > limit_s:
        return _with(part, "late", f"{age_s:.3g} s since last, limit {limit_s:.3g} s", now_ns)
    return _with(part, part["state"], part["detail"], now_ns)


def _with(part: PartStatus, state: State, detail: str, now_ns: int) -> PartStatus:
    return {**part, "state": state, "detail": detail, "age_s": _age_s(part["seen_ns"], now_ns)}


def _age_s(then_ns: int, now_ns: int) -> float:
    # A wall clock that was stepped back must not make news come from the future.
    return max(now_ns - then_ns, 0) / NS_PER_S


def _unreadable(path: Path, now_ns: int) -> BoardStatus:
    part = PartStatus(
        state="down",
        detail=f"expected a board in {path.name}, found something else; restart the process",
        limit_s=None,
        since_ns=now_ns,
        seen_ns=now_ns,
        age_s=0.0,
    )
    return BoardStatus(
        process=path.name.removesuffix(SUFFIX),
        pid=0,
        is_alive=False,
        state="down",
        started_ns=now_ns,
        stamp_ns=now_ns,
        age_s=0.0,
        counters={},
        gauges={},
        parts={"board": part},
    )
