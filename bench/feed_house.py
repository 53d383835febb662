"""A burst of prints through a whole tickflight, and how soon `latest:` answers as before."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from pyarrow import flight

from bench.feed_server import SYMBOLS
from bench.feed_service import FeedServer
from bench.figure import Figure
from core.clock import NS_PER_MS, NS_PER_S, SystemClock

READY = re.compile(r"ready flight=(\S+) web=(\S+)")
BURST_RATE, BURST_PER = 100_000, 400
SETTLE_S = 2
CALLS = 1_000
WAIT_S = 60
CLOCK = SystemClock()


def bench_burst(server: FeedServer, *, seconds: int) -> list[Figure]:
    """Prints of a burst that are not on the tape, and p99 of `latest:` two seconds after it."""
    rows = BURST_RATE * seconds
    with _running(server) as (client, options):
        server.send(len(SYMBOLS), len(SYMBOLS), 0)  # somebody listens, and a first print is there
        _wait_for(client, options, len(SYMBOLS))
        server.send(rows, BURST_PER, BURST_RATE)
        CLOCK.sleep_s(seconds + SETTLE_S)
        took_ms = np.zeros(CALLS)
        for call in range(CALLS):
            started_ns = CLOCK.monotonic_ns()
            client.do_get(flight.Ticket(b"latest:MNQ"), options).read_all()
            took_ms[call] = (CLOCK.monotonic_ns() - started_ns) / NS_PER_MS
        stored = _wait_for(client, options, rows + len(SYMBOLS))
    about = f"{BURST_RATE:,} prints/s for {seconds} s"
    return [
        Figure(
            f"burst of {about}, prints lost",
            rows + len(SYMBOLS) - stored,
            "prints",
            0.0,
            more_is_better=False,
        ),
        Figure(
            f"latest p99 {SETTLE_S} s after {about}",
            float(np.percentile(took_ms, 99)),
            "ms",
            10.0,
            more_is_better=False,
        ),
    ]


@contextmanager
def _running(
    server: FeedServer,
) -> Iterator[tuple[flight.FlightClient, flight.FlightCallOptions]]:
    """`tickflight up`, fed by the service, and a client with a key."""
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        told = {
            "TASTYTRADE_CLIENT_SECRET": "bench",
            "TASTYTRADE_REFRESH_TOKEN": "bench",
            "TASTYTRADE_API_URL": f"http://127.0.0.1:{server.web_port}",
            "TASTYTRADE_SYMBOLS": ",".join(SYMBOLS),
        }
        tickflight = [sys.executable, "-m", "tickflight"]
        ports = ["--flight-port", "0", "--web-port", "0"]
        process = subprocess.Popen(
            [*tickflight, "up", "--data-dir", folder, *ports],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **told},  # noqa: TID251 - another process's settings
        )
        try:
            assert process.stdout is not None
            found = READY.match(process.stdout.readline())
            assert found is not None, "tickflight did not start"
            create = [*tickflight, "key", "create", "bench", "--data-dir", folder]
            key = subprocess.run(create, capture_output=True, text=True, check=True).stdout.split()
            options = flight.FlightCallOptions(
                headers=[(b"authorization", b"Bearer " + key[-1].encode())]
            )
            with flight.connect(found[1]) as client:
                yield client, options
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _wait_for(client: flight.FlightClient, options: flight.FlightCallOptions, rows: int) -> int:
    """How many prints are on the tape, once there are enough or none has come for long."""
    deadline_ns = CLOCK.monotonic_ns() + WAIT_S * NS_PER_S
    ticket = flight.Ticket(b"SELECT count(*) AS n FROM trades")
    stored = 0
    while stored < rows and CLOCK.monotonic_ns() < deadline_ns:
        CLOCK.sleep_s(0.2)
        stored = client.do_get(ticket, options).read_all()["n"][0].as_py()
    return stored
