"""Which trades stand: the one rule that bars, `ticks` and every ticket keep to.

A trade stands while it is valid, is no cancel, and no later row revises it. A correction or cancel
takes the place of every earlier row with the same (symbol, contract, source, source_seq), wherever
that row is; a source_seq of 0 is no identity.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.schema import TABLES, TRADES
from storage.manifest import Partition
from storage.partition import read_revising, whole

Ints = NDArray[np.int64]
Identity = tuple[str, str, str, int]  # symbol, contract, source, source_seq
Revisions = dict[Identity, int]  # seq of the newest revision of an identity

COLUMNS = ("seq", "ts_recv", "contract", "source", "source_seq", "kind")
FILES_MAX = 4_096  # sealed files whose revisions are remembered


def revisions_of(trades: pa.Table) -> Revisions:
    """The corrections and cancels among trades, by what they revise."""
    rows = trades.filter(
        pc.and_(pc.not_equal(trades["kind"], "new"), pc.not_equal(trades["source_seq"], 0))
    )
    found: Revisions = {}
    for identity, seq in zip(_identities(rows), whole(rows, "seq").tolist(), strict=True):
        found[identity] = max(seq, found.get(identity, 0))
    return found


def standing(trades: pa.Table, revisions: Revisions | None = None) -> NDArray[np.bool_]:
    """Which trades count: valid, no cancel, and not revised by a later row."""
    keep: NDArray[np.bool_] = trades.column("valid").to_numpy().copy()
    kinds = trades.column("kind")
    if pc.unique(kinds).to_pylist() != ["new"]:
        keep &= pc.not_equal(kinds, "cancel").to_numpy()
        known = revisions_of(trades)
        for identity, seq in (revisions or {}).items():
            known[identity] = max(seq, known.get(identity, 0))
    else:
        known = revisions or {}
    if known:
        numbers = np.array([number for *_, number in known], np.int64)
        suspects = np.flatnonzero(np.isin(whole(trades, "source_seq"), numbers))
        rows = trades.take(suspects)
        seqs = whole(rows, "seq").tolist()
        for i, identity, seq in zip(suspects, _identities(rows), seqs, strict=True):
            keep[i] &= seq >= known.get(identity, 0)
    return keep


def identities(revisions: Collection[Identity]) -> Ints:
    """The source numbers of revised rows."""
    return np.unique(np.array([number for *_, number in revisions], np.int64))


def _identities(rows: pa.Table) -> list[Identity]:
    symbols = rows["symbol"].to_pylist() if "symbol" in rows.column_names else [""] * len(rows)
    told = (rows[name].to_pylist() for name in ("contract", "source", "source_seq"))
    return list(zip(symbols, *told, strict=True))


def standing_rows(batch: pa.RecordBatch, revisions: Revisions) -> pa.RecordBatch:
    """The rows of a batch of trades that stand; all of one symbol."""
    plain = batch.cast(TRADES.plain_schema).drop_columns(["symbol"])
    keep = standing(pa.Table.from_batches([plain]), revisions)
    return batch if keep.all() else batch.filter(pa.array(keep))


class RevisionBook:
    """Revisions of sealed files, which never change, remembered by their path."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, pa.Table] = OrderedDict()

    def revisions(
        self,
        files: Iterable[Partition],
        hot: Iterable[pa.RecordBatch],
        known_at_us: int | None,
    ) -> Revisions | None:
        """What revises trades of one symbol, as far as known at a time; None where nothing does.

        `files` are those of the symbol that hold revisions.
        """
        found = [self._of_file(file) for file in files]
        found += [_revising(pa.Table.from_batches([batch])) for batch in hot]
        if not found:
            return None
        rows = pa.concat_tables(found)
        if known_at_us is not None:
            rows = rows.filter(pc.less_equal(rows["ts_recv"].cast(pa.int64()), known_at_us))
        return revisions_of(rows)

    def _of_file(self, file: Partition) -> pa.Table:
        path = str(file.path)
        with self._lock:
            if path in self._known:
                self._known.move_to_end(path)
                return self._known[path]
        batches = read_revising(file, COLUMNS)
        rows = pa.concat_tables(_revising(pa.Table.from_batches([batch])) for batch in batches)
        with self._lock:
            self._known[path] = rows
            while len(self._known) > FILES_MAX:
                self._known.popitem(last=False)
        return rows


def _revising(rows: pa.Table) -> pa.Table:
    schema = pa.schema([TABLES["trades"].plain_schema.field(name) for name in COLUMNS])
    rows = rows.select(COLUMNS).cast(schema)
    return rows.filter(pc.not_equal(rows["kind"], "new"))
