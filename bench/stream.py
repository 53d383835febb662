"""A range of trades streamed to a client, beside a bare server streaming the same from memory."""

import numpy as np
from pyarrow import flight

from bench.figure import Figure
from bench.house import House, floor_server, running_house
from bench.ingest import make_trades
from core.clock import NS_PER_S, NS_PER_US, SystemClock
from storage.intake import IntakeClient
from storage.paths import Paths

ROWS = 4_000_000
PUT_ROWS = 65_536
ROUNDS = 21
CLOCK = SystemClock()


def bench_stream(*, quick: bool) -> list[Figure]:
    """Rows a second of one symbol's hot rows by ticket and by SQL, each beside its own batches."""
    rows = ROWS // (8 if quick else 1)
    figures = []
    with running_house(1) as house:
        start_us = CLOCK.now_ns() // NS_PER_US - rows
        _fill(house, rows, start_us)
        asked = {
            "ticket": (f"ticks:BENCH?start={start_us * NS_PER_US}", 0.95),
            "SQL": ("SELECT * FROM trades WHERE symbol = 'BENCH'", 0.5),
        }
        for way, (ticket, goal) in asked.items():
            ours, bare = _beside(house, ticket.encode(), rows)
            figures.append(
                Figure(
                    f"stream of {rows:,} hot trades by {way}",
                    ours,
                    "rows/s",
                    goal,
                    more_is_better=True,
                    floor=bare,
                    floor_name="bare server, same batches from memory",
                )
            )
    return figures


def _beside(house: House, ticket: bytes, rows: int) -> tuple[float, float]:
    """Medians of ours and of a bare server that holds the very batches of our answer."""
    with floor_server() as floor:
        answer = house.client.do_get(flight.Ticket(ticket), house.options).read_all()
        put, _ = floor.do_put(flight.FlightDescriptor.for_path("x"), answer.schema)
        for batch in answer.to_batches():
            put.write_batch(batch)
        put.close()
        del answer
        ours, bare = [], []
        for _ in range(ROUNDS):
            bare.append(_rate(floor, b"", None, rows))
            ours.append(_rate(house.client, ticket, house.options, rows))
    return float(np.median(ours)), float(np.median(bare))


def _fill(house: House, rows: int, start_us: int) -> None:
    """Give the writer trades of one symbol, a microsecond apart."""
    intake = IntakeClient(Paths(house.data_dir))
    for first in range(0, rows, PUT_ROWS):
        intake.append(make_trades("BENCH", min(PUT_ROWS, rows - first), start_us + first))
    intake.close()


def _rate(
    client: flight.FlightClient, ticket: bytes, options: flight.FlightCallOptions | None, rows: int
) -> float:
    """Rows a second, read batch by batch and let go."""
    started_ns = CLOCK.monotonic_ns()
    seen_rows = 0
    for chunk in client.do_get(flight.Ticket(ticket), options):
        seen_rows += chunk.data.num_rows
    seconds = (CLOCK.monotonic_ns() - started_ns) / NS_PER_S
    assert seen_rows == rows, (seen_rows, rows)
    return seen_rows / seconds
