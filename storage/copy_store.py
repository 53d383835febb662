"""A folder that is the copy of another server's tape: where it is, and what marks it."""

from dataclasses import dataclass

from core.errors import SettingsError
from storage.disk import OsDisk
from storage.lake import Lake
from storage.paths import Paths


@dataclass(frozen=True, slots=True)
class CopyPlace:
    """Where a copy is kept, the lake it shares, and its longest wait before rows are durable."""

    paths: Paths
    lake: Lake | str
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
