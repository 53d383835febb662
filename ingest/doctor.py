"""`tickflight doctor`: looks at settings, folder, disk, clock and feeds, and says what to do."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from core.board import read_boards
from core.clock import DAY_NS, Clock
from core.errors import LakeError, PipelineError
from core.settings import Settings
from ingest.doctor_live import live_command
from ingest.doctor_sierra import look_sierra
from ingest.finding import Finding
from storage.bus_check import look_at_redis
from storage.lake import lake_of
from storage.manifest import Manifest
from storage.paths import Paths

Say = Callable[[str], None]
FREE_BYTES_MIN = 5 * 10**9
YEAR_2025_NS = 20_089 * DAY_NS
BEHIND_GAUGE, ERROR_GAUGE = "clock.behind_s", "clock.error_s."  # ahead is above 0 in the second
CLOCK_ERROR_S_MAX = 2.0
SLOW_FILE_SYSTEMS = ("9p", "drvfs", "fuse", "cifs", "nfs", "nfs4", "vboxsf")


def doctor_command(settings: Settings, clock: Clock, say: Say, *, is_live: bool = False) -> int:
    """Print every finding, of the living feed alone where told so; 1 where something is wrong."""
    if is_live:
        return live_command(settings, clock, say)
    findings = [*look(settings, clock)]
    for finding in findings:
        say(f"{finding.state:<6} {finding.about:<14} {finding.told}")
    return 1 if any(finding.state == "wrong" for finding in findings) else 0


def look(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Everything worth looking at, in the order a person would."""
    yield _folder(settings.data_dir)
    yield _room(settings.data_dir)
    yield _time(settings.data_dir, clock)
    yield _lake(settings)
    yield _running(settings, clock)
    yield _credentials(settings, "tastytrade", "TASTYTRADE_CLIENT_SECRET TASTYTRADE_REFRESH_TOKEN")
    yield _credentials(settings, "GEXBot", "GEXBOT_API_KEY")
    yield _redis(settings)
    if settings.text("CLUSTER_URL"):
        yield Finding("wrong", "cluster", "CLUSTER_URL is set, but no part uses it yet; unset it")
    yield from look_sierra(settings.sierra_dir, settings.words("SIERRA_SYMBOLS"), clock)


def _folder(folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    kind = file_system(existing, Path("/proc/self/mounts").read_text())
    if kind in SLOW_FILE_SYSTEMS:
        return Finding(
            "wrong",
            "data folder",
            f"{folder} is on {kind}, which keeps no promise about synced data; set DATA_DIR to a "
            "local disk",
        )
    return Finding("fine", "data folder", f"{folder} on {kind}")


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system a path lies on, from the text of /proc/self/mounts."""
    best = ("", "unknown")
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split()
        if path.is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, kind)
    return best[1]


def _room(folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    told = f"{free / 10**9:,.1f} GB free"
    if free < FREE_BYTES_MIN:
        return Finding("wrong", "disk", f"{told}; under {FREE_BYTES_MIN // 10**9} GB: make room")
    return Finding("fine", "disk", told)


def _time(folder: Path, clock: Clock) -> Finding:
    if clock.now_ns() < YEAR_2025_NS:
        return Finding("wrong", "clock", "the clock is years behind; switch time sync on")
    errors_s = [
        -gauge if name == BEHIND_GAUGE else gauge
        for board in read_boards(Paths(folder).run, clock.now_ns())
        for name, gauge in board["gauges"].items()
        if name == BEHIND_GAUGE or name.startswith(ERROR_GAUGE)
    ]
    error_s = max(errors_s, key=abs, default=0.0)
    if abs(error_s) > CLOCK_ERROR_S_MAX:
        side = "fast" if error_s > 0 else "slow"
        told = f"at least {abs(error_s):,.0f} s {side} by what the feeds say; switch time sync on"
        return Finding("wrong", "clock", told)
    return Finding("fine", "clock", "plausible; feeds are compared with it once they run")


def _lake(settings: Settings) -> Finding:
    lake = lake_of(settings)
    where = "" if lake.far is None else f" in {lake}"
    try:
        snapshot = Manifest(lake, "trades").fetch()
    except LakeError as error:
        return Finding("wrong", "lake", f"{error.message}; {error.hint}")
    except (PipelineError, OSError) as error:
        return Finding("wrong", "lake", f"{settings.lake_url} cannot be read: {error}")
    told = f"{snapshot.rows:,} trades in {len(snapshot):,} sealed files{where}"
    return Finding("fine", "lake", told)


def _running(settings: Settings, clock: Clock) -> Finding:
    boards = read_boards(Paths(settings.data_dir).run, clock.now_ns())
    if not boards:
        return Finding("off", "processes", "nothing runs; start it with: tickflight up")
    down = [board["process"] for board in boards if board["state"] == "down"]
    if down:
        return Finding("wrong", "processes", f"{', '.join(down)} down; see: tickflight status")
    return Finding("fine", "processes", ", ".join(board["process"] for board in boards))


def _credentials(settings: Settings, feed: str, names: str) -> Finding:
    missing = [name for name in names.split() if not settings.text(name)]
    if missing:
        return Finding("off", feed, f"set {' and '.join(missing)} in .env to turn it on")
    return Finding("fine", feed, "credentials are set")


def _redis(settings: Settings) -> Finding:
    if not settings.text("REDIS_URL"):
        return Finding("off", "Redis", "set REDIS_URL in .env to share the hot hour there")
    is_well, told = look_at_redis(settings.text("REDIS_URL"), Paths(settings.data_dir))
    return Finding("fine" if is_well else "wrong", "Redis", told)
