"""The book just before any moment, asked of the query worker, against a book of dicts."""

import random

import numpy as np
import pytest

from core.errors import BadTicket
from flight_server.book_at import book_question
from flight_server.ticket_kinds import BookAt, Span
from flight_server.tickets import parse_ticket
from ingest.depth import DepthNaming, decode, open_depth
from storage.query import QueryLimits, QueryService
from tests.fakes.depth_writer import STEM, PairOptions, clear, depth, make_pair
from tests.fakes.plain_book import PlainBook
from tests.fakes.scid_writer import reader_of
from tests.fakes.sierra_house import DAY, NAME, NOON_US, sierra_house

ES = DepthNaming("ES", "ESH24", 100, DAY)
LIMITS = QueryLimits(seconds=20, rows=10_000, bytes=10_000_000, memory_bytes=1 << 30)
NOW_NS = (NOON_US + 86_400_000_000) * 1_000
LEVELS = 6


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A file with a hole on the tape, its rows, and who answers."""
    root = tmp_path_factory.mktemp("book")
    options = PairOptions(start_us=NOON_US, events=1_500, snapshot_s=40, hole_s=(60, 75))
    records = make_pair(3, options).depth
    raw = depth(*records)
    with sierra_house(root) as house:
        (root / "Sierra" / "Data" / "MarketDepthData" / NAME).write_bytes(raw)
        house.poll()
        service = QueryService(house.store.paths, str(root / "lake"), LIMITS, lanes=1)
        service.start()
        try:
            yield open_depth(reader_of(raw), len(raw), STEM), service
        finally:
            service.stop()


def told(service, at_us, levels=LEVELS):
    ask = parse_ticket(f"book:ES?at={at_us * 1_000}&levels={levels}".encode(), now_ns=NOW_NS)
    return service.run(book_question(ask)).read_all().to_pylist()


def plain(file, at_us):
    """The book of dicts after the whole batches before a moment; None before the first."""
    batch = decode(file.read(0, file.records), 0, ES, NOON_US).batch
    ends = (batch.columns["ts_event"] < at_us) & batch.columns["end_of_batch"]
    if not ends.any():
        return None
    book = PlainBook()
    book.apply(batch.take(slice(0, int(np.flatnonzero(ends)[-1]) + 1)))
    return book


def test_at_any_moment_it_is_the_book_of_the_whole_batches_before(scene):
    file, service = scene
    times = decode(file.read(0, file.records), 0, ES, NOON_US).batch.columns["ts_event"]
    rng = random.Random(1)
    moments = [rng.randint(int(times[0]), int(times[-1]) + 1_000) for _ in range(25)]
    moments += [int(times[0]) + 1, NOON_US + 65_000_000, int(times[-1]) + 1]
    for at_us in moments:
        (row,), book = told(service, at_us), plain(file, at_us)
        for side in ("bid", "ask"):
            pairs = list(zip(row[f"{side}_px"], row[f"{side}_sz"], strict=True))
            assert pairs == book.top(side, LEVELS), at_us
        assert row["valid"] == book.is_valid
        assert (row["symbol"], row["contract"], row["source"]) == ("ES", "ESH24", "sierra")


def test_before_the_first_row_there_is_no_book(scene):
    assert told(scene[1], NOON_US - 1) == []


def test_a_snapshot_that_is_still_being_written_does_not_count_yet(tmp_path):
    with sierra_house(tmp_path) as house:
        records = make_pair(3, PairOptions(start_us=NOON_US, events=5)).depth
        half = [clear(NOON_US + 10_000_000, end=False), *records[1:4]]
        path = tmp_path / "Sierra" / "Data" / "MarketDepthData" / NAME
        path.write_bytes(depth(*records, *half))
        house.poll(20)
        service = QueryService(house.store.paths, str(tmp_path / "lake"), LIMITS, lanes=1)
        service.start()
        try:
            (row,) = told(service, NOON_US + 20_000_000)
        finally:
            service.stop()
        assert row["valid"]
        assert len(row["bid_px"]) == LEVELS


def test_the_ticket_names_a_moment_or_now_and_how_many_levels():
    at_ns = NOON_US * 1_000
    assert parse_ticket(b"book:ES?at=%d" % at_ns, now_ns=NOW_NS) == BookAt("ES", at_ns, 10, Span())
    assert parse_ticket(b"book:es?levels=50", now_ns=NOW_NS) == BookAt("ES", NOW_NS, 50, Span())
    for words in (b"at=%d&start=%d" % (at_ns, at_ns), b"levels=0", b"levels=1001", b"at=yesterday"):
        with pytest.raises(BadTicket):
            parse_ticket(b"book:ES?" + words, now_ns=NOW_NS)
