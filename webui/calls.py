"""How every key is served: counts and percentiles of the last hour, counts of the last day."""

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.clock import DAY_US, HOUR_US
from core.errors import PipelineError, Unavailable
from core.log import Log
from webui.tape import StoreTape

CALLS_KEPT = 50_000
DENIED = frozenset({"unauthenticated", "forbidden", "too_much"})
FINE = frozenset({"ok", "cancelled"})
TARGET_MS = 10.0
SLOW_KEPT = 20
SUM_EVERY_US = 5_000_000
DAY_EVERY_US = 60_000_000
DAY_COLUMNS = ("key_name", "ts_event", "outcome", "peer")
log = Log("web")


@dataclass(frozen=True, slots=True)
class CallRow:
    """One finished call."""

    ts_us: int
    key: str
    method: str
    ticket: str
    rows: int
    bytes: int
    ms: float
    outcome: str
    peer: str


@dataclass(frozen=True, slots=True)
class KeyCalls:
    """What one key did in the last hour; times in ms, of calls that were answered."""

    key: str
    count: int
    denied: int
    failed: int
    p50: float
    p95: float
    p99: float
    rows: int
    last_us: int
    peer: str


@dataclass(frozen=True, slots=True)
class DayUse:
    """What one key did in 24 hours."""

    count: int
    denied: int
    last_us: int
    peer: str


class Calls:
    """The newest calls; `look` takes in those that were written since."""

    def __init__(self, tape: StoreTape) -> None:
        self._tape = tape
        self._seq = 0
        self.newest: deque[CallRow] = deque(maxlen=CALLS_KEPT)
        self._summed_of: tuple[int, int] = (-1, -1)
        self._keys: list[KeyCalls] = []
        self._slow: list[CallRow] = []
        self._day_of = -1
        self._day: Mapping[str, DayUse] = {}

    def look(self) -> bool:
        """Take in new calls; whether there were any."""
        try:
            slices = self._tape.after("queries", "", self._seq)
        except Unavailable:
            return False
        for part in slices:
            self._take(part.batch)
            self._seq = part.last_seq
        return bool(slices)

    def _take(self, batch: pa.RecordBatch) -> None:
        batch = batch.slice(max(batch.num_rows - CALLS_KEPT, 0))
        names = ("key_name", "method", "ticket", "rows", "bytes", "ms", "outcome", "peer")
        columns = [batch.column("ts_event").cast(pa.int64()).to_pylist()]
        columns += [batch.column(name).to_pylist() for name in names]
        self.newest.extend(CallRow(*row) for row in zip(*columns, strict=True))

    def slowest(self, now_us: int, count: int) -> list[CallRow]:
        """The slowest calls of the last hour, at most SLOW_KEPT; live streams are none."""
        self._sum_up(now_us)
        return self._slow[:count]

    def last_hour(self, now_us: int) -> list[KeyCalls]:
        """Every key that called, the busiest first."""
        self._sum_up(now_us)
        return self._keys

    def last_day(self, now_us: int) -> Mapping[str, DayUse]:
        """Every key of 24 hours, from memory and the lake; for pages, and once a minute at most."""
        moment = now_us // DAY_EVERY_US
        if moment != self._day_of:
            try:
                rows = self._tape.columns("queries", DAY_COLUMNS, now_us - DAY_US, now_us + 1)
            except PipelineError as error:
                log.warning("calls.not_read", why=error.message)
                return self._day
            self._day_of, self._day = moment, day_use(rows)
        return self._day

    def _sum_up(self, now_us: int) -> None:
        """Go through the hour's calls, but not again within a moment."""
        made_of = (self._seq, now_us // SUM_EVERY_US)
        if made_of == self._summed_of:
            return
        self._keys = self._by_key(now_us)
        since_us = now_us - HOUR_US
        recent = [c for c in self.newest.copy() if c.ts_us > since_us and not is_live(c)]
        self._slow = heapq.nlargest(SLOW_KEPT, recent, key=lambda call: call.ms)
        self._summed_of = made_of

    def _by_key(self, now_us: int) -> list[KeyCalls]:
        by_key: dict[str, list[CallRow]] = {}
        for call in reversed(self.newest.copy()):
            if call.ts_us < now_us - HOUR_US:
                break
            by_key.setdefault(call.key, []).append(call)
        found = [summed(key, calls) for key, calls in by_key.items()]
        return sorted(found, key=lambda key: -key.count)


def day_use(rows: pa.Table) -> dict[str, DayUse]:
    """Calls by key."""
    denied = pc.is_in(rows["outcome"], pa.array(sorted(DENIED)))
    rows = rows.append_column("denied", denied.cast(pa.int64())).sort_by("ts_event")
    sums = rows.group_by("key_name", use_threads=False).aggregate(
        [("denied", "count"), ("denied", "sum"), ("ts_event", "last"), ("peer", "last")]
    )
    last_us = sums["ts_event_last"].cast(pa.int64()).to_pylist()
    columns = (sums[name].to_pylist() for name in ("key_name", "denied_count", "denied_sum"))
    return {
        key: DayUse(*use)
        for key, *use in zip(*columns, last_us, sums["peer_last"].to_pylist(), strict=True)
    }


def is_live(call: CallRow) -> bool:
    """Whether a call is a stream that lasts as long as its reader wants."""
    return call.ticket.startswith("live:")


def summed(key: str, calls: Sequence[CallRow]) -> KeyCalls:
    """The figures of some calls of one key, newest first."""
    served = [c.ms for c in calls if c.outcome in FINE and not is_live(c)]
    times = np.percentile(served, [50, 95, 99]) if served else [float("nan")] * 3
    return KeyCalls(
        key,
        len(calls),
        sum(c.outcome in DENIED for c in calls),
        sum(c.outcome not in FINE and c.outcome not in DENIED for c in calls),
        float(times[0]),
        float(times[1]),
        float(times[2]),
        sum(c.rows for c in calls),
        calls[0].ts_us,
        calls[0].peer,
    )
