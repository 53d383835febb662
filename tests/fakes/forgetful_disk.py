"""A disk in memory that forgets at a power cut whatever was not synced.

It is unkind in the way real disks are: any unsynced 4 KiB page may have reached the platter or not,
each on its own, and a folder entry that was not synced may be gone. `cut_after` makes the n-th
operation that touches the platter the last one.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import DiskFull

PAGE = 4096


class PowerCut(BaseException):
    """The machine is off; nothing of the program may run after this."""


@dataclass
class _File:
    volatile: bytearray
    durable: bytearray = field(default_factory=bytearray)
    entry_is_durable: bool = False


class _Mapping:
    def __init__(self, disk: "ForgetfulDisk", file: _File) -> None:
        self._disk = disk
        self._file = file
        self.buffer = memoryview(file.volatile)

    def sync(self) -> None:
        self._disk._sync(self._file)

    def close(self) -> None:
        """Arrays may still look into the buffer."""


class _LogFile:
    def __init__(self, disk: "ForgetfulDisk", file: _File) -> None:
        self._disk = disk
        self._file = file

    def append(self, payload: bytes) -> None:
        self._disk._step()
        self._file.volatile += payload

    def sync(self) -> None:
        self._disk._sync(self._file)

    def close(self) -> None:
        """Nothing is held."""


class ForgetfulDisk:
    """Implements storage.disk.Disk in memory."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._files: dict[Path, _File] = {}
        self._boot = 1
        self.steps = 0
        self.cut_after: int | None = None
        self.room_bytes: int | None = None

    # -- what a test does --------------------------------------------------------------------

    def cut_power(self) -> None:
        """Forget; afterwards the disk is as the next boot finds it."""
        for path, file in list(self._files.items()):
            if not file.entry_is_durable and self._random.random() < 0.5:
                del self._files[path]
                continue
            self._forget(file)
            file.durable = bytearray(file.volatile)
            file.entry_is_durable = True
        self._boot += 1
        self.cut_after = None

    def flip(self, path: Path, place: int) -> None:
        """Damage one byte, on the platter and in memory."""
        file = self._files[path]
        file.volatile[place] ^= 0xFF
        file.durable[place] ^= 0xFF

    # -- Disk --------------------------------------------------------------------------------

    def boot_id(self) -> str:
        return f"boot-{self._boot}"

    def create(self, path: Path, size_bytes: int, head: bytes) -> _Mapping:
        self._step()
        if self.room_bytes is not None and size_bytes > self.room_bytes:
            raise DiskFull(f"no room for {path.name}", hint="free disk space")
        whole = head.ljust(size_bytes, b"\0")
        file = _File(bytearray(whole), bytearray(whole))
        self._files[path] = file
        self._step()
        file.entry_is_durable = True
        return _Mapping(self, file)

    def map(self, path: Path) -> _Mapping:
        return _Mapping(self, self._files[path])

    def open_log(self, path: Path) -> _LogFile:
        self._step()
        self._files[path] = _File(bytearray(), entry_is_durable=True)
        return _LogFile(self, self._files[path])

    def append(self, path: Path, payload: bytes) -> None:
        self._step()
        file = self._files.setdefault(path, _File(bytearray()))
        file.volatile += payload
        self._sync(file)
        self._step()
        file.entry_is_durable = True

    def write_whole(self, path: Path, payload: bytes) -> None:
        self._step()
        fresh = _File(bytearray(payload), bytearray(payload))
        old = self._files.get(path)
        self._step()
        if self._random.random() < 0.5 and old is not None:
            fresh.entry_is_durable = True  # the rename may reach the platter early
        self._files[path] = fresh
        self._step()
        fresh.entry_is_durable = True

    def read(self, path: Path) -> bytes:
        return bytes(self._files[path].volatile)

    def names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in self._files if path.parent == folder)

    def make_folder(self, path: Path) -> None:
        """Folders are taken as given."""

    def remove(self, path: Path) -> None:
        self._step()
        self._files.pop(path, None)

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        self._files[new] = self._files.pop(old)

    def truncate(self, path: Path, size_bytes: int) -> None:
        self._step()
        file = self._files[path]
        # Maps of the file keep their memory, as a real map keeps its pages.
        file.volatile = bytearray(file.volatile[:size_bytes])
        file.durable = file.durable[:size_bytes]

    def sync_folder(self, path: Path) -> None:
        self._step()
        for name, file in self._files.items():
            if name.parent == path:
                file.entry_is_durable = True

    # -- inside ------------------------------------------------------------------------------

    def _step(self) -> None:
        self.steps += 1
        if self.cut_after is not None and self.steps > self.cut_after:
            raise PowerCut

    def _sync(self, file: _File) -> None:
        # A cut in the middle of a sync leaves some of the pages behind, so step first.
        self._step()
        file.durable = bytearray(file.volatile)

    def _forget(self, file: _File) -> None:
        durable, volatile = file.durable, file.volatile
        size = len(volatile)
        kept = bytearray(durable[:size].ljust(size, b"\0"))
        whole = len(durable)
        for start in range(0, size, PAGE):
            page = slice(start, start + PAGE)
            if volatile[page] != kept[page] and self._random.random() < 0.5:
                kept[page] = volatile[page]
                whole = max(whole, min(start + PAGE, size))
        # A file that grew may come back at any length the platter happened to see.
        file.volatile = kept if len(durable) >= size else kept[: max(whole, len(durable))]
