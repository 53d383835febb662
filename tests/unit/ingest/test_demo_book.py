import numpy as np
import pyarrow as pa
import pytest

from core.clock import US_PER_S
from core.schema import BOOK_SAMPLE_US, DEPTH_COMMANDS, TABLES
from ingest import guard
from ingest.book import Book, book_rows
from ingest.demo import DemoMarket
from ingest.demo_book import DemoBook
from tests.unit.ingest.test_demo import START_US

FUTURES = ["MES", "MNQ", "NQ"]


def run(*, seconds=5, step_us=US_PER_S, rate=1_000):
    """Trades, depth batches and book rows of some seconds, asked for step by step."""
    market, book = DemoMarket(7, rate, START_US), DemoBook(7)
    trades, depth, books = [], [], []
    for now_us in range(START_US + step_us, START_US + seconds * US_PER_S + 1, step_us):
        ticks = market.until(now_us)
        more_depth, more_books = book.until(ticks, now_us)
        trades += [batch for batch in ticks if batch.table == "trades"]
        depth += more_depth
        books += more_books
    return trades, depth, books


@pytest.fixture(scope="module")
def told():
    return run()


def of(batches, symbol, name):
    return np.concatenate([b.columns[name] for b in batches if b.symbol == symbol])


def table(books, symbol):
    rows = [b for b in books if b.column("symbol")[0].as_py() == symbol]
    return pa.Table.from_batches(rows)


def times(rows):
    return rows["ts_event"].cast(pa.int64()).to_numpy()


@pytest.mark.parametrize("symbol", FUTURES)
def test_the_book_rebuilt_from_the_depth_rows_is_the_book_told(told, symbol):
    _, depth, books = told
    rebuilt, found = Book(0.25), []
    for batch in (b for b in depth if b.symbol == symbol):
        _, ladders = rebuilt.apply(batch, wants_bests=False)
        found.append(book_rows(ladders, batch, 0.25, 0))
    rows, expected = pa.Table.from_batches(found), table(books, symbol)
    assert rows.num_rows > 40
    for name in ("ts_event", "bid_px", "bid_sz", "ask_px", "ask_sz", "valid", "contract"):
        same = expected[name].slice(0, rows.num_rows).combine_chunks()
        assert rows[name].combine_chunks().to_pylist() == same.to_pylist(), name
    assert rebuilt.is_valid
    anomalies = {count: n for count, n in rebuilt.counts.items() if n and count.value >= 4}
    assert anomalies == {}


@pytest.mark.parametrize("symbol", FUTURES)
def test_each_ladder_stands_at_the_quote_of_the_last_trade_before_it(told, symbol):
    trades, _, books = told
    rows = table(books, symbol)
    at = times(rows)
    assert np.diff(at).tolist() == [BOOK_SAMPLE_US] * (len(at) - 1)
    place = np.searchsorted(of(trades, symbol, "ts_event"), at - 1_000) - 1
    for word in ("bid", "ask"):
        best = np.array([ladder[0] for ladder in rows[f"{word}_px"].to_pylist()])
        assert (best == of(trades, symbol, word)[place]).all()


def test_it_is_the_same_however_often_it_is_asked_for(told):
    _, depth, books = run(step_us=7_000)
    for symbol in FUTURES:
        rows, expected = table(books, symbol), table(told[2], symbol)
        assert rows.num_rows >= expected.num_rows - 1
        for name in ("ts_event", "bid_px", "bid_sz", "ask_px", "ask_sz"):
            cut = expected[name].slice(0, rows.num_rows)
            assert rows[name].to_pylist() == cut.to_pylist(), name
        numbers = of(depth, symbol, "source_seq")
        assert numbers.tolist() == list(range(1, len(numbers) + 1))


def test_its_rows_fit_their_tables_and_pass_the_guard(told):
    _, depth, books = told
    assert {b.symbol for b in depth} == set(FUTURES)
    for batch in depth:
        assert guard.find_faults(batch, START_US + 5 * US_PER_S) is None
        assert set(batch.columns) < set(TABLES["depth"].schema.names)
    assert set(books[0].schema.names) < set(TABLES["book"].schema.names)
    rate = sum(b.rows for b in depth) / 5
    assert 30 < rate < 1_000, "modest beside the trades"


def test_after_a_long_pause_it_goes_on_with_a_bounded_number_of_ladders():
    market, book = DemoMarket(7, 1_000, START_US), DemoBook(7)
    for now_us in (START_US + US_PER_S, START_US + 7_200 * US_PER_S):
        depth, books = book.until(market.until(now_us), now_us)
    assert {b.num_rows for b in books} <= {600, 601}
    clears = of(depth, "MNQ", "command") == DEPTH_COMMANDS.index("clear")
    assert clears.sum() >= 1
