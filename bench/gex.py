"""Gamma exposure: posts to the webhook beside a busy market, and a history file of one day.

Posts are sent on a fixed schedule, whether the last one was answered or not, half of them to a bare
server that only reads them, so both sides see the same machine. The file is imported by the command
a person would use, beside a file of a minute, which is the floor.
"""

import gc
import gzip
import http.client
import math
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import orjson
from pyarrow import flight

from bench.figure import Figure
from bench.house import House, running_house
from bench.peak import run_to_peak
from core.clock import DAY_US, NS_PER_MS, NS_PER_S, US_PER_S, SystemClock
from storage.paths import Paths
from storage.view import Views

CLOCK = SystemClock()
TICKS_RATE = 10_000
POSTS_PER_S = 200
POST_SECONDS = 20
SENDERS = 8
LOOK_EVERY = 25  # no multiple of SENDERS: one looks at a time, not all of them at once
LOOK_S_MAX = 5.0
STRIKES = 61
DAY_SECONDS = 23_400
OPEN_S = 1_795_185_000
WARM_POSTS = 100
FILE_NAME = "2026-11-20_NDX_classic_gex_zero.json.gz"
FLOOR_SERVER = """
import socket, uvicorn
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    head = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 202, "headers": head})
    await send({"type": "http.response.body", "body": b"{}"})
listener = socket.create_server(("127.0.0.1", 0))
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(listener.getsockname()[1], flush=True)
told = {"loop": "asyncio", "http": "httptools", "lifespan": "off", "ws": "none"}
config = uvicorn.Config(app, log_config=None, access_log=False, **told)
uvicorn.Server(config).run(sockets=[listener])
"""


def bench_gex(*, quick: bool) -> list[Figure]:
    """The webhook's answers and how soon a post is seen; the import of a day."""
    return [*_bench_posts(quick=quick), *_bench_import(quick=quick)]


def _bench_posts(*, quick: bool) -> list[Figure]:
    seconds = POST_SECONDS // (5 if quick else 1)
    with running_house(TICKS_RATE) as house, _floor() as floor_url:
        ours, bare, seen_ms = _post_all(house, floor_url, seconds * POSTS_PER_S)
    answered, floor = np.percentile(ours, [50, 99]), np.percentile(bare, [50, 99])
    told = f"{POSTS_PER_S} posts/s, {TICKS_RATE:,} ticks/s"
    return [
        Figure(
            f"gex post answered p50, {told}",
            float(answered[0]),
            "ms",
            4.0,
            more_is_better=False,
            floor=float(floor[0]),
            floor_name="bare uvicorn that stores nothing, p50",
        ),
        Figure(
            f"gex post answered p99, {told}", float(answered[1]), "ms", 5.0, more_is_better=False
        ),
        Figure(
            f"gex post answered p99 against the floor's, {told}",
            float(answered[1]),
            "ms",
            2.5,
            more_is_better=False,
            floor=float(floor[1]),
            floor_name="bare uvicorn that stores nothing, p99",
        ),
        Figure(
            f"gex post visible to gex: p99, {told}",
            float(np.percentile(seen_ms, 99)),
            "ms",
            50.0,
            more_is_better=False,
        ),
    ]


def _post_all(
    house: House, floor_url: str, posts: int
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds to the answer, ours and the floor's, and to the row in `gex:NDX`."""
    now_s = CLOCK.now_ns() // NS_PER_S
    bodies = [_chain(now_s - posts + place) for place in range(-WARM_POSTS, posts)]
    ours: list[float] = []
    bare: list[float] = []
    seen: list[float] = []
    gc.collect()
    gc.freeze()  # a pause of this process is not one of what it measures
    start_ns = CLOCK.monotonic_ns() + NS_PER_S

    def send(first: int) -> None:
        web, floor = _connect(house.web_url), _connect(floor_url)
        for place in range(first, len(bodies), SENDERS):
            due_ns = start_ns + place * NS_PER_S // POSTS_PER_S
            CLOCK.sleep_s(max(due_ns - CLOCK.monotonic_ns(), 0) / NS_PER_S)
            began_ns = CLOCK.monotonic_ns()
            ms = _post(web, bodies[place])
            if place % LOOK_EVERY == 0:
                seen_ms = _until_seen(house, now_s - posts + place - WARM_POSTS, began_ns)
                if place >= WARM_POSTS:
                    seen.append(seen_ms)
            if place >= WARM_POSTS:
                ours.append(ms)
                bare.append(_post(floor, bodies[place]))
        web.close()
        floor.close()

    threads = [threading.Thread(target=send, args=(first,)) for first in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ours) == posts, "a sender broke"
    return ours, bare, seen


def _until_seen(house: House, second: int, began_ns: int) -> float:
    """Ask `gex:NDX` for this second until its row is there; milliseconds since the post."""
    ticket = flight.Ticket(f"gex:NDX?start={second * NS_PER_S}&end={(second + 1) * NS_PER_S}")
    while True:
        rows = house.client.do_get(ticket, house.options).read_all().num_rows
        ms = (CLOCK.monotonic_ns() - began_ns) / NS_PER_MS
        if rows or ms > LOOK_S_MAX * 1_000:
            return ms


def _connect(url: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.connect()
    return connection


def _post(connection: http.client.HTTPConnection, body: bytes) -> float:
    began_ns = CLOCK.monotonic_ns()
    connection.request("POST", "/uw", body)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == http.client.ACCEPTED, answer.status
    return (CLOCK.monotonic_ns() - began_ns) / NS_PER_MS


@contextmanager
def _floor() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOR_SERVER], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


def _bench_import(*, quick: bool) -> list[Figure]:
    seconds = DAY_SECONDS // (10 if quick else 1)
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        root = Path(folder)
        small_s, small_mb = _import(_write_file(root / "small", 60), root / "data-small")
        path = _write_file(root / "day", seconds)
        day_s, day_mb = _import(path, root / "data-day")
        again_s, _ = _import(path, root / "data-day")
        assert _stored(root / "data-day") == seconds, "a snapshot is missing or there twice"
    return [
        Figure(
            f"gex history of {seconds:,} snapshots, imported",
            seconds / max(day_s - small_s, 1e-9),
            "snaps/s",
            2_000.0,
            more_is_better=True,
        ),
        Figure(
            f"gex history of {seconds:,} snapshots, memory beyond a minute's",
            day_mb - small_mb,
            "MB",
            64.0,
            more_is_better=False,
        ),
        Figure(
            "gex history imported again",
            again_s,
            "s",
            1.5,
            more_is_better=False,
            floor=day_s,
            floor_name="the first time",
        ),
    ]


def _import(path: Path, data_dir: Path) -> tuple[float, float]:
    """Seconds and peak megabytes of `tickflight import`."""
    command = [sys.executable, "-m", "tickflight", "import", str(path), "--data-dir", str(data_dir)]
    return run_to_peak(command)


def _stored(data_dir: Path) -> int:
    """Snapshots in a tape."""
    view = Views(Paths(data_dir), str(data_dir / "lake")).view()
    start_us = OPEN_S * US_PER_S
    day = view.columns("gex", "NDX", ("seq",), start_us=start_us, end_us=start_us + DAY_US)
    return int(day.num_rows)


def _write_file(folder: Path, seconds: int) -> Path:
    """A day's file as the vendor writes it: 96 MB of JSON where it is whole."""
    folder.mkdir()
    path = folder / FILE_NAME
    with gzip.open(path, "wb", compresslevel=1) as sink:
        for place in range(seconds):
            sink.write(b"[" if place == 0 else b",")
            sink.write(_chain(OPEN_S + place))
        sink.write(b"]")
    return path


_RANDOM = np.random.default_rng(4)
_PHASES = _RANDOM.uniform(0, math.tau, (STRIKES, 7))
_SIZES = _RANDOM.lognormal(5, 1, (STRIKES, 1))


def _chain(second: int) -> bytes:
    """One snapshot with a ladder that moves."""
    values = np.round(_SIZES * np.sin(second / 600 + _PHASES), 2).tolist()
    strikes = [[24_500.35 + 25 * k, row[0], row[1], row[2:]] for k, row in enumerate(values)]
    found = {
        "timestamp": second,
        "ticker": "NDX",
        "min_dte": 0,
        "sec_min_dte": 3,
        "spot": 25_231.6,
        "zero_gamma": 25_188.42,
        "major_pos_vol": 25_262.35,
        "major_pos_oi": 25_312.35,
        "major_neg_vol": 25_162.35,
        "major_neg_oi": 25_012.35,
        "strikes": strikes,
        "sum_gex_vol": round(sum(row[0] for row in values), 3),
        "sum_gex_oi": round(sum(row[1] for row in values), 3),
        "delta_risk_reversal": 0.104,
        "max_priors": [[strikes[k][0], values[k][3]] for k in range(6)],
    }
    return orjson.dumps(found)
