"""The store of a follower: opened where its rows go on, and marked as a copy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.clock import Clock
from core.errors import SettingsError, WalCorrupt
from core.log import Log
from storage.bus_keys import MIRRORED
from storage.disk import OsDisk
from storage.manifest import Manifest
from storage.paths import Paths
from storage.recovery import segment_numbers
from storage.store import Store, StoreOptions

log = Log("follow")


@dataclass(frozen=True, slots=True)
class CopyPlace:
    """Where a copy is kept, the lake it shares, and its longest wait before rows are durable."""

    paths: Paths
    lake_url: str
    commit_ms: int


def check_is_copy(paths: Paths) -> None:
    """Raise SettingsError where a folder holds a tape of its own, which must not be overwritten."""
    if not paths.copy_of.exists() and (paths.root / "hot").exists():
        raise SettingsError(
            f"{paths.root} holds a tape of its own and cannot become a copy",
            hint="give the follower an empty --data-dir",
        )


def check_is_no_copy(paths: Paths) -> None:
    """Raise SettingsError where a folder is a copy: rows added here would be on no other tape."""
    if paths.copy_of.exists():
        raise SettingsError(
            f"{paths.root} is a copy of another server's tape, nothing can be added to it",
            hint="add rows on the first server, or use another --data-dir",
        )


def write_origin(paths: Paths, tape_id: str) -> None:
    """Mark a folder as the copy of a tape."""
    OsDisk().write_whole(paths.copy_of, tape_id.encode())


def open_copy(place: CopyPlace, begin: Mapping[str, int], clock: Clock) -> Store:
    """Open the store; tables in `begin` let their hot rows go and begin at that seq.

    Where rows are damaged all are let go: there is another server that has them.
    """
    disk, paths = OsDisk(), place.paths
    _wipe(disk, paths, begin)
    options = StoreOptions(
        commit_ms=place.commit_ms,
        tables=frozenset(MIRRORED),
        sealed_seqs={table: first_seq - 1 for table, first_seq in begin.items()},
        newest_sealed_us=Manifest(place.lake_url, "trades").snapshot().newest_us(),
        is_copy=True,
    )
    try:
        return Store.open(paths, options, disk=disk, clock=clock)
    except WalCorrupt as error:
        log.warning("copy.damaged", error=error.message)
        _wipe(disk, paths, MIRRORED)
        return Store.open(paths, options, disk=disk, clock=clock)


def _wipe(disk: OsDisk, paths: Paths, tables: Iterable[str]) -> None:
    for table in tables:
        for number in segment_numbers(disk, paths, table):
            disk.remove(paths.segment(table, number))
