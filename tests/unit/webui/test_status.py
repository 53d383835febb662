import pytest

from core.board import Board
from core.errors import Unavailable
from core.schema import LOGGED_TABLES
from tests.fakes.manual_clock import OPEN_NS, ManualClock
from tests.fakes.plain_tape import PlainSeqs, PlainTape
from webui.status import SYMBOLS_MAX, gather, is_serving


@pytest.fixture
def boards():
    clock = ManualClock()
    made = [Board(name, clock) for name in ("flight", "ingest")]
    made[1].state("sealer", "degraded", "seal failed, trying again")
    return [board.snapshot() for board in made]


def test_the_gravest_process_speaks_for_all(boards):
    assert gather(boards, PlainTape(), OPEN_NS)["state"] == "degraded"


def test_no_process_at_all_is_down():
    assert gather([], PlainTape(), OPEN_NS)["state"] == "down"


def test_a_symbol_shows_its_last_trade_and_age(boards):
    tape = PlainTape()
    tape.trade("MNQ", 24_916.25, ts_us=OPEN_NS // 1000)
    (row,) = gather(boards, tape, OPEN_NS + 1_500_000_000)["symbols"]
    assert row == {
        "symbol": "MNQ",
        "price": 24_916.25,
        "bid": 24_916.0,
        "ask": None,
        "seq": 1,
        "ts_event": "2026-11-20T14:30:00.000000Z",
        "age_s": 1.5,
    }


def test_a_symbol_without_a_trade_in_memory_is_unknown_and_not_zero(boards):
    tape = PlainTape()
    tape.quiet("VIX")
    (row,) = gather(boards, tape, OPEN_NS)["symbols"]
    assert row["symbol"] == "VIX"
    assert row["price"] is None
    assert row["age_s"] is None


def test_every_table_with_a_log_shows_its_watermarks(boards):
    status = gather(boards, PlainTape(), OPEN_NS)
    assert [row["table"] for row in status["tables"]] == [table.name for table in LOGGED_TABLES]
    assert status["tables"][0] == {"table": "trades", "visible_seq": 12, "durable_seq": 10}


def test_a_store_that_is_not_up_is_a_state_and_not_an_error(boards):
    class Absent(PlainTape):
        def symbols(self) -> list[str]:
            raise Unavailable("no hot data")

        def watermarks(self, table: str) -> PlainSeqs:
            raise Unavailable("no hot data")

    status = gather(boards, Absent(), OPEN_NS)
    assert status["is_stored"] is False
    assert status["symbols"] == status["tables"] == []
    assert len(status["processes"]) == 2


def test_a_table_that_was_never_written_is_left_out(boards):
    class NoQueries(PlainTape):
        def watermarks(self, table: str) -> PlainSeqs:
            if table == "queries":
                raise Unavailable("no hot data")
            return super().watermarks(table)

    status = gather(boards, NoQueries(), OPEN_NS)
    assert "trades" in [row["table"] for row in status["tables"]]
    assert "queries" not in [row["table"] for row in status["tables"]]


def test_the_list_of_symbols_has_an_end(boards):
    tape = PlainTape()
    for number in range(SYMBOLS_MAX + 1):
        tape.quiet(f"S{number:04d}")
    assert len(gather(boards, tape, OPEN_NS)["symbols"]) == SYMBOLS_MAX


def test_serving_needs_every_needed_process_alive(boards):
    assert is_serving(boards, ["ingest", "flight"])
    assert not is_serving(boards, ["ingest", "flight", "web"])
    boards[0]["is_alive"] = False
    assert not is_serving(boards, ["ingest", "flight"])
