"""The door to `deltalake`: one table's log of living files.

It knows versions, files, app transactions and tombstones, and makes a commit survive a power cut.
Where the lake is a bucket it commits there and reads the replica, which it brings up to date. It
refuses to know what a partition means; that is the manifest's business.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from core.errors import LakeError, PipelineError, SealFailed
from core.log import Log
from storage.bucket import fault_of
from storage.lake import Far, Lake, make_folder, sync
from storage.replica import LOG

log = Log("lake")

CHECKPOINT_EVERY = 50  # versions; a start reads at most this many small JSON files
CONFIGURATION = {
    # Tombstones must outlive any grace period, because vacuum reads removal times from them.
    "delta.deletedFileRetentionDuration": "interval 30 days",
    "delta.logRetentionDuration": "interval 30 days",
}


@dataclass(frozen=True, slots=True)
class LogFile:
    """One data file as the log names it; `path` is relative to the table, not encoded."""

    path: str
    bytes: int
    partition: Mapping[str, str | None]
    modified_ms: int
    stats: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Change:
    """What one version does, all or nothing."""

    added: Sequence[LogFile]
    removed: Sequence[LogFile]
    transactions: Mapping[str, int]
    removed_ms: int = 0
    is_rewrite: bool = False  # the same rows in other files


class DeltaLog:
    """The log of one table. Not for two threads at once."""

    def __init__(
        self, lake: Lake, name: str, schema: pa.Schema, partition_by: Sequence[str]
    ) -> None:
        self._lake = lake
        self._name = name
        self._url = str(lake.folder / name)
        self._schema = schema
        self._partition_by = list(partition_by)
        self._folder = lake.folder / name / LOG
        self._table: DeltaTable | None = None
        self._far_table: DeltaTable | None = None

    def fetch(self) -> int:
        """Move to the newest version there is, and return it; raise LakeError."""
        self._lake.pull(self._name)
        return self.refresh()

    def refresh(self) -> int:
        """Move to the newest version on this machine and return it; -1 while there is no table."""
        try:
            if self._table is not None:
                self._table.update_incremental()
            elif self._folder.is_dir():
                self._table = DeltaTable(self._url)
        except TableNotFoundError:
            self._table = None
        return self.version

    @property
    def version(self) -> int:
        """The version last seen."""
        return -1 if self._table is None else int(self._table.version())

    def files(self) -> pa.Table:
        """Living files with statistics, one row each (flat names such as `min.seq`).

        Paths are percent-encoded here, as they stand in the log.
        """
        assert self._table is not None
        return pa.table(self._table.get_add_actions(flatten=True))

    def transactions(self, since: int = -1) -> dict[str, int]:
        """App transactions by id, of versions after `since` up to the version last seen."""
        return {
            str(action["appId"]): int(str(action["version"]))
            for action in self._actions("txn", since)
        }

    def tombstones(self) -> dict[str, int]:
        """Paths of removed files and when they were removed, in milliseconds."""
        return {
            unquote(str(action["path"])): int(str(action["deletionTimestamp"] or 0))
            for action in self._actions("remove", -1)
        }

    def commit(self, change: Change) -> int:
        """Write one version and make it durable; raise SealFailed where another came first."""
        if self._table is None and self.refresh() < 0:
            self._create()
        assert self._table is not None
        before = self.version
        table = self._table if self._lake.far is None else self._far(self._lake.far)
        actions: list[AddAction | RemoveAction] = [
            *(_add(file, is_change=not change.is_rewrite) for file in change.added),
            *(_remove(file, change) for file in change.removed),
        ]
        transactions = [Transaction(key, value) for key, value in change.transactions.items()]
        try:
            table.create_write_transaction(
                actions,
                "append",
                table.schema(),
                self._partition_by,
                commit_properties=CommitProperties(app_transactions=transactions),
                post_commithook_properties=PostCommitHookProperties(
                    create_checkpoint=False, cleanup_expired_logs=False
                ),
            )
        except (DeltaError, OSError) as error:
            raise self._refused(error) from error
        self.fetch()
        self._sync(before)
        if self.version % CHECKPOINT_EVERY == 0:
            self._checkpoint(table)
        return self.version

    def repair(self) -> None:
        """Drop what a power cut tore: an end of the log that was never acknowledged."""
        if not self._folder.is_dir():
            return
        names = sorted(os.listdir(self._folder))
        commits = [name for name in names if name.endswith(".json") and name[:20].isdigit()]
        checkpoints = [name for name in names if name.endswith(".checkpoint.parquet")]
        if commits and not _is_whole_commit(self._folder / commits[-1]):
            self._drop(commits[-1])
        if checkpoints and not _is_whole_parquet(self._folder / checkpoints[-1]):
            self._drop(checkpoints[-1])
            self._drop("_last_checkpoint")
        if not self._hint_is_whole():
            self._drop("_last_checkpoint")

    def _drop(self, name: str) -> None:
        log.warning("log.torn_end_dropped", table=self._url, file=name)
        (self._folder / name).unlink(missing_ok=True)
        self._table = None

    def _hint_is_whole(self) -> bool:
        try:
            self._checkpoint_version()
        except ValueError:
            return False
        return True

    def _create(self) -> None:
        far = self._lake.far
        try:
            if far is None:
                make_folder(self._folder)
            DeltaTable.create(
                self._url if far is None else self._far_url(far),
                self._schema,
                mode="ignore",
                partition_by=self._partition_by,
                configuration=CONFIGURATION,
                storage_options=None if far is None else far.bucket.access.delta_options(),
            )
        except (DeltaError, OSError) as error:
            raise self._refused(error) from error
        self.fetch()
        self._sync(-1)

    def _far(self, far: Far) -> DeltaTable:
        """The table in the bucket, at the version that is known here."""
        try:
            if self._far_table is None:
                options = far.bucket.access.delta_options()
                self._far_table = DeltaTable(self._far_url(far), storage_options=options)
            else:
                self._far_table.update_incremental()
        except (DeltaError, OSError) as error:
            raise self._refused(error) from error
        if self._far_table.version() != self.version:
            raise SealFailed(
                f"the log of {self._far_url(far)} is at version {self._far_table.version()}, "
                f"not at {self.version}",
                hint="nothing is lost; it is tried again",
            )
        return self._far_table

    def _far_url(self, far: Far) -> str:
        return f"{far.bucket.url}/{self._name}"

    def _refused(self, error: Exception) -> PipelineError:
        """What a failed commit leaves as; of a bucket without what the other side said."""
        if self._lake.far is None:
            return SealFailed(f"the log of {self._url} refused a commit: {error}")
        if isinstance(error, OSError):
            return fault_of(self._lake.far.bucket.url, error)
        return SealFailed(
            f"the log of {self._far_url(self._lake.far)} refused a commit: {type(error).__name__}",
            hint="nothing is lost; it is tried again",
        )

    def _checkpoint(self, table: DeltaTable) -> None:
        if self._lake.far is not None:
            try:
                table.update_incremental()
                table.create_checkpoint()
                table.cleanup_metadata()
                self._lake.pull(self._name)
            except (DeltaError, OSError, LakeError) as error:
                # The version stands without it; a later one makes up for it.
                told = error if isinstance(error, LakeError) else self._refused(error)
                log.warning("checkpoint.left_out", table=self._name, error=told)
            return
        table.create_checkpoint()
        name = f"{self.version:020d}.checkpoint.parquet"
        for path in (self._folder / name, self._folder / "_last_checkpoint", self._folder):
            sync(path)
        table.cleanup_metadata()

    def _sync(self, since: int) -> None:
        for version in range(since + 1, self.version + 1):
            sync(self._folder / f"{version:020d}.json")
        sync(self._folder)

    def _actions(self, kind: str, since: int) -> Iterator[dict[str, object]]:
        """One kind of action in log order, from a checkpoint where `since` lies before it.

        A checkpoint newer than the version last seen would tell the future: then we move on to it.
        """
        assert self._table is not None
        checkpoint = self._checkpoint_version()
        if checkpoint > self.version:
            self._table.update_incremental()
        if since < checkpoint:
            since = checkpoint
            rows = pq.read_table(
                self._folder / f"{checkpoint:020d}.checkpoint.parquet", columns=[kind]
            )
            yield from (row for row in rows[kind].to_pylist() if row is not None)
        for version in range(since + 1, self.version + 1):
            for line in (self._folder / f"{version:020d}.json").read_bytes().splitlines():
                action = json.loads(line).get(kind)
                if action is not None:
                    yield action

    def _checkpoint_version(self) -> int:
        try:
            return int(json.loads((self._folder / "_last_checkpoint").read_bytes())["version"])
        except FileNotFoundError:
            return -1


def _add(file: LogFile, *, is_change: bool) -> AddAction:
    return AddAction(
        path=file.path,
        size=file.bytes,
        partition_values=dict(file.partition),
        modification_time=file.modified_ms,
        data_change=is_change,
        stats=json.dumps(file.stats),
    )


def _remove(file: LogFile, change: Change) -> RemoveAction:
    return RemoveAction(
        path=file.path,
        data_change=not change.is_rewrite,
        deletion_timestamp=change.removed_ms,
        size=file.bytes,
        partition_values=dict(file.partition),
    )


def _is_whole_commit(path: Path) -> bool:
    lines = path.read_bytes().splitlines()
    try:
        return bool(lines) and all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False


def _is_whole_parquet(path: Path) -> bool:
    try:
        pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException):
        return False
    return True
