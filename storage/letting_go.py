"""Memory is let go of by whole segments: those that are sealed and older than the hot time."""

from collections.abc import Mapping

from core.log import Log
from core.schema import TABLES
from storage.hot import HotReader
from storage.store import Store

log = Log("keeper")


def let_go(
    store: Store, hot: HotReader, table: str, sealed_seq: Mapping[str, int], oldest_us: int
) -> None:
    """Drop the oldest segments whose rows are all sealed and older than `oldest_us`."""
    while (segment := hot.table(table).oldest()) is not None:
        is_sealed = all(
            seq <= sealed_seq.get(symbol if TABLES[table].by_symbol else "", 0)
            for symbol, seq in segment.last_seqs.items()
        )
        if not is_sealed or segment.newest_us >= oldest_us:
            return
        if not store.drop_segment(table, segment.number):
            return
        log.info("segment.dropped", table=table, number=segment.number)
