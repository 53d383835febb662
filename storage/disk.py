"""What storage may ask of a disk, so that tests can hand in one that forgets at a power cut.

`OsDisk` is the real one. Every operation that must survive a power cut names its sync.
"""

import errno
import mmap
import os
from pathlib import Path
from typing import Protocol

from core.errors import DiskFull


class Mapping(Protocol):
    """A file mapped into memory: write into `buffer`, then `sync`."""

    buffer: memoryview

    def sync(self) -> None:
        """Return when everything written into the buffer so far survives a power cut."""

    def close(self) -> None:
        """Let go; nothing is synced."""


class LogFile(Protocol):
    """A file that only grows."""

    def append(self, payload: bytes) -> None:
        """Add to the end, whole or not at all; visible to readers, not yet synced."""

    def sync(self) -> None:
        """Return when everything appended so far survives a power cut."""

    def close(self) -> None:
        """Let go; nothing is synced."""


class Disk(Protocol):
    """Files by path. Folder entries survive a power cut only after `sync_folder`."""

    def boot_id(self) -> str:
        """Changes whenever the machine starts: unsynced pages of an earlier boot are gone."""

    def create(self, path: Path, size_bytes: int, head: bytes) -> Mapping:
        """Make a file, whole or not at all: `head`, then zeros, all room reserved.

        Raise DiskFull.
        """

    def map(self, path: Path) -> Mapping:
        """Map an existing file for writing."""

    def open_log(self, path: Path) -> LogFile:
        """Make an empty file to append to; its folder entry is synced."""

    def append(self, path: Path, payload: bytes) -> None:
        """Add to the end of a file (made if absent) and sync the file."""

    def write_whole(self, path: Path, payload: bytes) -> None:
        """Replace a file so that after a power cut it is the old one or the new one."""

    def read(self, path: Path) -> bytes:
        """All bytes of a file."""

    def names(self, folder: Path) -> list[str]:
        """Names in a folder, sorted; empty where there is no folder."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and its parents."""

    def remove(self, path: Path) -> None:
        """Delete a file; no error where there is none."""

    def rename(self, old: Path, new: Path) -> None:
        """Rename within one file system."""

    def truncate(self, path: Path, size_bytes: int) -> None:
        """Give back the room after `size_bytes`."""

    def sync_folder(self, path: Path) -> None:
        """Return when the folder's entries survive a power cut."""


class _OsMapping:
    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR)
        self._map = mmap.mmap(self._fd, 0)
        self.buffer = memoryview(self._map)

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        # Arrays may still look into the map; it is unmapped when the last of them goes.
        os.close(self._fd)


class _OsLogFile:
    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, payload: bytes) -> None:
        try:
            written = os.write(self._fd, payload)
        except OSError as error:
            raise _no_room(self._name, error) from error
        if written < len(payload):
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            raise _no_room(self._name, OSError(errno.ENOSPC, "short write"))

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _no_room(name: str, error: OSError) -> DiskFull:
    return DiskFull(
        f"cannot write to {name}: {error.strerror}",
        hint="free disk space or move DATA_DIR; feeds resume by themselves",
    )


class OsDisk:
    """The machine's own file system."""

    def boot_id(self) -> str:
        path = Path("/proc/sys/kernel/random/boot_id")
        return path.read_text().strip() if path.exists() else ""

    def create(self, path: Path, size_bytes: int, head: bytes) -> Mapping:
        scratch = path.with_suffix(".new")
        fd = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size_bytes)
            os.pwrite(fd, head, 0)
            os.fsync(fd)
        except OSError as error:
            os.unlink(scratch)
            raise _no_room(path.name, error) from error
        finally:
            os.close(fd)
        os.rename(scratch, path)
        self.sync_folder(path.parent)
        return _OsMapping(path)

    def map(self, path: Path) -> Mapping:
        return _OsMapping(path)

    def open_log(self, path: Path) -> LogFile:
        file = _OsLogFile(path)
        self.sync_folder(path.parent)
        return file

    def append(self, path: Path, payload: bytes) -> None:
        is_new = not path.exists()
        with path.open("ab") as out:
            out.write(payload)
            out.flush()
            os.fsync(out.fileno())
        if is_new:
            self.sync_folder(path.parent)

    def write_whole(self, path: Path, payload: bytes) -> None:
        scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
        with scratch.open("wb") as out:
            os.chmod(out.fileno(), 0o600)
            out.write(payload)
            out.flush()
            os.fsync(out.fileno())
        os.replace(scratch, path)
        self.sync_folder(path.parent)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def names(self, folder: Path) -> list[str]:
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def make_folder(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def truncate(self, path: Path, size_bytes: int) -> None:
        os.truncate(path, size_bytes)

    def sync_folder(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
