"""`tickflight bench`: runs the measurements asked for and shows both sides of every ratio."""

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.feed import bench_feed
from bench.figure import Figure
from bench.gex import bench_gex
from bench.ingest import bench_ingest
from bench.latest import bench_latest
from bench.redis import bench_redis
from bench.restart import bench_restart
from bench.sierra import bench_sierra
from bench.stream import bench_stream
from bench.web import bench_web
from core.errors import SettingsError
from flight_server.grpc_flags import set_grpc_flags

BENCHES: dict[str, Callable[..., list[Figure]]] = {
    "ingest": bench_ingest,
    "feed": bench_feed,
    "latest": bench_latest,
    "stream": bench_stream,
    "restart": bench_restart,
    "web": bench_web,
    "sierra": bench_sierra,
    "redis": bench_redis,
    "gex": bench_gex,
}


def bench_command(
    names: Sequence[str], *, quick: bool, say: Callable[[str], None]
) -> dict[str, object]:
    """Run benches by name (all where none is given); give every figure for machines.

    Raise SettingsError for an unknown name.
    """
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        raise SettingsError(f"no bench {unknown[0]!r}", hint=f"there are: {', '.join(BENCHES)}")
    set_grpc_flags()
    machine = describe_machine()
    say(f"{machine}{', quick run: rough figures' if quick else ''}")
    figures: list[Figure] = []
    for name in names or BENCHES:
        for figure in BENCHES[name](quick=quick):
            say(figure.line())
            figures.append(figure)
    return {"machine": machine, "quick": quick, "figures": [f.as_json() for f in figures]}


def describe_machine() -> str:
    """Processor, cores, memory, kernel and Python, in one line."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}"
    )
