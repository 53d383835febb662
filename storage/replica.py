"""The logs of a lake in a bucket, kept again on this machine, so that readers read a folder.

A version is never changed once it is there, so what was pulled stays right; it may only be behind.
Files are written aside and renamed, and a checkpoint comes before what names it: a reader in
another process never sees a log that cannot be opened.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from core.log import Log
from storage.bucket import Bucket
from storage.disk import OsDisk

log = Log("lake")
LOG = "_delta_log"
HINT = "_last_checkpoint"
VERSIONS_KEPT: Final = 1_000  # before the newest checkpoint, for readers that look seldom
_NAME = re.compile(r"(\d{20})\.(json|checkpoint\.parquet)")


def pull(bucket: Bucket, folder: Path, table: str) -> bool:
    """Bring what is new of a table's log; whether there was any. Raise LakeError."""
    ours, prefix = folder / table / LOG, f"{table}/{LOG}/"
    newest = newest_version(ours)
    after = f"{prefix}{newest:020d}" if newest >= 0 else ""
    there = {key.removeprefix(prefix): size for key, size in bucket.list(prefix, after).items()}
    oldest = min((_version(name) for name in there if name.endswith(".json")), default=newest)
    news = sorted(
        name
        for name, size in there.items()
        if _NAME.fullmatch(name) and not _has(ours / name, size)
    )
    if not news:
        return False
    checkpoint = -1
    if HINT in there and any(not name.endswith(".json") for name in news):
        checkpoint = _told_checkpoint(bucket, prefix)
    if newest < 0 or oldest > newest + 1:
        # Nothing of it is here, or what came in between is gone: from the checkpoint on.
        news = [name for name in news if _version(name) >= checkpoint]
    disk = OsDisk()
    disk.make_folder(ours)
    # The hint of a checkpoint before any later version: without it a hole would end the log.
    for name in [n for n in news if not n.endswith(".json")]:
        disk.write_whole(ours / name, bucket.get(prefix + name))
    if checkpoint >= 0 and (ours / f"{checkpoint:020d}.checkpoint.parquet").exists():
        disk.write_whole(ours / HINT, bucket.get(prefix + HINT))
        _forget(ours, checkpoint - VERSIONS_KEPT)
    for name in [n for n in news if n.endswith(".json")]:
        disk.write_whole(ours / name, bucket.get(prefix + name))
    return True


def newest_version(folder: Path) -> int:
    """The newest version kept in a log's folder, -1 where there is none."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return -1
    return max((_version(name) for name in names if name.endswith(".json")), default=-1)


def _told_checkpoint(bucket: Bucket, prefix: str) -> int:
    told: Mapping[str, object] = json.loads(bucket.get(prefix + HINT))
    return int(str(told["version"]))


def _version(name: str) -> int:
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else -1


def _has(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _forget(folder: Path, before: int) -> None:
    for name in os.listdir(folder):
        if 0 <= _version(name) < before:
            (folder / name).unlink(missing_ok=True)
