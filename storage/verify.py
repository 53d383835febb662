"""Verification: sealed files are read again and held against the digests they were sealed with.

A full run proves every byte of every living file. A sample proves the bytes of some files and the
values of one row group of each. It reports and changes nothing.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import PartitionCorrupt
from core.schema import TABLES
from storage.digest import prove_file
from storage.lake import Lake
from storage.manifest import Manifest, Partition
from storage.partition import group_rows, read_proven


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not what was sealed."""

    path: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class Score:
    """What a verification found; rows of a file with a fault are all counted as bad."""

    files: int
    checked_rows: int
    bad_rows: int
    faults: tuple[Fault, ...]

    @property
    def good_rows(self) -> int:
        """Rows proven."""
        return self.checked_rows - self.bad_rows

    @property
    def percent(self) -> float:
        """Share of good rows; 100 where there was nothing to check."""
        return 100.0 * self.good_rows / self.checked_rows if self.checked_rows else 100.0


def verify(
    lake: Lake | str,
    *,
    tables: Sequence[str] = tuple(TABLES),
    sample: int | None = None,
    rng: random.Random | None = None,
    tell: Callable[[Partition, str], None] = lambda partition, fault: None,
) -> Score:
    """Check every living file, or `sample` of them chosen by `rng` with one row group each.

    `tell` hears of each file once it is checked, and what is wrong with it: "" where nothing is.
    """
    manifests = {table: Manifest(lake, table) for table in tables}
    living = [p for manifest in manifests.values() for p in manifest.fetch().pruned()]
    if sample is not None:
        assert rng is not None, "a sample needs a source of chance"
        living = rng.sample(living, min(sample, len(living)))
    checked, faults = 0, []
    for partition in living:
        try:
            checked += prove(partition, None if sample is None else rng)
            tell(partition, "")
        except PartitionCorrupt as error:
            if partition.path not in manifests[partition.table].refresh().paths:
                continue  # folded or pruned meanwhile
            tell(partition, error.message)
            faults.append(Fault(partition.path, error.message, partition.rows))
            checked += partition.rows
    return Score(len(living), checked, sum(fault.rows for fault in faults), tuple(faults))


def prove(partition: Partition, rng: random.Random | None = None) -> int:
    """Prove every byte of a file and every value, with `rng` the values of one row group alone.

    A file of a bucket is fetched again for it. Give the rows proven; raise PartitionCorrupt,
    LakeError.
    """
    only = None
    if rng is not None:
        groups = -(-partition.rows // group_rows(TABLES[partition.table]))
        only = [rng.randrange(groups)]
    with _fresh(partition) as path:
        _prove_size(partition, path)
        prove_file(path)
        rows = sum(int(batch.num_rows) for batch in read_proven(path, only=only))
    if only is None and rows != partition.rows:
        raise PartitionCorrupt(f"expected {partition.rows} rows, found {rows}")
    return rows


@contextmanager
def _fresh(partition: Partition) -> Iterator[Path]:
    """The file as the lake has it; one of a bucket is fetched again, and blamed by its own name."""
    lake = partition.lake
    if lake is None:
        yield Path(partition.path)
        return
    with lake.fresh(partition) as path:
        try:
            yield path
        except PartitionCorrupt as error:
            message = error.message.replace(str(path), partition.path)
            raise PartitionCorrupt(message, hint=error.hint) from error


def _prove_size(partition: Partition, path: Path) -> None:
    size = path.stat().st_size if path.exists() else -1
    if size != partition.bytes:
        raise PartitionCorrupt(f"expected {partition.bytes} bytes, found {size} (-1: no file)")
