"""Where the snapshots of a history file wait, in parts, until all of it was found good.

One Arrow stream a quarter of an hour, in a folder of its own; a part is what is in memory at a
time. Nothing here is durable: what a crash leaves is thrown away and made again from the file.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from core.clock import HOUR_US
from core.errors import FeedGarbled
from core.schema import GEX

PART_US = HOUR_US // 4
HOURS_MAX = 72
PARTS_MAX = HOURS_MAX * HOUR_US // PART_US
ROWS_SCHEMA = pa.schema([field for field in GEX.plain_schema if field.name != "seq"])
SUFFIX = ".arrow"


@dataclass(frozen=True, slots=True)
class Part:
    """The snapshots of a quarter of an hour, waiting in a file."""

    path: Path

    def read(self, names: Sequence[str] | None = None) -> pa.RecordBatch:
        """The rows, or some of their columns, in one batch."""
        with pa.memory_map(str(self.path)) as source, pa.ipc.open_stream(source) as stream:
            rows = stream.read_all() if names is None else stream.read_all().select(list(names))
            (batch,) = rows.combine_chunks().to_batches()
            return batch


class SpoolWriter:
    """Sorts batches of snapshots into parts."""

    def __init__(self, folder: Path) -> None:
        remove_spool(folder)
        folder.mkdir(parents=True, mode=0o700)
        self._folder = folder
        self._files: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._sinks: list[pa.OSFile] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Take rows as `ROWS_SCHEMA`; raise FeedGarbled where they span too many hours."""
        rows = rows.select(ROWS_SCHEMA.names).cast(ROWS_SCHEMA)
        places = rows.column("ts_event").cast(pa.int64()).to_numpy() // PART_US
        for place in sorted(set(places.tolist())):
            here = rows if (places == place).all() else rows.filter(pa.array(places == place))
            self._writer(place).write_batch(here)

    def close(self) -> None:
        """Finish every file."""
        for writer in self._files.values():
            writer.close()
        for sink in self._sinks:
            sink.close()

    def _writer(self, place: int) -> pa.ipc.RecordBatchStreamWriter:
        if place not in self._files:
            if len(self._files) == PARTS_MAX:
                raise FeedGarbled(
                    f"expected the snapshots of one day, found more than {HOURS_MAX} hours of them",
                    hint="import one file a day",
                )
            sink = pa.OSFile(str(self._folder / f"{place}{SUFFIX}"), "wb")
            self._sinks.append(sink)
            self._files[place] = pa.ipc.new_stream(sink, ROWS_SCHEMA)
        return self._files[place]


def remove_spool(folder: Path) -> None:
    """Throw a spool away."""
    shutil.rmtree(folder, ignore_errors=True)


def check_name(name: str) -> str:
    """The name of a spool folder, which leads nowhere else; raise FeedGarbled."""
    if not re.fullmatch(r"[0-9a-z][0-9a-z_.-]{0,80}", name) or ".." in name:
        raise FeedGarbled(f"expected the name of a spool folder, found {name[:80]!r}")
    return name


def spooled_parts(folder: Path) -> list[Part]:
    """The parts in a spool folder, in order of time."""
    return [Part(path) for path in sorted(folder.glob(f"*{SUFFIX}"), key=lambda p: int(p.stem))]
