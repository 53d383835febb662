"""What the tape already holds of a source, so that nothing is taken in twice."""

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.view import Views


class StoredNumbers:
    """The `source_seq` of stored rows."""

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
