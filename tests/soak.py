"""`make soak`: tabs left open for ten minutes, whose memory, nodes, listeners and frames stay flat.

What a page holds is measured after a collection of garbage, through the browser's own protocol, and
the middle of the last third of the samples is held against that of the first.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.conftest import running_server
from tests.integration.browsing import chromium

PATHS = ("/?kiosk=1", "/market/MNQ?kiosk=1")
GROWTH_MAX = {"heap": 0.10, "nodes": 0.10, "listeners": 0.0}
FRAMES_SHARE_MIN = 0.8
WARM_S = 20  # until what a page keeps is filled


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a page; frames and the share of the main thread are since the look before."""

    at_s: float
    heap: float  # bytes
    nodes: float
    listeners: float
    frames_per_s: float
    busy: float


@dataclass
class Watch:
    """One page and what was seen of it."""

    page: object
    path: str
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self):
        self.client = self.page.context.new_cdp_session(self.page)
        self.client.send("Performance.enable")
        self.frames = 0
        self.before = (0.0, 0.0, 0)
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._count))
        self.page.goto(self.path)

    def look(self):
        self.client.send("HeapProfiler.collectGarbage")
        told = self.client.send("Performance.getMetrics")["metrics"]
        now = {one["name"]: one["value"] for one in told}
        at_s, busy_s, frames = now["Timestamp"], now["TaskDuration"], self.frames
        span_s = max(at_s - self.before[0], 1e-9)
        self.samples.append(
            Sample(
                at_s,
                now["JSHeapUsedSize"],
                now["Nodes"],
                now["JSEventListeners"],
                (frames - self.before[2]) / span_s,
                (busy_s - self.before[1]) / span_s,
            )
        )
        self.before = (at_s, busy_s, frames)

    def _count(self, frame):
        self.frames += 1


def middles(samples: list[Sample], name: str) -> tuple[float, float]:
    """The middle value of the first third of the samples, and of the last."""
    third = max(len(samples) // 3, 1)
    return tuple(
        median(getattr(one, name) for one in part) for part in (samples[:third], samples[-third:])
    )


def faults(samples: list[Sample], growth_max=GROWTH_MAX, frames_share_min=FRAMES_SHARE_MIN):
    """What did not stay flat, in words."""
    found = []
    for name, most in growth_max.items():
        first, last = middles(samples, name)
        if last > first * (1 + most):
            found.append(f"{name} grew from {first:,.0f} to {last:,.0f}, at most {most:.0%}")
    first, last = middles(samples, "frames_per_s")
    if last < first * frames_share_min:
        found.append(f"frames fell from {first:.1f} to {last:.1f} a second")
    return found


def soak(watches: Iterable[Watch], seconds: float, every_s: float, warm_s: float = WARM_S):
    """Look at the pages again and again; the looks while they warm up are not kept."""
    watches = list(watches)
    for one in watches:
        one.page.wait_for_timeout(warm_s * 1_000 / len(watches))
    for one in watches:
        one.look()
        one.samples.clear()
    for _ in range(int(seconds / every_s)):
        watches[0].page.wait_for_timeout(every_s * 1_000)
        for one in watches:
            one.look()


def told(one: Watch) -> str:
    """The figures of a page in a line."""
    parts = [one.path]
    for name, unit in (("heap", 2**20), ("nodes", 1), ("listeners", 1), ("frames_per_s", 1)):
        first, last = (value / unit for value in middles(one.samples, name))
        shape = ".2f" if unit > 1 else ".1f" if name == "frames_per_s" else ",.0f"
        parts.append(f"{name} {first:{shape}} -> {last:{shape}}{' MiB' if unit > 1 else ''}")
    parts.append(f"main thread busy {median(s.busy for s in one.samples):.1%}")
    return "; ".join(parts)


def main() -> int:
    """Print what became of every page; 1 where something grew."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", default="1000", help="ticks a second of the demo market")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        running_server(Path(folder), "--demo", "--demo-rate", asked.rate) as server,
        chromium() as browser,
    ):
        watches = [Watch(browser.new_page(base_url=server.web_url), path) for path in PATHS]
        soak(watches, asked.minutes * 60, every_s=10)
        found = [f"{one.path}: {fault}" for one in watches for fault in faults(one.samples)]
        for line in [*(told(one) for one in watches), *(f"FAULT {fault}" for fault in found)]:
            sys.stdout.write(f"{line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
