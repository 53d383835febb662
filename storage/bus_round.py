"""A round: the rows that are durable and not yet on Redis, as the commands that put them there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa

from core.schema import TABLES
from storage.bus_entries import Entries, add_plain, live_trades, set_aside
from storage.bus_keys import Marks, stream_key
from storage.bus_latest import NewestSnapshots
from storage.follow import hot_rows
from storage.head import Word
from storage.hot import HotReader


@dataclass(slots=True)
class Round:
    """Commands, and where each table is once Redis has run them.

    `is_last`: nothing more is durable. Live trades of earlier rounds are skipped and counted: who
    listens wants what is new, not an hour that is caught up with.
    """

    adds: list[list[bytes]] = field(default_factory=list)
    lives: list[list[bytes]] = field(default_factory=list)
    marks: dict[str, Marks] = field(default_factory=dict)
    rows: int = 0
    lives_skipped: int = 0
    is_last: bool = True


class Gatherer:
    """Makes rounds. `tops`: what a stream has, where that may be more than the marks say."""

    def __init__(self, hot: HotReader, tops: Mapping[bytes, int], newest: NewestSnapshots) -> None:
        self._hot = hot
        self._tops = tops
        self._newest = newest
        self._entries = Entries(hot.words)

    def gather(self, marks: Mapping[str, Marks], rows_max: int) -> Round | None:
        """At most `rows_max` rows of each table; None where memory lacks some of them."""
        news = Round()
        for table, at in marks.items():
            words = self._hot.table(table).head.words
            durable_seq, version = words[Word.DURABLE_SEQ], words[Word.LAKE_VERSION]
            if durable_seq <= at.last_seq and version == at.lake_version:
                continue
            up_to_seq = min(durable_seq, at.last_seq + rows_max)
            is_last = up_to_seq == durable_seq
            symbols = set(at.symbols)
            for symbol in symbols_of(self._hot, table):
                rows = self._add(news, table, symbol, (at.last_seq, up_to_seq), is_last=is_last)
                if rows is None:
                    return None
                if rows:
                    symbols.add(symbol)
            news.marks[table] = Marks(at.first_seq, up_to_seq, version, tuple(sorted(symbols)))
            news.rows += up_to_seq - at.last_seq
            news.is_last = news.is_last and is_last
        return news

    def _add(
        self, news: Round, table: str, symbol: str, seqs: tuple[int, int], *, is_last: bool
    ) -> int | None:
        """Add a symbol's rows to a round and give how many; None where memory lacks some."""
        after_seq = max(seqs[0], self._tops.get(stream_key(table, symbol), 0))
        if after_seq >= seqs[1]:
            return 0
        if not symbol:
            return self._add_slow(news, table, after_seq, seqs[1])
        parts = hot_rows(self._hot, table, symbol, after_seq=after_seq, up_to_seq=seqs[1])
        if parts is None:
            return None
        for part in parts:
            news.adds.append(self._entries.add(table, symbol, part))
            if table == "trades" and is_last:
                news.lives += live_trades(symbol, part)
            elif table == "trades":
                news.lives_skipped += part.batch.num_rows
        return int(sum(part.batch.num_rows for part in parts))

    def _add_slow(self, news: Round, table: str, after_seq: int, up_to_seq: int) -> int:
        """Add rows of a slow table; numbers that memory lacks are those of rows in the lake."""
        batches = self._hot.plain(table, after_seq=after_seq, up_to_seq=up_to_seq)
        next_seq = after_seq + 1
        for rows in chain.from_iterable(without_holes(batch) for batch in batches):
            first_seq = rows.column("seq")[0].as_py()
            if first_seq > next_seq:
                news.adds.append(set_aside(table, next_seq, first_seq - 1))
            news.adds.append(add_plain(table, rows))
            next_seq = first_seq + rows.num_rows
            if table == "gex":
                self._newest.note(rows)
        if next_seq <= up_to_seq:
            news.adds.append(set_aside(table, next_seq, up_to_seq))
        return up_to_seq - after_seq


def symbols_of(hot: HotReader, table: str) -> list[str]:
    """Whose streams a table has: every hot symbol, or "" where one stream holds all."""
    return hot.symbols(table) if TABLES[table].is_fast else [""]


def without_holes(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut rows wherever their seqs do not follow each other."""
    cuts = np.flatnonzero(np.diff(batch.column("seq").to_numpy()) != 1) + 1
    for first, end in pairwise([0, *cuts.tolist(), batch.num_rows]):
        yield batch.slice(first, end - first)
