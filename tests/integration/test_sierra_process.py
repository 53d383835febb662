"""A whole server beside Sierra Chart's folder: what grows in a file is answered to a client."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyarrow import flight

from core.board import read_boards
from core.clock import NS_PER_S, SystemClock
from ingest.contract import front_contract
from storage.paths import Paths
from tests.conftest import RunningServer, tickflight
from tests.fakes.deadline import until
from tests.fakes.depth_writer import depth, record, snapshot

TICK_RAW = 25


def test_a_growing_depth_file_is_answered_as_book_and_depth(
    tmp_path: Path, start_server: Callable[..., RunningServer]
) -> None:
    clock = SystemClock()
    now_us = clock.now_ns() // 1_000
    today = datetime.fromtimestamp(clock.now_ns() // NS_PER_S, UTC).date()
    contract = front_contract("MNQ", today).contract
    folder = tmp_path / "Sierra" / "Data" / "MarketDepthData"
    folder.mkdir(parents=True)
    path = folder / f"{contract}_FUT_CME.{today.isoformat()}.depth"
    levels = ({100_000: 5, 99_999: 8}, {100_001: 6})
    records = snapshot(now_us - 2_000_000, *levels, raw_per_tick=TICK_RAW)
    path.write_bytes(depth(*records))
    (tmp_path / ".env").write_text(f"SIERRA_DIR={tmp_path / 'Sierra'}\n")
    key = tickflight(tmp_path, "key", "create", "bot", "--scope", "read").split()[-1]
    server = start_server()
    client = flight.connect(server.flight_url)
    options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + key.encode())])

    def ask(ticket: str) -> list[dict[str, Any]]:
        try:
            rows = client.do_get(flight.Ticket(ticket.encode()), options).read_all()
        except flight.FlightError as error:
            if b"unknown_symbol" not in (error.extra_info or b""):
                raise
            return []
        found: list[dict[str, Any]] = rows.to_pylist()
        return found

    (book,) = until(lambda: ask("book:MNQ"), 60)
    assert book["contract"] == contract
    assert (book["bid_px"][:2], book["bid_sz"][:2]) == ([25_000.0, 24_999.75], [5, 8])
    late_us = clock.now_ns() // 1_000
    with path.open("ab") as file:
        file.write(record(late_us, "modify_ask", 100_001 * TICK_RAW, 9))
    until(lambda: len(ask("depth:MNQ")) == len(records) + 1, 20)
    (whole,) = ask(f"book:MNQ?at={(late_us + 1_000) * 1_000}&levels=3")
    assert (whole["ask_px"], whole["ask_sz"], whole["valid"]) == ([25_000.25], [9], True)
    boards = read_boards(Paths(server.data_dir).run, clock.now_ns())
    (ingest,) = [board for board in boards if board["process"] == "ingest"]
    assert contract in ingest["parts"]["sierra depth"]["detail"]
    assert ingest["gauges"]["sierra.depth.files"] == 1
    client.close()
