"""A tape in memory that is sink and memory of what exists at once."""

import numpy as np


class MemoryTape:
    """Keeps batches and rejects; `is_blind` hides what came after the last `settle`."""

    def __init__(self, *, is_blind=False):
        self.batches = []
        self.rejects = []
        self.slow = {}
        self.sealed = []
        self.asked = []
        self._is_blind = is_blind
        self._settled = 0

    def append(self, batch, /):
        assert batch.rows > 0
        self.batches.append(batch)

    def reject(self, rejected, /):
        assert rejected
        self.rejects += rejected

    def append_rows(self, table, rows, /):
        self.slow.setdefault(table, []).append(rows)

    @property
    def seals_apart(self):
        return False

    def seal(self, symbols, /):
        self.sealed.append(symbols)

    def rows_max(self, table, symbol, start_us, end_us):
        times = [
            b.columns["ts_event"] for b in self.batches if (b.table, b.symbol) == (table, symbol)
        ]
        return sum(int(((at >= start_us) & (at < end_us)).sum()) for at in times)

    def times(self, table, symbol, contract, start_us, end_us):
        found = [np.empty(0, np.int64)]
        for rows in self.slow.get(table, []):
            times = rows.column("ts_event").cast("int64").to_numpy()
            found.append(times[(times >= start_us) & (times < end_us)])
        return np.sort(np.concatenate(found))

    def settle(self):
        self._settled = len(self.batches)

    def source_seqs(self, table, symbol, contract, source, start_us, end_us):
        self.asked.append((symbol, contract, source, start_us, end_us))
        seen = self.batches[: self._settled] if self._is_blind else self.batches
        found = [np.empty(0, np.int64)]
        for batch in seen:
            name = (batch.table, batch.symbol, batch.contract, batch.source)
            if name == (table, symbol, contract, source):
                times = batch.columns["ts_event"]
                found.append(batch.columns["source_seq"][(times >= start_us) & (times < end_us)])
        return np.concatenate(found)

    @property
    def rows(self):
        return sum(batch.rows for batch in self.batches)

    def column(self, name):
        return [value for batch in self.batches for value in batch.columns[name].tolist()]
