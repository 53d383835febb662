"""Opening what a process writes: the store of a tape or of a copy, and the keeper of a tape.

What the lake holds already is asked here, once a start.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from core.clock import Clock
from core.errors import LakeLost, LakeRefused, SettingsError, WalCorrupt
from core.log import Log
from core.schema import LOGGED_TABLES, TABLES
from core.settings import Settings
from storage.bus_keys import MIRRORED
from storage.copy_store import CopyPlace, check_is_no_copy
from storage.disk import OsDisk
from storage.keeper import Keeper, KeeperOptions
from storage.lake import lake_of, pull_at_start
from storage.manifest import Manifest
from storage.paths import Paths
from storage.recovery import segment_numbers
from storage.seal import Sealer
from storage.store import Store, StoreOptions

log = Log("store")


def open_store(settings: Settings, clock: Clock) -> Store:
    """Open the store of a data folder, knowing what the lake already holds."""
    paths = Paths(settings.data_dir)
    with _usable(paths):
        check_is_no_copy(paths)
    lake = lake_of(settings)
    pull_at_start(lake, list(TABLES))
    snapshots = {t.name: Manifest(lake, t.name).snapshot() for t in LOGGED_TABLES}
    sealed = {
        name: max(snapshot.last_seq, *snapshot.sealed_seq.values(), 0)
        for name, snapshot in snapshots.items()
    }
    options = StoreOptions(
        commit_ms=settings.number("COMMIT_MS"),
        sealed_seqs=sealed,
        newest_sealed_us=snapshots["trades"].newest_us(),
    )
    with _usable(paths):
        return Store.open(paths, options, disk=OsDisk(), clock=clock)


@contextmanager
def _usable(paths: Paths) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"the data folder {paths.root} cannot be used: {error.strerror or error}",
            hint="give a folder of a local disk that this user may write to: DATA_DIR, --data-dir",
        ) from error


def open_keeper(settings: Settings, store: Store, clock: Clock) -> Keeper:
    """The keeper of an open store; the lake is recovered first, or once its bucket answers.

    Raise SettingsError where the bucket refuses us.
    """
    lake = lake_of(settings)
    sealer = Sealer(lake, clock)
    is_recovered = True
    try:
        sealer.recover()
    except LakeRefused as error:
        raise SettingsError(f"LAKE_URL: {error.message}", hint=error.hint) from error
    except LakeLost as error:
        log.warning("bucket.away", error=error.message)
        is_recovered = False
    options = KeeperOptions(
        hot_minutes=settings.number("HOT_MINUTES"),
        retention_days=settings.number("RETENTION_DAYS"),
        is_recovered=is_recovered,
    )
    return Keeper(store, sealer, lake, options, clock)


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
        newest_sealed_us=Manifest(place.lake, "trades").snapshot().newest_us(),
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
