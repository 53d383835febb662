"""A round: the rows that are durable and not yet on Redis, as the commands that put them there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa

from core.schema import TABLES
from storage.bus_entries import Entries, add_plain, set_aside
from storage.bus_keys import Marks, NewEntry
from storage.bus_latest import NewestSnapshots
from storage.head import Word
from storage.hot import HotReader
from storage.mapped import Span

MERGED_ROWS_MAX = 64
Tops = Mapping[str, Mapping[str, int]]


@dataclass(slots=True)
class Round:
    """Entries and live trades, and where each table is once Redis has them.

    `is_last`: nothing more is durable. Live trades of earlier rounds are skipped and counted: who
    listens wants what is new, not an hour that is caught up with.
    """

    entries: list[NewEntry] = field(default_factory=list)
    lives: list[tuple[str, Span]] = field(default_factory=list)
    marks: dict[str, Marks] = field(default_factory=dict)
    rows: int = 0
    lives_skipped: int = 0
    is_last: bool = True


class Gatherer:
    """Makes rounds. `tops`: what each symbol's stream has, which may be more than the marks say."""

    def __init__(self, hot: HotReader, tops: Tops, newest: NewestSnapshots) -> None:
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
            seqs = (at.last_seq, up_to_seq)
            if TABLES[table].is_fast:
                named = self._add_fast(news, table, seqs, is_last=is_last)
                if named is None:
                    return None
            else:
                named = self._add_slow(news, table, seqs)
            symbols = tuple(sorted({*at.symbols, *named}))
            news.marks[table] = Marks(at.first_seq, up_to_seq, version, symbols)
            news.rows += up_to_seq - at.last_seq
            news.is_last = news.is_last and is_last
        return news

    def _add_fast(
        self, news: Round, table: str, seqs: tuple[int, int], *, is_last: bool
    ) -> list[str] | None:
        """Add rows and name the symbols that had any; None where memory lacks some."""
        found = self._hot.spans(table, *seqs, self._tops.get(table, {}))
        if found is None:
            return None
        for symbol, spans in found.items():
            for span in spans:
                news.entries.append(self._entries.add(table, symbol, span))
                if table == "trades" and is_last:
                    news.lives.append((symbol, span))
                elif table == "trades":
                    news.lives_skipped += span.end - span.first
        return [symbol for symbol, spans in found.items() if spans]

    def _add_slow(self, news: Round, table: str, seqs: tuple[int, int]) -> list[str]:
        """Add rows of a slow table; numbers that memory lacks are those of rows in the lake."""
        after_seq, up_to_seq = max(seqs[0], self._tops.get(table, {}).get("", 0)), seqs[1]
        batches = self._hot.plain(table, after_seq=after_seq, up_to_seq=up_to_seq)
        if 1 < sum(batch.num_rows for batch in batches) <= MERGED_ROWS_MAX:
            batches = [pa.concat_batches(batches)]  # one entry, not one for each append
        next_seq = after_seq + 1
        for rows in chain.from_iterable(without_holes(batch) for batch in batches):
            first_seq = rows.column("seq")[0].as_py()
            if first_seq > next_seq:
                news.entries.append(set_aside(table, next_seq, first_seq - 1))
            news.entries.append(add_plain(table, rows))
            next_seq = first_seq + rows.num_rows
            if table == "gex":
                self._newest.note(rows)
        if next_seq <= up_to_seq:
            news.entries.append(set_aside(table, next_seq, up_to_seq))
        return [""]


def symbols_of(hot: HotReader, table: str) -> list[str]:
    """Whose streams a table has: every hot symbol, or "" where one stream holds all."""
    return hot.symbols(table) if TABLES[table].is_fast else [""]


def without_holes(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut rows wherever their seqs do not follow each other."""
    cuts = np.flatnonzero(np.diff(batch.column("seq").to_numpy()) != 1) + 1
    for first, end in pairwise([0, *cuts.tolist(), batch.num_rows]):
        yield batch.slice(first, end - first)
