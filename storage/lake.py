"""Where sealed data are: a folder, or a bucket with a folder that holds a part of it.

Everybody reads files of a folder. Where the lake is a bucket that folder is a replica: the logs
whole, data files as far as somebody asked for them. So mapping, footers that are remembered and the
fences around SQL are the same for both. What is put into a bucket is read back before it counts.
It knows nothing of rows.
"""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.clock import Clock, SystemClock
from core.errors import LakeError, LakeLost, LakeRefused, SettingsError, Unavailable
from core.log import Log
from core.settings import Settings
from storage.bucket import Bucket, access_of
from storage.disk import OsDisk
from storage.lake_cache import FETCH_S_MAX, LakeCache, Wanted, never
from storage.paths import Paths
from storage.replica import LOG, pull
from storage.tape_id import tape_id

log = Log("lake")
CLAIM: Final = "writer.json"  # names the one tape that may write to a bucket
LOCK: Final = "writer.lock"


class Lake:
    """One lake as this process sees it; `folder` is what is read. Safe to use from many threads."""

    def __init__(self, folder: Path, *, far: "Far | None" = None) -> None:
        self.folder = folder.absolute()
        self.far = far
        self._pulling = threading.Lock()
        self._said: tuple[str, int] = ("", 0)

    def __str__(self) -> str:
        """Its address, as the settings have it."""
        return str(self.folder) if self.far is None else self.far.bucket.url

    def pull(self, *tables: str) -> None:
        """Bring the logs of some tables from the bucket; nothing to do for a folder."""
        if self.far is not None:
            with self._pulling:
                for table in tables:
                    pull(self.far.bucket, self.folder, table)

    def knows(self, table: str) -> bool:
        """Whether a log of the table is on this machine."""
        return (self.folder / table / LOG).is_dir()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who writes: among threads and processes here, and tapes of a bucket.

        Raise LakeError where the bucket cannot be written to, or is another tape's.
        """
        make_folder(self.folder)
        fd = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if self.far is not None:
                self.far.claim()
            yield
            if self.far is not None:
                self.far.cache.trim()
        finally:
            os.close(fd)

    def put(self, path: str) -> None:
        """Make a file of the folder one of the lake; raise SealFailed, LakeError."""
        if self.far is not None:
            self.far.bucket.put(self._key(path), Path(path))

    def drop(self, paths: Sequence[str]) -> None:
        """Delete data files."""
        if self.far is not None:
            self.far.bucket.delete([self._key(path) for path in paths])
        for path in paths:
            Path(path).unlink(missing_ok=True)
        for folder in {Path(path).parent for path in paths}:
            if folder.is_dir():
                sync(folder)

    def files(self, table: str) -> list[str]:
        """Every data file of a table, listed or not, as a path in the folder."""
        if self.far is None:
            return [str(path) for path in (self.folder / table).rglob("*.parquet")]
        found = self.far.bucket.list(f"{table}/")
        return [str(self.folder / key) for key in found if key.endswith(".parquet")]

    def fetch(
        self,
        files: Sequence[Wanted],
        *,
        is_cancelled: Callable[[], bool] = never,
        seconds: float = FETCH_S_MAX,
    ) -> None:
        """Have files in the folder; raise Unavailable, TooMuch, TooSlow, PartitionCorrupt."""
        if self.far is not None:
            try:
                self.far.cache.fetch(files, is_cancelled=is_cancelled, seconds=seconds)
            except LakeError as error:
                said = (error.message, self.far.cache.fetched_count)
                if said != self._said:  # once, until it went well again
                    log.warning("fetch.failed", code=error.code, error=error.message)
                self._said = said
                raise Unavailable(
                    "older data lie in a bucket that cannot be read just now",
                    hint="ask again later; the hot hour and what was asked for lately is served",
                ) from error

    def expect(self, files: Sequence[Wanted]) -> None:
        """Raise TooMuch where files do not fit here all together."""
        if self.far is not None:
            self.far.cache.expect(files)

    def begin(self, files: Sequence[Wanted]) -> None:
        """Have files soon, without waiting for them."""
        if self.far is not None:
            self.far.cache.begin(files)

    @contextmanager
    def fresh(self, file: Wanted) -> Iterator[Path]:
        """A file as it lies in the lake now, not as it was fetched once."""
        if self.far is None:
            yield Path(file.path)
            return
        with self.far.cache.fresh(file) as path:
            yield path

    def _key(self, path: str) -> str:
        return Path(path).relative_to(self.folder).as_posix()


class Far:
    """A bucket, the cache of its files, and the tape that may write to it."""

    def __init__(self, bucket: Bucket, cache: LakeCache, owner: Callable[[], str]) -> None:
        self.bucket = bucket
        self.cache = cache
        self._owner = owner

    def claim(self) -> None:
        """Be the tape this bucket belongs to; raise LakeRefused where another one is."""
        mine = json.dumps({"tape": self._owner()}).encode()
        try:
            told = self.bucket.get(CLAIM)
        except FileNotFoundError:
            if self.bucket.create(CLAIM, mine):
                if self.bucket.create(CLAIM, mine):
                    self.bucket.delete([CLAIM])
                    raise LakeRefused(
                        f"{self.bucket.url} lets one object be made twice, so two writers could "
                        "not be kept apart",
                        hint="use a store that knows conditional writes (If-None-Match)",
                    ) from None
                log.info("bucket.claimed", url=self.bucket.url)
                return
            told = self.bucket.get(CLAIM)
        if told != mine:
            raise LakeRefused(
                f"{self.bucket.url} is written by another tape",
                hint=f"use another LAKE_URL; or, where that tape is gone, delete {CLAIM} there",
            )


def lake_of(settings: Settings, clock: Clock | None = None) -> Lake:
    """The lake LAKE_URL names; nothing is asked of a bucket yet."""
    url = settings.lake_url
    if "://" not in url:
        return Lake(Path(url))
    access = access_of(settings)
    paths = Paths(settings.data_dir)
    folder = paths.replica(access.url.removeprefix("s3://").replace("/", "+"))
    bucket = Bucket(access)
    cache = LakeCache(bucket, folder, settings.number("LAKE_CACHE"), clock or SystemClock())
    return Lake(folder, far=Far(bucket, cache, lambda: tape_id(paths, OsDisk())))


def as_lake(place: Lake | str) -> Lake:
    """A lake; a folder may be given as text."""
    if isinstance(place, Lake):
        return place
    assert "://" not in place, "a bucket is opened by lake_of"
    return Lake(Path(place))


def pull_at_start(lake: Lake, tables: Sequence[str]) -> None:
    """Bring every log before anything is written or asked.

    Where the bucket is away what is known here is enough: only this tape writes to it. Raise
    SettingsError where it refuses us, Unavailable where nothing of it is known here.
    """
    try:
        lake.pull(*tables)
    except LakeRefused as error:
        raise SettingsError(f"LAKE_URL: {error.message}", hint=error.hint) from error
    except LakeLost as error:
        if not any(lake.knows(table) for table in tables):
            raise Unavailable(
                f"{error.message}, and nothing of it is known on this machine yet",
                hint="start again once it answers; or check LAKE_URL and AWS_ENDPOINT_URL",
            ) from error
        log.warning("bucket.away", error=error.message)


def sync(path: Path) -> None:
    """Return when a file, or a folder's entries, survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> Path:
    """Make a folder and its parents so that they survive a power cut."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)
    return path
