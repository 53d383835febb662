"""What both of Sierra Chart's feeds work with: which files are ours, and where rows go."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from core.board import Board
from core.clock import NS_PER_S, NS_PER_US, Clock
from core.errors import FeedGarbled
from core.session import session_at
from ingest.contract import Contract, front_contract, parse_stem
from ingest.patient import PatientStore
from ingest.sierra_file import RecordFile
from ingest.sierra_tape import SierraTape
from ingest.tail import Kind
from ingest.taking import Existing

QUARTERLY = frozenset({"ES", "MES", "NQ", "MNQ", "RTY", "M2K", "YM", "MYM"})


@dataclass(frozen=True, slots=True)
class SierraPlace:
    """The store, what it holds, the board and the clock; `roots` empty means all."""

    store: PatientStore
    tape: SierraTape
    existing: Existing
    board: Board
    clock: Clock
    roots: frozenset[str]

    def now_us(self) -> int:
        """Wall time in microseconds."""
        return self.clock.now_ns() // NS_PER_US

    def contract_of(self, stem: str, day: date | None = None) -> Contract | None:
        """The contract a file's stem names; None where it is not to be followed.

        Of quarterly index futures only the front contract is, so that one symbol is one market;
        other contracts are for the importer.
        """
        today = datetime.fromtimestamp(self.clock.now_ns() // NS_PER_S, UTC).date()
        try:
            about = parse_stem(stem, day or today)
        except FeedGarbled:
            return None
        if self.roots and about.root not in self.roots:
            return None
        if about.is_future and about.root in QUARTERLY:
            return about if about == front_contract(about.root, day or today) else None
        return about

    def is_market_open(self) -> bool:
        """Whether Globex trades now."""
        return session_at(self.clock.now_ns(), "cme") != "closed"


@contextmanager
def opened(path: Path, kind: Kind) -> Iterator[RecordFile | None]:
    """A file as it is now, its header proven; None while it has none. Raise FeedGarbled."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        read_at = partial(os.pread, descriptor)
        head: Any = read_at(kind.format.header_bytes, 0)
        is_there = len(head) == kind.format.header_bytes and any(head)
        yield kind.prove(read_at, size, path.name) if is_there else None
    finally:
        os.close(descriptor)
