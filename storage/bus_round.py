"""A round: the rows that are durable and not yet on Redis, as the commands that put them there."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.schema import TABLES
from storage.bus_entries import (
    Newest,
    add_entry,
    last_trade,
    live_trades,
    newest_trade,
    snapshots,
)
from storage.bus_keys import Marks, stream_key
from storage.follow import hot_rows
from storage.head import Word
from storage.hot import HotReader
from storage.reader import HotSlice

GEX_ROWS_LOOKED_AT = 256


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


class NewestBook:
    """The newest trade of each symbol and snapshot of each kind, and which were not told yet."""

    def __init__(self) -> None:
        self._known: dict[bytes, Newest] = {}
        self._unsaid: dict[bytes, Newest] = {}

    @classmethod
    def of(cls, hot: HotReader) -> "NewestBook":
        """What is newest now; all of it durable is yet to be told."""
        book = cls()
        durable_seq = hot.watermarks("trades").durable_seq
        for symbol in hot.symbols("trades"):
            row = hot.latest(symbol)
            if row is not None and row.column("seq")[0].as_py() <= durable_seq:
                found = last_trade(symbol, row, 0)
                book.note(found.command[1], found)
        durable_seq = hot.watermarks("gex").durable_seq
        after_seq = durable_seq - GEX_ROWS_LOOKED_AT
        for part in hot.slices("gex", "", after_seq=after_seq, up_to_seq=durable_seq):
            book.note_snapshots(part)
        return book

    def note(self, key: bytes, found: Newest) -> None:
        """Keep it where it is as new as what is known."""
        known = self._known.get(key)
        if known is None or found.time_ns >= known.time_ns:
            self._known[key] = self._unsaid[key] = found

    def note_snapshots(self, part: HotSlice) -> None:
        """The same for rows of table gex."""
        for (key, name), found in snapshots(part).items():
            self.note(key + b" " + name, found)

    def unsaid(self) -> list[list[bytes]]:
        """Commands that tell what is new."""
        return [found.command for found in self._unsaid.values()]

    def said(self) -> None:
        """They were run."""
        self._unsaid.clear()


def symbols_of(hot: HotReader, table: str) -> list[str]:
    """Whose streams a table has: every hot symbol, or "" where one stream holds all."""
    return hot.symbols(table) if TABLES[table].is_fast else [""]


def gather(
    hot: HotReader,
    marks: Mapping[str, Marks],
    tops: Mapping[bytes, int],
    newest: NewestBook,
    rows_max: int,
) -> Round | None:
    """At most `rows_max` rows of each table; None where memory lacks some of them.

    `tops`: the last seq each stream has, where that may be more than the marks say.
    """
    news = Round()
    for table, at in marks.items():
        words = hot.table(table).head.words
        durable_seq, version = words[Word.DURABLE_SEQ], words[Word.LAKE_VERSION]
        if durable_seq <= at.last_seq and version == at.lake_version:
            continue
        up_to_seq = min(durable_seq, at.last_seq + rows_max)
        is_last = up_to_seq == durable_seq
        symbols = set(at.symbols)
        for symbol in symbols_of(hot, table):
            after_seq = max(at.last_seq, tops.get(stream_key(table, symbol), 0))
            if after_seq >= up_to_seq:
                continue
            parts = hot_rows(hot, table, symbol, after_seq=after_seq, up_to_seq=up_to_seq)
            if parts is None:
                return None
            if parts:
                symbols.add(symbol)
            for part in parts:
                news.adds.append(add_entry(table, symbol, part))
                _note(news, newest, table, symbol, part, is_last=is_last)
        news.marks[table] = Marks(at.first_seq, up_to_seq, version, tuple(sorted(symbols)))
        news.rows += up_to_seq - at.last_seq
        news.is_last = news.is_last and is_last
    return news


def _note(
    news: Round, newest: NewestBook, table: str, symbol: str, part: HotSlice, *, is_last: bool
) -> None:
    if table == "gex":
        newest.note_snapshots(part)
    elif table == "trades":
        found = newest_trade(symbol, part)
        if found is not None:
            newest.note(found.command[1], found)
        if is_last:
            news.lives += live_trades(symbol, part)
        else:
            news.lives_skipped += part.batch.num_rows
