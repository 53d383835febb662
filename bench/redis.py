"""The mirror on Redis: how late, how dear, what it does to answers, and a burst it must swallow."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from pyarrow import flight

from bench.figure import Figure
from bench.house import House, running_house
from bench.ingest import SYMBOLS, make_trades
from core.board import BoardStatus
from core.clock import NS_PER_MS, NS_PER_S, NS_PER_US, SystemClock
from core.errors import BusError, SettingsError
from storage.bus import Bus
from storage.bus_entries import read_entry
from storage.bus_keys import entry_id, stream_key
from storage.head import Head
from storage.intake import IntakeClient
from storage.paths import Paths

CLOCK = SystemClock()
RATE = 10_000
COMMIT_MS = 20
LAG_MS_MAX = 20.0
WATCH_S = 10.0  # as long as the mirror's p99 looks back
HEARD_S = 10.0
PROBED_S = 10.0
SETTLE_S = 20.0  # until as good as every shape of entry was made once, as after a minute of any day
PROBE = "PROBE"
PROBE_S = 0.005
BURST_ROWS = 200_000
BURST_STEPS = 20
PHASES = 12
CALLS = 24_000
WARM_CALLS = 50
WAIT_S_MAX = 60.0
US_PER_MS = NS_PER_MS / NS_PER_US
TICKET = flight.Ticket(b"latest:MNQ")


def bench_redis(*, quick: bool) -> list[Figure]:
    """Figures at 10,000 trades a second with their quotes and depth; needs redis-server."""
    with private_redis() as url, running_house(RATE, {"REDIS_URL": url}) as house:
        part = 5 if quick else 1
        bus = Bus(url, "bench")
        bus.open()
        _until_mirrored(bus, RATE)
        CLOCK.sleep_s(SETTLE_S / part)
        figures = [
            *_lag_and_cost(house, WATCH_S),
            _cost_heard(house, url, HEARD_S / part),
            _age(house, bus, PROBED_S / part),
            *_latest(house, bus, CALLS // part),
            _burst(house, bus),
        ]
        bus.close()
    return figures


@contextmanager
def private_redis() -> Iterator[str]:
    """A redis-server of our own that keeps nothing on disk; yields its address."""
    program = shutil.which("redis-server")
    if program is None:
        raise SettingsError("redis-server is not installed", hint="install it: apt install redis")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        process = subprocess.Popen(
            [*command, "--dir", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            url = f"redis://127.0.0.1:{port}/0"
            _until(lambda: _answers(url))
            yield url
        finally:
            process.terminate()
            process.wait()


def _lag_and_cost(house: House, seconds: float) -> list[Figure]:
    """By the mirror's own account, with nobody reading and nothing added to the market."""
    pids = {name: _board(house, name)["pid"] for name in ("mirror", "ingest")}
    before_s = {name: _processor_s(pid) for name, pid in pids.items()}
    started_ns = CLOCK.monotonic_ns()
    CLOCK.sleep_s(seconds)
    passed_s = (CLOCK.monotonic_ns() - started_ns) / NS_PER_S
    cost = {n: 100 * (_processor_s(pid) - before_s[n]) / passed_s for n, pid in pids.items()}
    own_ms = _board(house, "mirror")["gauges"]["lag_ms_p99"]
    return [
        _least("Redis lag p99, durable to Redis", own_ms, "ms", LAG_MS_MAX),
        _least("mirror's processor time", cost["mirror"], "% a core", 5.0),
        Figure(
            "mirror's processor time beside ingest's",
            cost["mirror"],
            "% a core",
            0.5,
            more_is_better=False,
            floor=cost["ingest"],
            floor_name="ingest, same seconds",
        ),
    ]


def _cost_heard(house: House, url: str, seconds: float) -> Figure:
    """The mirror's processor time while somebody listens to the live trades of every symbol."""
    pid = _board(house, "mirror")["pid"]
    with _listening(url):
        before_s, started_ns = _processor_s(pid), CLOCK.monotonic_ns()
        CLOCK.sleep_s(seconds)
        passed_s = (CLOCK.monotonic_ns() - started_ns) / NS_PER_S
        cost = 100 * (_processor_s(pid) - before_s) / passed_s
    return _least("the same while live trades are listened to", cost, "% a core", 5.0)


@contextmanager
def _listening(url: str) -> Iterator[None]:
    place = urlsplit(url)
    assert place.hostname is not None
    with socket.create_connection((place.hostname, place.port or 6379)) as listener:
        listener.sendall(b"PSUBSCRIBE tickflight:live:*\r\n")
        reading = threading.Thread(target=_read_all, args=(listener,))
        reading.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            reading.join()


def _read_all(listener: socket.socket) -> None:
    while listener.recv(1 << 16):
        pass


def _age(house: House, bus: Bus, seconds: float) -> Figure:
    seen_ms = float(np.percentile(_ages(house, bus, seconds), 99))
    goal_ms = COMMIT_MS + LAG_MS_MAX
    return _least("Redis lag p99, receipt to reader", seen_ms, "ms", goal_ms)


def _ages(house: House, bus: Bus, seconds: float) -> list[float]:
    """Hand the writer a trade now and then; how old each is when a reader of Redis has it."""
    ended = threading.Event()
    sender = threading.Thread(target=_probe, args=(house, ended))
    key, last = stream_key("trades", PROBE), entry_id(bus.top(stream_key("trades", PROBE)) or 0)
    ages_ms: list[float] = []
    end_ns = CLOCK.monotonic_ns() + int(seconds * NS_PER_S)
    sender.start()
    try:
        while CLOCK.monotonic_ns() < end_ns:
            found = bus.call(b"XREAD", b"BLOCK", b"200", b"STREAMS", key, last)
            now_us = CLOCK.now_ns() // NS_PER_US
            for _, entries in found or ():
                last = entries[-1][0]
                for _, fields in entries:
                    received = read_entry("trades", fields).batch.column("ts_recv")
                    ages_us = now_us - received.view(pa.int64()).to_numpy()
                    ages_ms += (ages_us / US_PER_MS).tolist()
    finally:
        ended.set()
        sender.join()
    return ages_ms


def _probe(house: House, ended: threading.Event) -> None:
    intake = IntakeClient(Paths(house.data_dir))
    while not ended.wait(PROBE_S):
        intake.append(make_trades(PROBE, 1, CLOCK.now_ns() // NS_PER_US))
    intake.close()


def _least(name: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(name, value, unit, goal, more_is_better=False)


def _latest(house: House, bus: Bus, calls: int) -> list[Figure]:
    """`latest` in turn with the mirror running and stopped, in one house.

    The turns are short and in the order on, off, off, on; the mirror has caught up before its own.
    """
    pid = _board(house, "mirror")["pid"]
    took: dict[bool, list[float]] = {True: [], False: []}
    for phase in range(2 * PHASES):
        is_on = phase % 4 in (0, 3)
        os.kill(pid, signal.SIGCONT if is_on else signal.SIGSTOP)
        if is_on:
            _until_mirrored(bus, _head(house).watermarks().durable_seq)
        for _ in range(WARM_CALLS):
            house.client.do_get(TICKET, house.options).read_all()
        for _ in range(calls // PHASES):
            started_ns = CLOCK.monotonic_ns()
            house.client.do_get(TICKET, house.options).read_all()
            took[is_on].append((CLOCK.monotonic_ns() - started_ns) / NS_PER_US)
    os.kill(pid, signal.SIGCONT)
    return [
        Figure(
            f"latest p{percent} with the mirror",
            float(np.percentile(took[True], percent)),
            "us",
            1.05,
            more_is_better=False,
            floor=float(np.percentile(took[False], percent)),
            floor_name="the same with the mirror stopped",
        )
        for percent in (50, 99)
    ]


def _burst(house: House, bus: Bus) -> Figure:
    """200,000 trades within a second, on top of the market, and when Redis has all of them."""
    intake = IntakeClient(Paths(house.data_dir))
    step_rows = BURST_ROWS // BURST_STEPS
    begun_ns = CLOCK.monotonic_ns()
    for step in range(BURST_STEPS):
        symbol = SYMBOLS[step % len(SYMBOLS)]
        intake.append(make_trades(symbol, step_rows, CLOCK.now_ns() // NS_PER_US))
        due_ns = begun_ns + (step + 1) * NS_PER_S // BURST_STEPS
        CLOCK.sleep_s(max(due_ns - CLOCK.monotonic_ns(), 0) / NS_PER_S)
    ended_ns = CLOCK.monotonic_ns()
    _until_mirrored(bus, _head(house).watermarks().visible_seq)
    intake.close()
    name = f"{BURST_ROWS:,} trades in {(ended_ns - begun_ns) / NS_PER_S:.1f} s: level after"
    return _least(name, (CLOCK.monotonic_ns() - ended_ns) / NS_PER_S, "s", 1.0)


def _board(house: House, process: str) -> BoardStatus:
    found: BoardStatus = json.loads(Paths(house.data_dir).status(process).read_bytes())
    return found


def _processor_s(pid: int) -> float:
    """Processor time of a process so far, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _head(house: House) -> Head:
    return Head(Paths(house.data_dir).head("trades"), is_writer=False)


def _until_mirrored(bus: Bus, seq: int) -> None:
    _until(lambda: _mirrored_seq(bus) >= seq)


def _mirrored_seq(bus: Bus) -> int:
    tape = bus.tape()
    marks = tape.tables.get("trades") if tape else None
    return marks.last_seq if marks else 0


def _answers(url: str) -> bool:
    bus = Bus(url, "bench")
    with suppress(BusError):
        bus.open()
        bus.close()
        return True
    return False


def _until(condition: Callable[[], bool]) -> None:
    deadline_ns = CLOCK.monotonic_ns() + int(WAIT_S_MAX * NS_PER_S)
    while not condition():
        assert CLOCK.monotonic_ns() < deadline_ns, f"not within {WAIT_S_MAX} s"
        CLOCK.sleep_s(0.01)
