"""The picture as cells of each topic: which figure is called what, and how it is written."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from core.board import BoardStatus
from core.clock import HOUR_NS, NS_PER_MS, NS_PER_S, US_PER_S
from core.session import next_change_ns, session_at
from flight_server.running import RunningCall
from webui.calls import TARGET_MS, KeyCalls
from webui.clock_fault import clock_fault
from webui.market import levels_of, regime_of
from webui.picture import Gatherer
from webui.services import Service
from webui.sheet import Row, Sheet, runs_of
from webui.words import (
    DASH,
    format_age,
    format_bytes,
    format_count,
    format_ms,
    format_percent,
    format_price,
    format_rate,
    format_short,
    format_signed,
)

RATE_S = 5
EVENTS_SHOWN = 12
KEYS_SHOWN = 6
SLOW_SHOWN = 5
SEAL_GRACE_S = 5
NOTHING = ""
SESSION_WORDS = {"rth": "Regular hours", "eth": "Extended hours", "closed": "Market closed"}
TARGET_PERCENT = 99.9


def status_sheet(now: Gatherer) -> Sheet:
    """Header, services, hot hour, integrity: once a second."""
    sheet = Sheet()
    state, words, first = now.overall
    sheet.t["overall"], sheet.s["overall"] = words, state
    sheet.t["overall.first"] = first
    session = session_at(now.now_ns, "cme")
    until_ns = next_change_ns(now.now_ns, "cme")
    sheet.t["session"] = SESSION_WORDS[session]
    left = format_age((until_ns - now.now_ns) // NS_PER_S)
    sheet.t["session.left"] = f"opens in {left}" if session == "closed" else f"{left} left"
    sheet.s["session"] = session
    for service in now.services:
        _service(sheet, now, service)
    _hot(sheet, now)
    _integrity(sheet, now)
    sheet.r["problems"] = [
        Row(key=s.key, state=s.state, cells=[f"{s.title} {s.word}", s.detail])
        for s in now.services
        if s.state in ("down", "degraded", "late")
    ] + _own_problems(now)
    sheet.t["shape"] = shape_of(now)
    return sheet


def shape_of(now: Gatherer) -> str:
    """Names of what has a fixed place on the pages; a page of another shape is drawn anew."""
    return "|".join([*(s.key for s in now.services), *sorted(now.market.symbols)])


def symbols_sheet(now: Gatherer) -> Sheet:
    """The table of symbols: four times a second."""
    sheet = Sheet()
    now_s = now.now_ns // NS_PER_S
    gaps_today = now.ledger.account.gaps_since(now.now_us - 24 * 3_600 * US_PER_S)
    for name, symbol in now.market.symbols.items():
        key = f"sym.{name}"
        change = symbol.change()
        state, limit_s = symbol.freshness(now.now_ns)
        spread = None if symbol.bid is None or symbol.ask is None else symbol.ask - symbol.bid
        sheet.t[f"{key}.last"] = format_price(symbol.price)
        sheet.t[f"{key}.day"] = format_signed(change, " %")
        sheet.t[f"{key}.spread"] = DASH if spread is None else f"{spread:.2f}"
        sheet.t[f"{key}.rate"] = format_rate(sum(symbol.bars.per_second(now_s, RATE_S)) / RATE_S)
        sheet.t[f"{key}.gaps"] = str(sum(gap.symbol in (name, "*") for gap in gaps_today))
        sheet.t[f"{key}.limit"] = f"limit {format_age(limit_s)}"
        sheet.s[f"{key}.day"] = "flat" if not change else "up" if change > 0 else "down"
        sheet.s[key] = state
        sheet.a[f"{key}.age"] = None if symbol.ts_us is None else symbol.ts_us // 1_000
        sheet.g[f"{key}.spark"] = now.sparks.get(name, "")
    sheet.t["ticks.rate"] = format_rate(now.rates.get("trades"))
    shown, all_of_them = len(now.market.symbols), now.market.count
    hidden = f", {shown:,} of {all_of_them:,} symbols" if all_of_them > shown else ""
    sheet.t["symbols.shown"] = f"shown 4 times a second{hidden}"
    return sheet


def queries_sheet(now: Gatherer) -> Sheet:
    """Keys and how they are served: once a second."""
    sheet = Sheet()
    keys = now.calls.last_hour(now.now_us)
    sheet.r["keys"] = [key_row(key) for key in keys[:KEYS_SHOWN]]
    sheet.r["slow"] = [
        Row(
            key=str(call.ts_us),
            state="warn" if call.ms > TARGET_MS else "ok",
            cells=[call.ticket or call.method, format_ms(call.ms)],
        )
        for call in now.calls.slowest(now.now_us, SLOW_SHOWN)
    ]
    p99 = max((key.p99 for key in keys if key.p99 == key.p99), default=None)
    sheet.count("queries.count", sum(key.count for key in keys))
    sheet.t["queries.p99"] = format_ms(p99)
    sheet.r["running"] = [running_row(call, now.now_ns) for call in now.running]
    sheet.s["queries.p99"] = "none" if p99 is None else "ok" if p99 <= TARGET_MS else "warn"
    sheet.t["queries.denied"] = f"{sum(key.denied for key in keys):,}"
    sheet.t["queries.failed"] = f"{sum(key.failed for key in keys):,}"
    return sheet


def events_sheet(now: Gatherer) -> Sheet:
    """The newest events; open troubles first."""
    sheet = Sheet()
    sheet.r["events"] = event_rows(now, EVENTS_SHOWN)
    return sheet


def event_rows(now: Gatherer, count: int, part: str = "") -> list[Row]:
    """Events as rows: when, what."""
    return [
        Row(key=f"{e['ts_ms']}", state=e["state"], cells=[e["ts_ms"], e["text"]])
        for e in now.journal.newest(count, part)
    ]


def coverage_sheet(now: Gatherer) -> Sheet:
    """The map of the year."""
    sheet = Sheet()
    sheet.g = {f"cov.{level}": path for level, path in now.coverage.paths.items()}
    shown = [day for day in now.coverage.days if day.level != "void"]
    sealed, expected = (sum(d.sealed_hours for d in shown), sum(d.expected_hours for d in shown))
    sheet.t["cov.sum"] = f"{format_count(sealed)} of {format_count(expected)} symbol hours"
    sheet.t["cov.percent"] = format_percent(sealed, expected)
    return sheet


def key_row(key: KeyCalls) -> Row:
    """One key's last hour."""
    return Row(
        key=key.key or "nobody",
        state="warn" if key.p99 > TARGET_MS else "ok",
        cells=[
            key.key or "(no key)",
            format_count(key.count),
            format_ms(key.p50),
            format_ms(key.p95),
            format_ms(key.p99),
            f"{key.denied:,}",
        ],
    )


def running_row(call: RunningCall, now_ns: int) -> Row:
    """A running call: since when, whose, what, rows sent, how long; the last is a button."""
    return Row(
        key=call.id,
        state="ok",
        cells=[
            call.started_ns // NS_PER_MS,
            call.key or "(no key)",
            call.ticket or call.method,
            format_count(call.rows),
            format_age(max(now_ns - call.started_ns, 0) / NS_PER_S),
            "Cancel",
        ],
    )


def _service(sheet: Sheet, now: Gatherer, service: Service) -> None:
    key = f"svc.{service.key}"
    metric, unit = metric_of(now, service)
    sheet.t[key] = service.word
    sheet.s[key] = service.state
    sheet.t[f"{key}.metric"], sheet.t[f"{key}.unit"] = metric, unit
    sheet.a[f"{key}.age"] = service.seen_ms
    sheet.b[key] = runs_of(now.beats(service.key))


def metric_of(now: Gatherer, service: Service) -> tuple[str, str]:
    """The figure of a service's tile, and what it counts."""
    make = METRICS.get(service.key)
    return (DASH, NOTHING) if make is None or service.state == "off" else make(now)


def _spot_metric(now: Gatherer) -> tuple[str, str]:
    matched, rows, samples = now.ledger.account.score()
    return format_percent(matched, rows), f"n {samples:,}"


def _hot_metric(now: Gatherer) -> tuple[str, str]:
    return format_bytes(now.storage.hot_bytes), f"{format_short(now.storage.hot_rows)} rows"


def _lake_metric(now: Gatherer) -> tuple[str, str]:
    return format_bytes(now.storage.lake_bytes), f"{format_count(now.storage.lake_files)} files"


def seal_in_s(now: Gatherer) -> float:
    """Seconds until the hour under way is sealed."""
    return (HOUR_NS - now.now_ns % HOUR_NS) / NS_PER_S // 1 + SEAL_GRACE_S


def gex_frame(now: Gatherer, symbol: str) -> dict[str, object] | None:
    """Levels, strikes and regime of a symbol's newest snapshot."""
    gex = now.market.gex(symbol)
    return None if gex is None else shown_gex(now, symbol, gex)


def shown_gex(now: Gatherer, symbol: str, gex: Mapping[str, object]) -> dict[str, object]:
    """A snapshot as the chart draws it."""
    price = now.market.symbols[symbol].price if symbol in now.market.symbols else None
    levels = levels_of(gex)
    spot = gex.get("spot")
    regime, distance = regime_of(spot if isinstance(spot, float) else price, levels["zero"])
    strikes = gex.get("strikes")
    return {
        "ticker": gex["ticker"],
        "ts": int(calendar_ms(gex["ts_event"])),
        "spot": spot,
        "levels": levels,
        "regime": regime,
        "distance": None if distance is None else round(distance, 2),
        "net": gex.get("net_gex"),
        "strikes": [
            [s["strike"], round(s["gex_vol"] or 0, 1), round(s["gex_oi"] or 0, 1)]
            for s in (strikes if isinstance(strikes, list) else [])
        ],
    }


def calendar_ms(moment: object) -> float:
    """A naive UTC time as epoch milliseconds."""
    assert isinstance(moment, datetime)
    return moment.replace(tzinfo=UTC).timestamp() * 1_000


def _hot(sheet: Sheet, now: Gatherer) -> None:
    storage = now.storage
    sheet.t["hot.bytes"] = format_bytes(storage.hot_bytes)
    sheet.count("hot.rows", storage.hot_rows)
    sheet.t["hot.window"] = f"{now.settings.number('HOT_MINUTES')} m"
    sheet.t["hot.seal"] = format_age(seal_in_s(now))
    sheet.t["hot.took"] = format_age(_gauge(now, "sealer.last_s"))
    sheet.a["hot.sealed"] = None if storage.sealed_us is None else storage.sealed_us // 1_000
    sheet.t["hot.free"] = format_bytes(storage.free_bytes)
    sheet.s["hot.free"] = "degraded" if storage.is_nearly_full else "ok"
    sheet.t["hot.undurable"] = format_count(_behind(now))
    waiting, spilled = _gauge(now, "dxlink.backlog"), _gauge(now, "dxlink.spilled")
    sheet.t["hot.buffer"] = (
        DASH
        if waiting is None
        else f"{format_count(waiting)} waiting"
        if not spilled
        else f"{format_count(waiting)} waiting, {format_count(spilled)} went by disk"
    )
    sheet.s["hot.buffer"] = "late" if waiting else "ok"
    hour_part = now.now_ns % HOUR_NS / HOUR_NS
    sheet.g["hot.hour"] = f"M0 3H{hour_part * 240:.0f}"
    sheet.t["lake.bytes"] = format_bytes(storage.lake_bytes)
    sheet.count("lake.rows", storage.lake_rows)
    sheet.count("lake.files", storage.lake_files)


def _integrity(sheet: Sheet, now: Gatherer) -> None:
    account = now.ledger.account
    day_us = now.now_us - 24 * 3_600 * US_PER_S
    today = account.gaps_since(day_us)
    matched, rows, samples = account.score()
    rejected = sum(count for _, count in account.rejects)
    failed = next((check for check in account.checks if check.outcome == "mismatch"), None)
    is_short = bool(rows) and matched / rows * 100 < TARGET_PERCENT
    sheet.t["int.open"] = f"{len(account.open_gaps):,}"
    sheet.s["int.open"] = "degraded" if account.open_gaps else "ok"
    sheet.t["int.backfilled"] = f"{sum(gap.state == 'backfilled' for gap in today):,}"
    sheet.t["int.lost"] = f"{sum(gap.state == 'unrepairable' for gap in today):,}"
    sheet.count("int.rejected", rejected)
    sheet.t["int.why"] = account.rejects[0][0] if account.rejects else "nothing refused"
    sheet.t["int.score"] = format_percent(matched, rows)
    sheet.s["int.score"] = "none" if not rows else "degraded" if is_short else "ok"
    sheet.t["int.samples"] = f"n {samples:,}, target {TARGET_PERCENT} %"
    sheet.t["int.failure"] = failed.detail if failed else "none"
    sheet.a["int.failed"] = failed.ts_us // 1_000 if failed else None


def _own_problems(now: Gatherer) -> list[Row]:
    """What is wrong with this machine: its disk, its clock."""
    found = []
    if (told := clock_fault(now.boards)) is not None:
        found.append(Row(key="clock", state="degraded", cells=list(told)))
    if now.storage.is_nearly_full:
        free = format_bytes(now.storage.free_bytes)
        found.append(Row(key="disk", state="degraded", cells=["Disk nearly full", f"{free} left"]))
    return found


def _gauge(now: Gatherer, name: str) -> float | None:
    return next((b["gauges"][name] for b in now.boards if name in b["gauges"]), None)


def _behind(now: Gatherer) -> int:
    """Rows that are visible and not yet durable."""
    behind = 0
    for board in now.boards:
        gauges = board["gauges"]
        for name, value in gauges.items():
            if name.startswith("visible_seq."):
                table = name.removeprefix("visible_seq.")
                behind += int(value - gauges.get(f"durable_seq.{table}", value))
    return max(behind, 0)


def _sum(rates: Mapping[str, float], *tables: str) -> float | None:
    found = [rates[table] for table in tables if table in rates]
    return sum(found) if found else None


def _counted(boards: Sequence[BoardStatus], start: str) -> float | None:
    found = [n for b in boards for name, n in b["counters"].items() if name.startswith(start)]
    return sum(found) if found else (0 if boards else None)


def _rate_of(now: Gatherer, start: str) -> float | None:
    found = [
        value
        for board in now.boards
        for name, value in board["gauges"].items()
        if name.startswith(start) and name.endswith("per_s")
    ]
    return sum(found) if found else None


Metric = Callable[[Gatherer], tuple[str, str]]
METRICS: Mapping[str, Metric] = {
    "dxlink": lambda now: (format_rate(_sum(now.rates, "trades", "quotes")), "ticks"),
    "gexbot": lambda now: (format_rate(now.rates.get("gex")), "snapshots"),
    "webhooks": lambda now: (format_count(_counted(now.boards, "webhook")), "received"),
    "sierra": lambda now: (format_rate(_sum(now.rates, "depth", "book")), "levels"),
    "guard": lambda now: (format_count(_counted(now.boards, "rejects")), "rejected"),
    "hot": _hot_metric,
    "sealer": lambda now: (format_age(seal_in_s(now)), "to next seal"),
    "mirror": lambda now: (format_rate(_rate_of(now, "mirror")), "rows"),
    "lake": _lake_metric,
    "flight": lambda now: (format_rate(now.rates.get("queries")), "calls"),
    "spot": _spot_metric,
    "retention": lambda now: (f"{now.settings.number('RETENTION_DAYS'):,} d", "kept"),
}
