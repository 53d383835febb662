"""`latest:` over Flight, with keys and audit, beside an empty call on an idle bare server."""

import numpy as np
from numpy.typing import NDArray
from pyarrow import flight

from bench.figure import Figure
from bench.house import House, floor_server, running_house
from core.clock import NS_PER_MS, NS_PER_S, NS_PER_US, SystemClock

CALLS = 5_000
ROUNDS = 3
WARM_CALLS = 300
TRADE_WAIT_S = 60
IDLE_RATE = 6
TICKET = flight.Ticket(b"latest:MNQ")
EMPTY = flight.Action("nothing", b"")
CLOCK = SystemClock()


def bench_latest(*, quick: bool) -> list[Figure]:
    """p50 and p99 against the floor at 10,000 ticks/s; p99 at 100,000 against p99 idle."""
    calls = CALLS // (5 if quick else 1)
    figures: list[Figure] = []
    p99_by_rate: dict[int, float] = {}
    with floor_server() as floor:
        for rate in (IDLE_RATE, 10_000, 100_000):
            with running_house(rate) as house:
                ours, bare = interleaved(house, floor, calls)
            p99_by_rate[rate] = ours[1] / bare[1]
            if rate == 10_000:
                figures += [
                    _figure("latest p50, 10,000 ticks/s", ours[0], bare[0], 1.75),
                    _figure("latest p99, 10,000 ticks/s", ours[1], bare[1], 1.8),
                    Figure(
                        "latest p99, 10,000 ticks/s",
                        ours[1] / (NS_PER_MS / NS_PER_US),
                        "ms",
                        10.0,
                        more_is_better=False,
                    ),
                ]
    # Both sides over their own floor, since the machine drifts from one start to the next.
    figures.append(
        Figure(
            "latest p99 at 100,000 ticks/s over idle",
            p99_by_rate[100_000],
            "x floor",
            1.1,
            more_is_better=False,
            floor=p99_by_rate[IDLE_RATE],
            floor_name="p99 over its floor at 6 ticks/s",
        )
    )
    return figures


def _figure(name: str, value_us: float, floor_us: float, goal: float) -> Figure:
    return Figure(
        name,
        value_us,
        "us",
        goal,
        more_is_better=False,
        floor=floor_us,
        floor_name="empty call, idle bare server",
    )


def interleaved(
    house: House, floor: flight.FlightClient, calls: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """(p50, p99) in us of ours and of the floor, call by call in turn; medians over rounds."""
    rounds = []
    _wait_for_a_trade(house)
    for _ in range(WARM_CALLS):
        _ask(house)
        list(floor.do_action(EMPTY))
    for _ in range(ROUNDS):
        ours, bare = in_turn(house, floor, calls)
        rounds.append([*np.percentile(ours, [50, 99]), *np.percentile(bare, [50, 99])])
    our_p50, our_p99, bare_p50, bare_p99 = np.median(rounds, axis=0)
    return (float(our_p50), float(our_p99)), (float(bare_p50), float(bare_p99))


def in_turn(
    house: House, floor: flight.FlightClient, calls: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each of our calls took in us, and each of the floor's, asked by turns."""
    ours, bare = np.zeros(calls), np.zeros(calls)
    for call in range(calls):
        started_ns = CLOCK.monotonic_ns()
        list(floor.do_action(EMPTY))
        between_ns = CLOCK.monotonic_ns()
        _ask(house)
        ended_ns = CLOCK.monotonic_ns()
        bare[call] = (between_ns - started_ns) / NS_PER_US
        ours[call] = (ended_ns - between_ns) / NS_PER_US
    return ours, bare


def _ask(house: House) -> None:
    reader = house.client.do_get(TICKET, house.options)
    batch = reader.read_chunk().data
    assert batch.num_rows == 1


def _wait_for_a_trade(house: House) -> None:
    deadline_ns = CLOCK.monotonic_ns() + TRADE_WAIT_S * NS_PER_S
    while house.client.do_get(TICKET, house.options).read_all().num_rows == 0:
        assert CLOCK.monotonic_ns() < deadline_ns, "the demo market does not trade"
        CLOCK.sleep_s(0.1)
