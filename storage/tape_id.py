"""What tells one tape from all others: on a shared Redis, and in a bucket it writes to."""

import uuid

from storage.disk import Disk
from storage.paths import Paths


def tape_id(paths: Paths, disk: Disk) -> str:
    """The data folder's id; made where it has none."""
    if not paths.tape_id.exists():
        disk.make_folder(paths.root)
        disk.write_whole(paths.tape_id, uuid.uuid4().hex.encode())
    return disk.read(paths.tape_id).decode()
