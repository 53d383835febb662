"""What the tape already holds of a source, so that nothing is taken in twice."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.view import Views


class StoredNumbers:
    """Numbers and times of stored rows."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def source_seqs(
        self, table: str, symbol: str, contract: str, source: str, start_us: int, end_us: int
    ) -> NDArray[np.int64]:
        """`source_seq` of the rows in [start_us, end_us), repeated as often as stored."""
        reader = self._views.view().scan(table, symbol, start_us=start_us, end_us=end_us)
        found = [np.zeros(0, np.int64)]
        for batch in reader:
            same = pc.and_(
                pc.equal(batch.column("contract").cast("string"), contract),
                pc.equal(batch.column("source").cast("string"), source),
            )
            found.append(batch.column("source_seq").filter(same).to_numpy())
        return np.concatenate(found)

    def rows_max(self, table: str, symbol: str, start_us: int, end_us: int) -> int:
        """At most how many rows are in [start_us, end_us)."""
        return self._views.view().estimate(table, symbol, start_us=start_us, end_us=end_us)[0]

    def times(
        self, table: str, symbol: str, contract: str, start_us: int, end_us: int
    ) -> NDArray[np.int64]:
        """`ts_event` of the rows in [start_us, end_us), rising."""
        found = [np.zeros(0, np.int64)]
        for batch in self._views.view().scan(table, symbol, start_us=start_us, end_us=end_us):
            is_ours = pc.equal(batch.column("contract").cast("string"), contract)
            times = batch.column("ts_event").cast("int64")
            found.append(times.filter(is_ours).to_numpy())
        return np.sort(np.concatenate(found))


def column_values(column: pa.ChunkedArray) -> NDArray[np.generic]:
    """A column of stored rows as a batch has it: times as int64 microseconds, text as objects."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: NDArray[np.generic] = column.combine_chunks().to_numpy(zero_copy_only=False)
    return values
