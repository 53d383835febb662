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
ROUNDS = 5
CLOCK = SystemClock()


def bench_stream(*, quick: bool) -> list[Figure]:
    """Bytes a second of one symbol's hot rows by ticket and by SQL."""
    rows = ROWS // (8 if quick else 1)
    with running_house(1) as house, floor_server() as floor:
        start_us = CLOCK.now_ns() // NS_PER_US - rows
        _fill(house, rows, start_us)
        ticket = f"ticks:BENCH?start={start_us * NS_PER_US}"
        sql = "SELECT * FROM trades WHERE symbol = 'BENCH'"
        table = house.client.do_get(flight.Ticket(ticket.encode()), house.options).read_all()
        assert table.num_rows == rows, table.num_rows
        put, _ = floor.do_put(flight.FlightDescriptor.for_path("x"), table.schema)
        for batch in table.to_batches():
            put.write_batch(batch)
        put.close()
        del table
        rates: dict[str, list[float]] = {"bare": [], "ticket": [], "sql": []}
        for _ in range(ROUNDS):
            rates["bare"].append(_rate(floor, b"", None, rows))
            rates["ticket"].append(_rate(house.client, ticket.encode(), house.options, rows))
            rates["sql"].append(_rate(house.client, sql.encode(), house.options, rows))
    bare = float(np.median(rates["bare"]))
    return [
        _figure(f"stream of {rows:,} hot trades by ticket", rates["ticket"], bare, 0.95),
        _figure(f"stream of {rows:,} hot trades by SQL", rates["sql"], bare, 0.5),
    ]


def _fill(house: House, rows: int, start_us: int) -> None:
    """Give the writer trades of one symbol, a microsecond apart."""
    intake = IntakeClient(Paths(house.data_dir))
    for first in range(0, rows, PUT_ROWS):
        intake.append(make_trades("BENCH", min(PUT_ROWS, rows - first), start_us + first))
    intake.close()


def _rate(
    client: flight.FlightClient, ticket: bytes, options: flight.FlightCallOptions | None, rows: int
) -> float:
    """Bytes a second, read batch by batch and let go."""
    started_ns = CLOCK.monotonic_ns()
    seen_rows = seen_bytes = 0
    for chunk in client.do_get(flight.Ticket(ticket), options):
        seen_rows += chunk.data.num_rows
        seen_bytes += chunk.data.nbytes
    seconds = (CLOCK.monotonic_ns() - started_ns) / NS_PER_S
    assert seen_rows == rows, (seen_rows, rows)
    return seen_rows / seconds


def _figure(name: str, rates: list[float], bare: float, goal: float) -> Figure:
    return Figure(
        name,
        float(np.median(rates)),
        "rows/s",
        goal,
        more_is_better=True,
        floor=bare,
        floor_name="bare server, same batches from memory",
    )
