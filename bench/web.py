"""The dashboard in a real browser: paint, bytes, the cost of frames, and what tabs cost others.

The browser shares the machine with the market it shows and, where there is no graphics processor,
draws in software; so an empty page in the same browser is measured beside every page of ours.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import flight

from bench.figure import Figure
from bench.house import House, floor_server, running_house
from bench.latest import in_turn, interleaved
from core.clock import NS_PER_S, SystemClock
from core.errors import SettingsError

RATE = 1_000  # what `tickflight up --demo` trades
PAINTS = 7
STILL_MS = 500  # a tab that was just opened is left alone as long, as a person would
SETTLE_MS = 1_500
TABS = 20
WATCH_S = 10.0
ROUNDS = 5
TABS_WATCH_S = 3.0
CALLS = 2_000
CLOCK = SystemClock()
EMPTY_PAGE = "<!doctype html><title>empty</title><p>empty\n"
FCP = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
TRANSFER = (
    "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
    ".reduce((sum, entry) => sum + entry.transferSize, 0)"
)
# Sockets that follow what the overview follows and acknowledge as it does, without painting.
OPEN_SOCKETS = """(count) => Promise.all(window.tabs = [...Array(count)].map(() => {
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/ui/stream');
  const topics = ['status', 'symbols', 'queries', 'events', 'coverage',
    'bar:MNQ', 'ladder:MNQ', 'gex:MNQ'];
  let acked = 0;
  socket.onmessage = (event) => {
    const number = /"n":(\\d+)/.exec(event.data.slice(0, 40))?.[1];
    if (!number || number - acked < 5) return;
    acked = number;
    socket.send(`{"ack":${number}}`);
  };
  return new Promise((done) => {
    socket.onopen = () => { socket.send(JSON.stringify({ sub: topics })); done(socket); };
  });
})).then(() => null)"""
CLOSE_SOCKETS = """() => Promise.all(window.tabs.map(async (opening) => {
  const socket = await opening;
  return new Promise((done) => { socket.onclose = done; socket.close(); });
})).then(() => null)"""


def bench_web(*, quick: bool) -> list[Figure]:
    """First paint cold and warm, transfer, CPU of browser and server, `latest` beside 20 tabs."""
    watch_s = WATCH_S / 3 if quick else WATCH_S
    with (
        running_house(RATE) as house,
        _browser() as browser,
        floor_server() as floor,
        _empty_page() as empty_url,
    ):
        interleaved(house, floor, 10)  # and with it the wait for the first trade
        for url in (house.web_url, empty_url):
            _painted(browser.new_context(), url)  # a browser's first page is no measure
        figures = _paint(browser, house.web_url, empty_url, 3 if quick else PAINTS)
        figures += _frame_cost(browser, house, empty_url, watch_s)
        figures += _tabs(browser, house, floor, quick=quick)
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


@contextmanager
def _empty_page() -> Iterator[str]:
    """The URL of a page with one word, from the standard library's server."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "index.html").write_text(EMPTY_PAGE)
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
        process = subprocess.Popen(
            [*command, "--protocol", "HTTP/1.1", "--directory", folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split("(")[1].split(")")[0]
        finally:
            process.terminate()
            process.wait()


def _paint(browser: Any, url: str, empty_url: str, count: int) -> list[Figure]:
    """Medians of a browser that was never here (cold) and of its next look, from a new tab (warm).

    Ours and the empty page by turns.
    """
    times: dict[str, list[float]] = {name: [] for name in ("cold", "warm", "empty")}
    sizes = []
    for _ in range(count):
        for page_url, first, second in ((url, "cold", "warm"), (empty_url, "", "empty")):
            context = browser.new_context()
            ms, size = _painted(context, page_url)
            if first:
                times[first].append(ms)
                sizes.append(size)
            times[second].append(_painted(context, page_url)[0])
            context.close()
    cold, warm, empty = (median(times[name]) for name in ("cold", "warm", "empty"))
    return [
        _least("first contentful paint, cold", cold, "ms", 500),
        _least("first contentful paint, warm", warm, "ms", 200),
        Figure(
            "first contentful paint over an empty page's",
            warm,
            "ms",
            4.0,
            more_is_better=False,
            floor=empty,
            floor_name="an empty page from a bare server, warm",
        ),
        _least("transfer of the first screen", max(sizes), "bytes", 60_000),
    ]


def _painted(context: Any, url: str) -> tuple[float, float]:
    """(first contentful paint in ms, bytes on the wire) of a page in a new tab."""
    page = context.new_page()
    page.wait_for_timeout(STILL_MS)
    page.goto(url, wait_until="load")
    deadline_ns = CLOCK.monotonic_ns() + 20 * NS_PER_S
    while not (ms := float(page.evaluate(FCP))):
        assert CLOCK.monotonic_ns() < deadline_ns, "nothing was painted"
        CLOCK.sleep_s(0.02)
    size = float(page.evaluate(TRANSFER))
    page.close()
    return ms, size


def _frame_cost(browser: Any, house: House, empty_url: str, watch_s: float) -> list[Figure]:
    """Shares of a core while the overview is painted ten times a second, beyond an empty page."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    shares = []
    for url in (empty_url, house.web_url):
        page.goto(url, wait_until="load")
        page.wait_for_timeout(SETTLE_MS)
        before = _browser_s()
        page.wait_for_timeout(watch_s * 1_000)
        shares.append([(b - a) / watch_s for a, b in zip(before, _browser_s(), strict=True)])
    word = page.locator("#stream-word").text_content()
    assert word == "live 10 Hz", word
    page.close()
    page_share, whole_share = (ours - empty for empty, ours in zip(*shares, strict=True))
    return [
        _share("browser CPU of the overview at 10 frames/s", page_share, 0.15),
        _share("the same with the browser's own processes", whole_share, 0.30),
    ]


def _browser_s() -> tuple[float, float]:
    """Processor seconds of our browser so far: of the pages' processes, and of all."""
    import psutil

    pages = everything = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith("chrom"):
                times = process.cpu_times()
                everything += times.user + times.system
                if "--type=renderer" in process.cmdline():
                    pages += times.user + times.system
        except psutil.NoSuchProcess:
            continue  # a page that was closed
    return pages, everything


def _tabs(browser: Any, house: House, floor: flight.FlightClient, *, quick: bool) -> list[Figure]:
    """What 20 tabs take of the server and of `latest`, with them and without by turns."""
    rounds, calls = (2, CALLS // 2) if quick else (ROUNDS, CALLS)
    page = browser.new_page()
    page.goto(f"{house.web_url}/login")
    shares: dict[int, list[float]] = {0: [], TABS: []}
    times: dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {0: [], TABS: []}
    for _ in range(rounds):
        for tabs in (0, TABS):
            page.evaluate(OPEN_SOCKETS, tabs)
            page.wait_for_timeout(SETTLE_MS)
            shares[tabs].append(_web_cpu(house, TABS_WATCH_S))
            times[tabs].append(in_turn(house, floor, calls))
            page.evaluate(CLOSE_SOCKETS)
    page.close()
    cost = median(shares[TABS]) - median(shares[0])
    return [
        _share(f"server CPU of {TABS} tabs", cost, 0.03),
        # Both sides over their own floor, since the machine drifts.
        Figure(
            f"latest p99 with {TABS} tabs over none",
            _p99(times[TABS]),
            "x floor",
            1.1,
            more_is_better=False,
            floor=_p99(times[0]),
            floor_name="p99 over its floor, no tab open",
        ),
    ]


def _p99(found: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    """p99 of our calls over that of the floor's, each over all rounds together."""
    ours, bare = (np.percentile(np.concatenate(side), 99) for side in zip(*found, strict=True))
    return float(ours / bare)


def _web_cpu(house: House, watch_s: float) -> float:
    """Share of a core the web process takes."""
    board = json.loads((house.data_dir / "run" / "web.status.json").read_text())
    before_ns = _on_cpu_ns(board["pid"])
    CLOCK.sleep_s(watch_s)
    return (_on_cpu_ns(board["pid"]) - before_ns) / watch_s / NS_PER_S


def _on_cpu_ns(pid: int) -> int:
    """What the scheduler gave the threads of a process; times in ticks of 10 ms are too coarse."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads)


def _share(name: str, share: float, goal: float) -> Figure:
    return _least(name, max(share, 0.0), "of a core", goal)


def _least(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, value, unit, goal, more_is_better=False)
