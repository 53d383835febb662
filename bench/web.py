"""The dashboard in a real browser: paint, bytes, the cost of frames, and what tabs cost others."""

import json
import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.figure import Figure
from bench.house import House, floor_server, running_house
from bench.latest import interleaved
from core.clock import NS_PER_S, SystemClock
from core.errors import SettingsError

RATE = 3_000
PAINTS = 7
TABS = 20
WATCH_S = 10.0
CALLS = 2_000
CLOCK = SystemClock()
FCP = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
TRANSFER = (
    "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
    ".reduce((sum, entry) => sum + entry.transferSize, 0)"
)
# Sockets that follow what the overview follows and acknowledge each frame, without painting.
OPEN_SOCKETS = """(count) => Promise.all([...Array(count)].map(() => new Promise((done) => {
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/ui/stream');
  const topics = ['status', 'symbols', 'queries', 'events', 'bar:MNQ', 'ladder:MNQ', 'gex:MNQ'];
  socket.onopen = () => { socket.send(JSON.stringify({ sub: topics })); done(); };
  socket.onmessage = (event) => {
    const number = /"n":(\\d+)/.exec(event.data.slice(0, 40));
    if (number) socket.send(`{"ack":${number[1]}}`);
  };
})))"""


def bench_web(*, quick: bool) -> list[Figure]:
    """First paint cold and warm, transfer, CPU of browser and server, `latest` beside 20 tabs."""
    calls, watch_s = (CALLS // 4, WATCH_S / 3) if quick else (CALLS, WATCH_S)
    with running_house(RATE) as house, _browser() as browser, floor_server() as floor:
        interleaved(house, floor, 10)  # and with it the wait for the first trade
        _painted(browser.new_context(), house)  # a browser's first page is no measure
        figures = _paint(browser, house, 3 if quick else PAINTS)
        alone, idle = interleaved(house, floor, calls), _web_cpu(house, watch_s)
        figures.append(_frame_cost(browser, house, watch_s))
        page = browser.new_page()
        page.goto(f"{house.web_url}/login")
        page.evaluate(OPEN_SOCKETS, TABS)
        figures.append(_share(f"server CPU of {TABS} tabs", _web_cpu(house, watch_s) - idle, 0.03))
        watched = interleaved(house, floor, calls)
    # Both sides over their own floor, since the machine drifts.
    figures.append(
        Figure(
            f"latest p99 with {TABS} tabs over none",
            watched[0][1] / watched[1][1],
            "x floor",
            1.1,
            more_is_better=False,
            floor=alone[0][1] / alone[1][1],
            floor_name="p99 over its floor, no tab open",
        )
    )
    return figures


@contextmanager
def _browser() -> Iterator[Any]:
    """Debian's Chromium through playwright, which is a tool of development alone."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        raise SettingsError("bench web needs a browser", hint="apt-get install chromium")
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=args)
        yield browser
        browser.close()


def _paint(browser: Any, house: House, count: int) -> list[Figure]:
    """Medians over new contexts (cold) and over a second look in the same one (warm)."""
    cold, warm, sizes = [], [], []
    for _ in range(count):
        context = browser.new_context()
        ms, size = _painted(context, house)
        cold.append(ms)
        sizes.append(size)
        warm.append(_painted(context, house)[0])
        context.close()
    return [
        _least("first contentful paint, cold", statistics.median(cold), "ms", 500),
        _least("first contentful paint, warm", statistics.median(warm), "ms", 200),
        _least("transfer of the first screen", max(sizes), "bytes", 60_000),
    ]


def _painted(context: Any, house: House) -> tuple[float, float]:
    """(first contentful paint in ms, bytes on the wire) of the overview."""
    page = context.new_page()
    page.goto(house.web_url, wait_until="load")
    deadline_ns = CLOCK.monotonic_ns() + 20 * NS_PER_S
    while not (ms := float(page.evaluate(FCP))):
        assert CLOCK.monotonic_ns() < deadline_ns, "nothing was painted"
        CLOCK.sleep_s(0.02)
    size = float(page.evaluate(TRANSFER))
    page.close()
    return ms, size


def _frame_cost(browser: Any, house: House, watch_s: float) -> Figure:
    """Share of a core the renderer takes while the overview is painted ten times a second."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(house.web_url, wait_until="load")
    page.wait_for_timeout(2_000)
    before_s = _renderers_s()
    page.wait_for_timeout(watch_s * 1_000)
    share = (_renderers_s() - before_s) / watch_s
    page.close()
    return _share("browser CPU of the overview at 10 frames/s", share, 0.15)


def _renderers_s() -> float:
    """Processor seconds of our browser's renderers so far."""
    import psutil

    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if "--type=renderer" in process.cmdline():
                times = process.cpu_times()
                total += times.user + times.system
        except psutil.NoSuchProcess:
            continue  # a page that was closed
    return total


def _web_cpu(house: House, watch_s: float) -> float:
    """Share of a core the web process takes."""
    import psutil

    board = json.loads((house.data_dir / "run" / "web.status.json").read_text())
    process = psutil.Process(board["pid"])
    before = process.cpu_times()
    CLOCK.sleep_s(watch_s)
    after = process.cpu_times()
    return float(after.user - before.user + after.system - before.system) / watch_s


def _share(name: str, share: float, goal: float) -> Figure:
    return _least(name, max(share, 0.0), "of a core", goal)


def _least(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, value, unit, goal, more_is_better=False)
