"""`make shots`: every page at two sizes, as pictures to be looked at by a person.

They show the demo market on top of some weeks of made-up history, written and sealed the way real
rows are. Pictures go to build/shots; `python -m tests.shots --readme` also renews the one README
shows.
"""

import random
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from playwright.sync_api import expect
from pyarrow import flight

from core.batch import TickBatch
from core.clock import HOUR_NS, NS_PER_S, NS_PER_US, SystemClock
from core.session import session_at
from ingest.demo import LISTINGS, Listing
from storage.disk import OsDisk
from storage.manifest import Manifest
from storage.paths import Paths
from storage.seal import Sealer, SealJob
from storage.store import Store, StoreOptions
from storage.view import Views
from tests.conftest import RunningServer, running_server
from tests.integration.browsing import PAGES, SIZES, chromium
from webui.market import market_of

DAYS = 26
OUT = Path("build/shots")
README_PICTURE = Path("docs/dashboard.png")
README_SIZE = {"width": 1440, "height": 1020}
NEAR_EVERY_S, FAR_EVERY_S = 4, 240
NEAR_HOURS = 9
SETTLE_MS = 25_000


def main() -> None:
    """Make the history, start the demo on it, take the pictures."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="shots-") as folder:
        make_history(Path(folder) / "data")
        with running_server(Path(folder), "--demo") as server:
            ask_some(server)
            take(server)
    if "--readme" in sys.argv[1:]:
        shutil.copy(OUT / "readme.png", README_PICTURE)
    sys.stdout.write(f"pictures are in {OUT}\n")


def make_history(data_dir: Path) -> None:
    """Weeks of sealed hours, a few gaps, checks and rejects."""
    paths, lake_url = Paths(data_dir), str(data_dir / "lake")
    now_ns = SystemClock().now_ns()
    walk = random.Random(7)
    store = Store.open(paths, StoreOptions(), disk=OsDisk(), clock=SystemClock())
    for listing in LISTINGS:
        for batch in history_of(listing, now_ns, walk):
            store.append(batch)
    note_troubles(store, now_ns, walk)
    store.commit()
    sealer = Sealer(lake_url, SystemClock())
    hot = Views(paths, lake_url).hot
    jobs = []
    for listing in LISTINGS:
        slices = hot.slices("trades", listing.symbol)
        jobs.append(SealJob(listing.symbol, tuple(s.batch for s in slices), slices[-1].last_seq))
    sealer.seal_many("trades", jobs)
    store.close()
    assert len(Manifest(lake_url, "trades").snapshot()) > DAYS


def history_of(listing: Listing, now_ns: int, walk: random.Random) -> list[TickBatch]:
    """A random walk that ends where the demo begins, in the hours of the symbol's market."""
    times_ns: list[int] = []
    hour_ns = (now_ns // HOUR_NS - DAYS * 24) * HOUR_NS
    while hour_ns < now_ns:
        is_near = now_ns - hour_ns < NEAR_HOURS * HOUR_NS
        if is_near or session_at(hour_ns + HOUR_NS // 2, market_of(listing.symbol)) != "closed":
            step_ns = (NEAR_EVERY_S if is_near else FAR_EVERY_S) * NS_PER_S
            times_ns += range(hour_ns, min(hour_ns + HOUR_NS, now_ns - NS_PER_S), step_ns)
        hour_ns += HOUR_NS
    steps = np.random.default_rng(len(listing.symbol) + ord(listing.symbol[0])).normal(
        0, 1, len(times_ns)
    )
    scale = listing.level * 6e-5 * np.sqrt(np.diff([*times_ns, now_ns]) / 4e9)
    drift = np.cumsum((steps * scale)[::-1])[::-1]
    prices = np.rint((listing.level + drift) * listing.ticks_per_point) / listing.ticks_per_point
    sizes = np.array([max(1, int(walk.expovariate(0.3))) for _ in times_ns], np.int64)
    stamps = np.array(times_ns, np.int64) // NS_PER_US
    return [
        TickBatch(
            "trades",
            listing.symbol,
            listing.symbol,
            "demo",
            {
                "ts_event": stamps[low : low + 4_096],
                "ts_recv": stamps[low : low + 4_096],
                "price": prices[low : low + 4_096],
                "size": sizes[low : low + 4_096],
            },
        )
        for low in range(0, len(stamps), 4_096)
    ]


def note_troubles(store: Store, now_ns: int, walk: random.Random) -> None:
    """What a week of operation leaves in the ledgers."""
    now = datetime.fromtimestamp(now_ns / NS_PER_S, UTC).replace(tzinfo=None)
    head = {"ts_ns": 0, "ts_recv": now, "source": "demo"}
    gaps = [
        ("QQQ", 30 * 60, 42, "connection lost", "open"),
        ("MNQ", 11 * 3_600, 95, "connection lost", "backfilled"),
        ("SPY", 9 * 86_400, 1_800, "machine asleep", "unrepairable"),
    ]
    for number, (symbol, ago_s, length_s, reason, state) in enumerate(gaps, 1):
        begin = now - timedelta(seconds=ago_s)
        row = {"symbol": symbol, "ts_event": begin, **head, "table_name": "trades"}
        row |= {"from_ts": begin, "to_ts": begin + timedelta(seconds=length_s), "reason": reason}
        closed = now if state != "open" else None
        row |= {"state": state, "closed_at": closed, "rows": None, "gap_id": number}
        store.append_rows("gaps", [row])
    for number in range(48):
        moment = now - timedelta(minutes=30 * number)
        symbol = LISTINGS[number % 5].symbol
        row = {"symbol": symbol, "ts_event": moment, **head, "table_name": "trades"}
        row |= {"witness": "rollup", "from_ts": moment, "to_ts": now, "outcome": "match"}
        rows = walk.randint(4_000, 90_000)
        store.append_rows("spot_checks", [{**row, "rows": rows, "matched": rows, "detail": ""}])


def ask_some(server: RunningServer) -> None:
    """Calls of a few kinds, so that the pages about calls have something to show."""
    client = flight.connect(server.flight_url)
    bearer = [(b"authorization", b"Bearer " + server.key.encode())]
    options = flight.FlightCallOptions(headers=bearer)
    asked = ["latest:MNQ"] * 400 + ["tail:SPY?n=100"] * 30 + ["bars:MNQ?every=5m"] * 4
    asked += ["SELECT symbol, count(*) FROM ticks GROUP BY 1", "latest:NOPE", "SELECT x FROM y"]
    for ticket in asked:
        try:
            client.do_get(flight.Ticket(ticket.encode()), options).read_all()
        except flight.FlightError as error:
            sys.stdout.write(f"{ticket}: {type(error).__name__}\n")
    client.close()


def take(server: RunningServer) -> None:
    """One picture a page and size, after the market traded for a while."""
    with chromium() as browser:
        waiting = browser.new_page(base_url=server.web_url)
        waiting.goto("/")
        waiting.wait_for_timeout(SETTLE_MS)
        waiting.close()
        for size, (width, height) in SIZES.items():
            page = browser.new_page(
                base_url=server.web_url, viewport={"width": width, "height": height}
            )
            for path in PAGES:
                page.goto(path)
                if path != "/login":
                    expect(page.locator("#stream-word")).to_contain_text("live")
                    page.wait_for_timeout(2_500)
                name = path.strip("/").replace("/", "-") or "overview"
                page.screenshot(path=OUT / f"{name}-{size}.png", full_page=True)
            page.close()
        page = browser.new_page(base_url=server.web_url, viewport=README_SIZE)
        page.goto("/")
        page.wait_for_timeout(4_000)
        page.screenshot(path=OUT / "readme.png")


if __name__ == "__main__":
    main()
