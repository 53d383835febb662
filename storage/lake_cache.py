"""Files of a bucket on this machine: fetched when asked for, proven, bounded, the oldest let go.

A sealed file never changes, so what was fetched stays right. A file's access time says when it was
last asked for; its other times stay, since DuckDB knows by them that a footer is still the same.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from core.clock import NS_PER_S, Clock
from core.errors import PartitionCorrupt, PipelineError, TooMuch, TooSlow, Unavailable
from core.log import Log
from storage.bucket import PART_BYTES, Bucket
from storage.digest import prove_file

log = Log("lake")
FETCH_S_MAX: Final = 60.0
AT_ONCE: Final = 8  # files
PIN_S: Final = 300  # asked for so lately: somebody may be about to open it
TRIM_S: Final = 30.0  # between two looks through the folder
FREE_BYTES_MIN: Final = 1 << 30  # of the disk, which the tape itself needs
POLL_S: Final = 0.05
SCRATCH: Final = "_fetch"
LEFT_S: Final = 3_600.0  # what was being fetched so long ago is left of a process that was killed
KEPT: Final = "gaps"  # never let go: every answer says which holes its range has


def never() -> bool:
    return False


class Wanted(Protocol):
    """A sealed file: where it lies, or would, and how long it is."""

    @property
    def path(self) -> str: ...

    @property
    def bytes(self) -> int: ...


class LakeCache:
    """The data files of one bucket in one folder; several processes may share it."""

    def __init__(self, bucket: Bucket, folder: Path, bytes_max: int, clock: Clock) -> None:
        self._bucket = bucket
        self._folder = folder.absolute()
        self._bytes_max = bytes_max
        self._clock = clock
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._running: dict[str, Future[None]] = {}
        self._looked_ns = -1 << 62
        self._held_bytes = 0
        self.fetched_count = 0

    def fetch(
        self,
        files: Sequence[Wanted],
        *,
        is_cancelled: Callable[[], bool] = never,
        seconds: float = FETCH_S_MAX,
    ) -> None:
        """Return when all are here.

        Raise LakeError, PartitionCorrupt, TooMuch where they do not fit, TooSlow, Unavailable.
        """
        for file in files:
            self._check_path(file.path)
        missing = [file for file in files if not self._is_here(file)]
        if not missing:
            return
        self.expect(files)
        self._make_room(sum(file.bytes for file in missing))
        deadline_ns = self._clock.monotonic_ns() + int(seconds * NS_PER_S)
        left = missing[::-1]
        waiting: set[Future[None]] = set()
        while left or waiting:
            # Never more than are fetched at once: whoever gives up leaves little behind.
            while left and len(waiting) < AT_ONCE:
                waiting.add(self._begin(left.pop()))
            done, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            for one in done:
                one.result()
            if is_cancelled():
                raise Unavailable("the call was cancelled", hint="ask again")
            if (left or waiting) and self._clock.monotonic_ns() > deadline_ns:
                raise TooSlow(
                    f"{len(left) + len(waiting)} of {len(missing)} files did not come from the "
                    f"bucket in {seconds:g} s",
                    hint="ask again, what came is kept; or narrow the time range",
                )

    def expect(self, files: Sequence[Wanted]) -> None:
        """Raise TooMuch where files do not fit here all together."""
        needed_bytes = sum(file.bytes for file in files)
        if needed_bytes > self._bytes_max:
            raise TooMuch(
                f"the answer needs {needed_bytes:,} bytes of sealed files, "
                f"and {self._bytes_max:,} may be kept here",
                hint="narrow the time range or ask the bars tables; the operator may raise "
                "LAKE_CACHE",
            )

    def begin(self, files: Sequence[Wanted]) -> None:
        """Have some files soon, without waiting; whoever needs one fetches it and hears of faults.

        Files that would not fit are left out.
        """
        missing = [file for file in files if not self._is_here(file)]
        if missing:
            with suppress(PipelineError):
                self._make_room(sum(file.bytes for file in missing))
                for file in missing:
                    self._begin(file)

    @contextmanager
    def fresh(self, file: Wanted) -> Iterator[Path]:
        """The file as it lies in the bucket now, unproven; the cached one is replaced by it."""
        scratch = self._scratch(file)
        try:
            try:
                self._download(file, scratch)
            except FileNotFoundError:
                raise PartitionCorrupt("the bucket has no such file") from None
            yield scratch
            if Path(file.path).exists():
                os.replace(scratch, file.path)
        finally:
            scratch.unlink(missing_ok=True)

    def trim(self) -> None:
        """Let go of the oldest files where there are too many bytes."""
        with suppress(Unavailable):
            self._make_room(0)

    def _is_here(self, file: Wanted) -> bool:
        try:
            status = os.stat(file.path)
        except FileNotFoundError:
            return False
        now_ns = self._clock.now_ns()
        if now_ns - status.st_atime_ns > PIN_S * NS_PER_S // 4:
            with suppress(OSError):
                os.utime(file.path, ns=(now_ns, status.st_mtime_ns))
        return status.st_size == file.bytes

    def _begin(self, file: Wanted) -> Future[None]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch")
            running = self._running.get(file.path)
            if running is None:
                running = self._running[file.path] = self._pool.submit(self._fetch_one, file)
            return running

    def _fetch_one(self, file: Wanted) -> None:
        try:
            if self._is_here(file):
                return
            scratch = self._scratch(file)
            try:
                self._download(file, scratch)
                prove_file(scratch)
                Path(file.path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(scratch, file.path)
            finally:
                scratch.unlink(missing_ok=True)
            with self._lock:
                self._held_bytes += file.bytes
                self.fetched_count += 1
        except FileNotFoundError:
            raise Unavailable(
                "a sealed file was folded into its day or let go meanwhile", hint="ask again"
            ) from None
        except PartitionCorrupt as error:
            raise PartitionCorrupt(
                f"{file.path.rpartition('/')[2]} came from the bucket damaged: {error.message}",
                hint=error.hint,
            ) from error
        except OSError as error:
            raise Unavailable(
                f"a file of the bucket cannot be kept here: {error.strerror}",
                hint="make room on the disk of DATA_DIR",
            ) from error
        finally:
            with self._lock:
                self._running.pop(file.path, None)

    def _download(self, file: Wanted, scratch: Path) -> None:
        key = self._key(file)
        scratch.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as out:
            for start in range(0, file.bytes, PART_BYTES):
                end = min(start + PART_BYTES, file.bytes)
                out.write(self._bucket.get_part(key, start, end))
            out.flush()
            os.fsync(out.fileno())
        if (size := self._bucket.size(key)) != file.bytes:
            raise PartitionCorrupt(f"expected {file.bytes} bytes, found {size}")

    def _check_path(self, path: str) -> None:
        """Refuse a path out of the folder: it may come from the process that runs SQL."""
        if not path.startswith(f"{self._folder}/") or "/../" in path or path.endswith("/.."):
            raise Unavailable("no such sealed file", hint="ask again")

    def _key(self, file: Wanted) -> str:
        """The name in the bucket."""
        return Path(file.path).relative_to(self._folder).as_posix()

    def _scratch(self, file: Wanted) -> Path:
        mark = f"{os.getpid()}-{threading.get_ident()}"
        return self._folder / SCRATCH / f"{Path(file.path).name}.{mark}.new"

    def _make_room(self, needed_bytes: int) -> None:
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            is_due = now_ns - self._looked_ns > TRIM_S * NS_PER_S
            if is_due or self._held_bytes + needed_bytes > self._bytes_max:
                self._looked_ns = now_ns
                low = self._bytes_max // 10 * 9  # so that not every fetch has to look
                self._held_bytes = self._let_go(min(low, self._bytes_max - needed_bytes))
            if needed_bytes and self._held_bytes + needed_bytes > self._bytes_max:
                raise Unavailable(
                    "what is kept of the bucket on this machine is all in use",
                    hint=f"ask again in {PIN_S // 60} minutes, or raise LAKE_CACHE",
                )
        free_bytes = shutil.disk_usage(self._folder.anchor).free
        with suppress(FileNotFoundError):
            free_bytes = shutil.disk_usage(self._folder).free
        if needed_bytes and free_bytes < needed_bytes + FREE_BYTES_MIN:
            raise Unavailable(
                "the disk of this machine has no room for files of the bucket",
                hint="make room on the disk of DATA_DIR",
            )

    def _let_go(self, bytes_max: int) -> int:
        """Unlink files, those first that were not asked for longest; give the bytes left."""
        left_s = self._clock.now_ns() / NS_PER_S - LEFT_S
        for scratch in (self._folder / SCRATCH).glob("*.new"):
            with suppress(FileNotFoundError):
                if scratch.stat().st_mtime < left_s:
                    scratch.unlink()
        found = sorted(_data_files(self._folder))
        held = sum(size for _, size, _ in found)
        pinned_ns = self._clock.now_ns() - PIN_S * NS_PER_S
        for asked_ns, size, path in found:
            if held <= bytes_max or asked_ns > pinned_ns:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            held -= size
        return held


def _data_files(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Access time, size and path of every file that may be let go."""
    try:
        with os.scandir(folder) as entries:
            inside = list(entries)
    except FileNotFoundError:
        return
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in ("_delta_log", "_scratch", SCRATCH, KEPT):
                yield from _data_files(Path(entry.path))
        elif entry.name.endswith(".parquet"):
            with suppress(FileNotFoundError):
                status = entry.stat()
                yield status.st_atime_ns, status.st_size, entry.path
