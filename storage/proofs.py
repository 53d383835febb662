"""When each sealed file was last verified, every byte of it, and how it came out.

One JSON object a line, appended by whoever verified; the last line of a file counts. It is worth
only the time it took: without it files are verified again.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

BYTES_MAX: Final = 4 << 20  # longer, and what is told again or of files that are gone is dropped


@dataclass(frozen=True, slots=True)
class Proof:
    """One verification of a whole file; `fault` is empty where every byte was as sealed."""

    path: str
    at_ns: int
    fault: str = ""


class Proofs:
    """The file of one data folder; several processes may write."""

    def __init__(self, path: Path, *, bytes_max: int = BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max

    def read(self) -> dict[str, Proof]:
        """The last proof of every file, by `Partition.path`."""
        try:
            return _parsed(self._path.read_bytes())
        except FileNotFoundError:
            return {}

    def note(self, proofs: Sequence[Proof]) -> None:
        """Keep what was found."""
        with self._opened() as fd:
            lines, size = b"".join(_line(proof) for proof in proofs), os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a power cut tore the last line
            if size + len(lines) > self._bytes_max:
                known = _parsed(os.pread(fd, size, 0)).values()
                kept = [_line(proof) for proof in known if os.path.exists(proof.path)]
                os.ftruncate(fd, 0)
                lines = b"".join(kept) + lines
            os.write(fd, lines)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)


def _line(proof: Proof) -> bytes:
    return json.dumps(asdict(proof)).encode() + b"\n"


def _parsed(raw: bytes) -> dict[str, Proof]:
    found: dict[str, Proof] = {}
    for line in raw.splitlines():
        try:
            proof = Proof(**json.loads(line))
        except (ValueError, TypeError):
            continue  # the torn last line of a power cut
        found[proof.path] = proof
    return found
