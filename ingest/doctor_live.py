"""`tickflight doctor --live`: asks the real feed what it gives this token, and writes a report.

It needs no running tickflight and stores no tick. The report holds counts, layouts and answers of
the protocol, never a token or a price.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import orjson

from core.clock import NS_PER_S, Clock
from core.errors import FeedError, PipelineError, SettingsError
from core.settings import Settings
from ingest import dxlink_wire as wire
from ingest.dxlink_probe import Probe, history_item, probing
from ingest.dxlink_wire import HISTORY, MINUTES, STREAM, TICKER, TICKS, Item
from ingest.finding import Finding
from ingest.rolls import Instrument, RollMap
from ingest.tastytrade import QuoteToken, Tastytrade
from storage.disk import OsDisk
from storage.paths import Paths

Say = Callable[[str], None]
HOUR_S = 3_600
PERIODS = {"1 hour": HOUR_S, "24 hours": 24 * HOUR_S}


@dataclass(frozen=True, slots=True)
class Waits:
    """How long to listen, and how long to wait for an answer, seconds."""

    listen_s: float = 60.0
    answer_s: float = 20.0


def live_command(settings: Settings, clock: Clock, say: Say, waits: Waits | None = None) -> int:
    """Run the session, print what it found, write the report; 1 where something is wrong.

    Raise SettingsError where there is no login to try.
    """
    if not (
        settings.text("TASTYTRADE_CLIENT_SECRET") and settings.text("TASTYTRADE_REFRESH_TOKEN")
    ):
        raise SettingsError(
            "there is no tastytrade login to try",
            hint="set TASTYTRADE_CLIENT_SECRET and TASTYTRADE_REFRESH_TOKEN in .env",
        )
    session = LiveSession(settings, clock, waits or Waits(), say)
    try:
        anyio.run(session.run)
    except PipelineError as error:
        session.report["failed"] = error.message
        say(f"wrong  session        {error.message} {error.hint}")
    path = Path(settings.data_dir) / "reports" / f"live-{clock.now_ns() // NS_PER_S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    OsDisk().write_whole(path, orjson.dumps(session.report, option=orjson.OPT_INDENT_2))
    findings = list(judge(session.report))
    for finding in findings:
        say(f"{finding.state:<6} {finding.about:<14} {finding.told}")
    say(f"report {path}")
    return 1 if any(finding.state == "wrong" for finding in findings) else 0


class LiveSession:
    """The questions, one after the other; `report` grows with each answer."""

    def __init__(self, settings: Settings, clock: Clock, waits: Waits, say: Say) -> None:
        self._settings = settings
        self._clock = clock
        self._waits = waits
        self._say = say
        self.report: dict[str, Any] = {"at_ns": clock.now_ns()}

    async def run(self) -> None:
        """Ask everything; raise FeedRefused or FeedLost where nothing can be asked."""
        text = self._settings.text
        async with Tastytrade(
            text("TASTYTRADE_API_URL"),
            text("TASTYTRADE_CLIENT_SECRET"),
            text("TASTYTRADE_REFRESH_TOKEN"),
        ) as door:
            token = await door.fetch_quote_token()
            self.report |= {"level": token.level, "url": token.url, "is_delayed": token.is_delayed}
            root = Paths(self._settings.data_dir).root
            root.mkdir(parents=True, exist_ok=True)
            rolls = RollMap(root / "rolls.json", OsDisk())
            roots = self._settings.words("TASTYTRADE_SYMBOLS")
            rolls.update(await door.fetch_futures(roots), self._clock.now_ns())
            instruments = rolls.instruments(roots, self._clock.now_ns())
            self.report["unclear_fronts"] = rolls.unclear
            self.report["symbols"] = {i.streamer_symbol: i.contract for i in instruments}
            unprinted = [i.streamer_symbol for i in instruments if not i.has_prints]
            self.report["indices"] = unprinted  # of these last values are all there is
            async with self._probe(token) as probe:
                await self._listen(probe, instruments)
                for name, back_s in PERIODS.items():
                    await self._history(probe, instruments, name, back_s)
                await self._aggregation(probe)
                await self._second(await door.fetch_quote_token(), probe)
                await self._again(await door.fetch_quote_token(), probe)
                self._conclude(probe)
            await self._deflate(await door.fetch_quote_token())

    def _probe(self, token: QuoteToken, *, offers_deflate: bool = False) -> Any:
        wait_s = self._waits.answer_s
        return probing(
            token.url,
            token.token,
            self._clock,
            timeout_s=wait_s,
            offers_deflate=offers_deflate,
        )

    async def _listen(self, probe: Probe, instruments: Sequence[Instrument]) -> None:
        self._say(f"listening for {self._waits.listen_s:.0f} s")
        await probe.open(list(wire.CONTRACTS), self._waits.answer_s)
        names = [instrument.streamer_symbol for instrument in instruments]
        await probe.subscribe(
            STREAM, [Item(e, n) for n in names for e in ("TimeAndSale", "Quote", "Trade")]
        )
        await probe.subscribe(
            TICKER, [Item(e, n) for n in names for e in ("Quote", "Trade", "TradeETH")]
        )
        candles = [name + kind for name in names for kind in (MINUTES, TICKS)]
        await probe.subscribe(
            HISTORY, [history_item("Candle", name, self._clock, 600) for name in candles]
        )
        await probe.hear(self._waits.listen_s)
        self.report["live_rows"] = _nested(probe.heard.rows)

    async def _history(
        self, probe: Probe, instruments: Sequence[Instrument], name: str, back_s: int
    ) -> None:
        self._say(f"asking for prints of the last {name}")
        heard = probe.heard
        names = [instrument.streamer_symbol for instrument in instruments]
        for told in (heard.flags, heard.history_rows, heard.history_from_us):
            told.clear()
        items = [history_item("TimeAndSale", name, self._clock, back_s) for name in names]
        await probe.subscribe(HISTORY, items)
        ends = wire.SNAPSHOT_END | wire.SNAPSHOT_SNIP
        is_over = lambda: all(heard.flags.get(name, 0) & ends for name in names)  # noqa: E731
        await probe.hear(self._waits.answer_s, is_over)
        await probe.say([wire.unsubscribe(HISTORY, items)])
        self.report.setdefault("history", {})[name] = {
            symbol: {
                "rows": heard.history_rows[symbol],
                "flags": heard.flags.get(symbol),
                "oldest_us": heard.history_from_us.get(symbol),
            }
            for symbol in names
        }

    async def _aggregation(self, probe: Probe) -> None:
        """What of 0.1 s is granted, after 0 was asked for."""
        before = len(probe.heard.configs)
        asked = wire.feed_setup(STREAM, list(wire.FIELDS)) | {"acceptAggregationPeriod": 0.1}
        await probe.say([asked])
        await probe.hear(self._waits.answer_s, lambda: len(probe.heard.configs) > before)
        granted = [config.get("aggregationPeriod") for config in probe.heard.configs]
        self.report["aggregation_s"] = {"for 0": granted[:before], "for 0.1": granted[before:]}

    async def _second(self, token: QuoteToken, probe: Probe) -> None:
        """Whether two connections may live at once, as taking over needs."""
        try:
            async with self._probe(token) as second:
                await second.hear(1.0)
            await probe.hear(1.0)
        except FeedError as error:
            self.report["second_connection"] = error.message
        else:
            self.report["second_connection"] = "lives beside the first"

    async def _again(self, token: QuoteToken, probe: Probe) -> None:
        """Whether a living connection takes a fresh token."""
        before = len(probe.heard.states)
        await probe.say([wire.auth(token.token)])
        await probe.hear(self._waits.answer_s, lambda: len(probe.heard.states) > before)
        self.report["auth_again"] = probe.heard.states[before:] or "no answer"

    async def _deflate(self, token: QuoteToken) -> None:
        async with self._probe(token, offers_deflate=True) as probe:
            self.report["deflate"] = "agreed to" if probe.is_deflated else "not agreed to"

    def _conclude(self, probe: Probe) -> None:
        heard = probe.heard
        now_ns = self._clock.monotonic_ns()
        self.report |= {
            "largest_frame_bytes": heard.largest_frame_bytes,
            "layouts": [
                {key: config.get(key) for key in ("channel", "dataFormat", "eventFields")}
                for config in heard.configs
            ],
            "errors": heard.errors,
            "garbled": heard.garbled,
            "checks": {
                symbol: _counted(
                    f"{verdict.claim.witness}: {verdict.outcome}" for verdict in court.judge(now_ns)
                )
                for symbol, court in heard.courts.items()
            },
        }


def judge(report: dict[str, Any]) -> Iterator[Finding]:
    """What the report means to an operator."""
    if "level" in report:
        told = f"level {report['level']} at {report['url']}"
        yield Finding("wrong" if report["is_delayed"] else "fine", "quotes", told)
    rows = report.get("live_rows", {})
    histories = report.get("history", {})
    for symbol, contract in report.get("symbols", {}).items():
        prints = rows.get("STREAM TimeAndSale", {}).get(symbol, 0)
        ticks = rows.get("HISTORY Candle", {}).get(symbol + TICKS, 0)
        trades = sum(rows.get(f"TICKER {e}", {}).get(symbol, 0) for e in ("Trade", "TradeETH"))
        reach = ", ".join(f"{of[symbol]['rows']:,} of {name}" for name, of in histories.items())
        told = f"{prints:,} prints, {ticks:,} candles of one trade, {trades:,} last trades"
        if not (prints or ticks or trades):
            told = "nothing came: its market is closed, or this token is not given it"
            yield Finding("off", contract, f"{told}; history: {reach}")
            continue
        is_fine = prints or symbol in report.get("indices", ())
        yield Finding("fine" if is_fine else "wrong", contract, f"{told}; history: {reach}")
    for root, count in report.get("unclear_fronts", {}).items():
        told = f"{count} contracts are marked as the front one, expected 1; the nearest is taken"
        yield Finding("wrong", root, told)
    for name in ("second_connection", "auth_again", "deflate", "largest_frame_bytes"):
        if name in report:
            yield Finding("fine", name.replace("_", " "), str(report[name]))
    if report.get("errors"):
        yield Finding("wrong", "errors", "; ".join(report["errors"][:5]))
    if "failed" in report:
        yield Finding("wrong", "session", report["failed"])


def _nested(rows: Counter[tuple[str, str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (contract, event, symbol), count in sorted(rows.items()):
        nested.setdefault(f"{contract} {event}", {})[symbol] = count
    return nested


def _counted(words: Iterator[str]) -> dict[str, int]:
    return dict(Counter(words))
