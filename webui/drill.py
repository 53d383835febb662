"""The pages behind the overview: data, queries, keys, events; tables made on the server."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from starlette.requests import Request
from starlette.responses import Response

from core.clock import DAY_US, HOUR_US, NS_PER_MS, NS_PER_S, US_PER_S
from core.errors import PipelineError
from core.schema import TABLES
from flight_server.keys import SCOPES, KeyRecord, KeyRing
from storage.manifest import Partition
from webui.access import Visitor
from webui.calls import DENIED, FINE, CallRow, DayUse, KeyCalls, is_live
from webui.coverage import sealed_hours
from webui.gap_lanes import gap_line, gaps_of_day, is_hole, lanes_of
from webui.ledger import CheckRow
from webui.pages import Pages
from webui.partitions import Partitions
from webui.picture import Gatherer
from webui.sessions import Sessions
from webui.sheet import Row
from webui.sheets import coverage_sheet, event_rows, queries_sheet, status_sheet
from webui.words import DASH, format_age, format_bytes, format_count, format_ms, format_percent

PARTITIONS_SHOWN = 100
ROWS_SHOWN = 200
SLOWEST = 12
EVENTS_SHOWN = 300


@dataclass(frozen=True)
class Drill:
    """The handlers."""

    pages: Pages
    now: Gatherer
    ring: KeyRing
    sessions: Sessions
    partitions: Partitions

    def data(self, request: Request) -> Response:
        """Coverage, partitions, gaps, spot checks, lags."""
        now = self.now
        sheet = status_sheet(now).merge(coverage_sheet(now)).merge(now.lags.sheet())
        account = now.ledger.account
        sheet.r["checks"] = [check_row(check) for check in account.checks[:ROWS_SHOWN]]
        sheet.r["rejects"] = [
            Row(key=why, state="late", cells=[why, format_count(n)]) for why, n in account.rejects
        ]
        partitions, total = self._partitions(request)
        day = parse_day(request.query_params.get("day", ""))
        visitor: Visitor = request.state.visitor
        return self.pages.render(
            "data.html",
            request,
            sheet,
            self.pages.boot("data", ["status", "coverage", "lags"]),
            day=day,
            hours=self._day(day) if day else [],
            holes=gaps_of_day(account.gaps, day_us(day), now.now_us) if day else [],
            partitions=self.partitions.rows(partitions),
            total=total,
            gaps=[gap_line(gap, now.boards, now.now_us) for gap in account.gaps[:ROWS_SHOWN]],
            gap_lanes=lanes_of(
                account.gaps[:ROWS_SHOWN], now.now_us, request.query_params.get("span", "")
            ),
            gap_count=len(account.gaps),
            lag_names=list(now.lags.now),
            may_act="admin" in visitor.scopes,
            tables=list(TABLES),
            chosen_table=request.query_params.get("table", "trades"),
            chosen_symbol=request.query_params.get("symbol", ""),
            **self.pages.map(),
        )

    def queries(self, request: Request) -> Response:
        """Slowest, failing and newest calls, and every key's last hour."""
        now = self.now
        sheet = status_sheet(now).merge(queries_sheet(now))
        since_us = now.now_us - HOUR_US
        calls = [call for call in list(now.calls.newest)[::-1] if call.ts_us > since_us]
        key = request.query_params.get("key", "")
        if key:
            calls = [call for call in calls if call.key == key]
        slow = sorted((c for c in calls if not is_live(c)), key=lambda c: -c.ms)
        bad = [call for call in calls if call.outcome not in FINE]
        sheet.r["newest"] = [call_row(call) for call in calls[:ROWS_SHOWN]]
        sheet.r["slowest"] = [call_row(call) for call in slow[:SLOWEST]]
        sheet.r["failing"] = [call_row(call) for call in bad[:SLOWEST]]
        boot = self.pages.boot("queries", ["status", "queries"])
        visitor: Visitor = request.state.visitor
        may_cancel = "admin" in visitor.scopes
        return self.pages.render(
            "queries.html", request, sheet, boot, key=key, may_cancel=may_cancel
        )

    def keys(self, request: Request) -> Response:
        """Keys with what they did, and who is logged in."""
        used = {key.key: key for key in self.now.calls.last_hour(self.now.now_us)}
        days = self.now.calls.last_day(self.now.now_us)
        records = sorted(self.ring.records(), key=lambda r: (r.revoked_ns is not None, r.name))
        now_ns = self.now.now_ns
        # Calls are known by the key's name, which the active key of that name holds.
        keys = [
            key_facts(r, now_ns)
            | (key_use(used.get(r.name), days.get(r.name)) if r.state(now_ns) == "active" else {})
            for r in records
        ]
        sessions = [
            {
                "id": session.id,
                "name": session.name,
                "scopes": " ".join(session.scopes),
                "peer": session.peer,
                "created_ms": session.created_ns // NS_PER_MS,
                "seen_ms": session.seen_ns // NS_PER_MS,
            }
            for session in self.sessions.alive()
        ]
        boot = self.pages.boot("keys", ["status"])
        return self.pages.render(
            "keys.html",
            request,
            status_sheet(self.now),
            boot,
            keys=keys,
            sessions=sessions,
            scopes=SCOPES,
        )

    def events(self, request: Request) -> Response:
        """What happened, the newest first."""
        part = request.query_params.get("part", "")
        sheet = status_sheet(self.now)
        sheet.r["log"] = event_rows(self.now, EVENTS_SHOWN, part)
        boot = self.pages.boot("events", ["status"])
        return self.pages.render("events.html", request, sheet, boot, part=part)

    def _partitions(self, request: Request) -> tuple[list[Partition], int]:
        """The newest partitions of what was asked for, and how many there are."""
        table = request.query_params.get("table", "") or "trades"
        symbol = request.query_params.get("symbol", "")
        if table not in TABLES:
            return [], 0
        day = parse_day(request.query_params.get("day", ""))
        start_us = day_us(day) if day else None
        end_us = day_us(day) + DAY_US if day else None
        try:
            found = self.now.tape.sealed(table).pruned(
                symbols=[symbol] if symbol else None, start_us=start_us, end_us=end_us
            )
        except PipelineError:
            return [], 0
        newest = sorted(found, key=lambda part: (-part.max_ts_us, part.symbol))
        return newest[:PARTITIONS_SHOWN], len(found)

    def _day(self, day: date) -> list[tuple[str, list[str]]]:
        """A day by hour and symbol: full, missing, with a hole, before all or without a market."""
        try:
            found = self.now.tape.sealed("trades").pruned(
                start_us=day_us(day), end_us=day_us(day) + DAY_US
            )
        except PipelineError:
            return []
        hours = sealed_hours(found)
        first_us = self.now.storage.first_us or self.now.now_us
        first_hour = (first_us - day_us(day)) // HOUR_US
        rows = []
        for symbol in sorted(self.now.market.symbols):
            has = hours.get(symbol, {}).get(day, frozenset())
            wanted = self.now.coverage.expected(day, symbol, self.now.now_ns)
            holes = self._hours_with_holes(day, symbol)
            marks = [
                ("hole" if h in holes else "full")
                if h in has
                else hour_mark(h in wanted, is_before=h < first_hour)
                for h in range(24)
            ]
            rows.append((symbol, marks))
        return rows

    def _hours_with_holes(self, day: date, symbol: str) -> set[int]:
        begin_us = day_us(day)
        return {
            hour
            for gap in self.now.ledger.account.gaps_since(begin_us, symbol)
            for hour in range(24)
            if is_hole(gap, begin_us + hour * HOUR_US, begin_us + (hour + 1) * HOUR_US)
        }


def hour_mark(is_wanted: bool, *, is_before: bool) -> str:
    """An hour that is not sealed: missing, before anything was recorded, or without a market."""
    if not is_wanted:
        return "void"
    return "none" if is_before else "gap"


def call_row(call: CallRow) -> Row:
    """A call: when, whose, what, rows, bytes, time, how it ended."""
    state = "ok" if call.outcome in FINE else "late" if call.outcome in DENIED else "down"
    return Row(
        key=str(call.ts_us),
        state=state,
        cells=[
            call.ts_us // 1_000,
            call.key or "(no key)",
            call.ticket or call.method,
            f"{call.rows:,}",
            format_bytes(call.bytes),
            format_ms(call.ms),
            call.outcome,
        ],
    )


def check_row(check: CheckRow) -> Row:
    """A spot check: when, what, against whom, how much was equal."""
    state = {"match": "ok", "mismatch": "down"}.get(check.outcome, "off")
    return Row(
        key=str(check.ts_us),
        state=state,
        cells=[
            check.ts_us // 1_000,
            check.symbol,
            check.table,
            check.witness,
            f"{check.rows:,}",
            format_percent(check.matched, check.rows),
            check.outcome,
            check.detail,
        ],
    )


def key_facts(record: KeyRecord, now_ns: int) -> dict[str, object]:
    """A key as a line: never its text, only the characters that name it."""
    state = record.state(now_ns)
    expires = record.expires_ns
    return {
        "name": record.name,
        "prefix": f"tf_{record.id[:4]}…",
        "state": state,
        "mark": {"active": "ok", "expired": "late"}.get(state, "off"),
        "scopes": " ".join(record.scopes),
        "symbols": " ".join(record.symbols) or "all",
        "rate": f"{record.rate:,.0f}/s",
        "expires": DASH
        if expires is None
        else f"in {format_age((expires - now_ns) / NS_PER_S)}"
        if expires > now_ns
        else "over",
        **key_use(None, None),
    }


def key_use(hour: KeyCalls | None, day: DayUse | None) -> dict[str, object]:
    """What a key did in the last hour and in 24 hours."""
    newest = hour or day
    return {
        "last_ms": None if newest is None else newest.last_us // 1_000,
        "peer": DASH if newest is None else address_of(newest.peer),
        "count": format_count(day.count if day else 0),
        "times": " / ".join(format_ms(t) for t in (hour.p50, hour.p95, hour.p99)) if hour else DASH,
        "denied": f"{day.denied if day else 0:,}",
    }


def address_of(peer: str) -> str:
    """The address alone of a peer as gRPC names it, and whom it says it asks for."""
    own, _, claimed = peer.partition(" for ")
    address = own.partition(":")[2].rpartition(":")[0] or own or DASH
    return f"{address} for {claimed}" if claimed else address


def parse_day(text: str) -> date | None:
    """A day of the query string, None where there is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def day_us(day: date) -> int:
    """When a UTC day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * US_PER_S
