"""Table `services`: every part of every process, how it is, since when, and when it last said so.

What a part says of itself in words is left out: it may name machines and folders.
"""

from collections.abc import Callable

import pyarrow as pa

from core.board import read_boards
from core.clock import NS_PER_US, Clock
from core.schema import TIME
from storage.paths import Paths

SERVICES = pa.schema(
    [
        ("process", pa.utf8()),
        ("part", pa.utf8()),
        ("state", pa.utf8()),
        ("since", TIME),
        ("ts_recv", TIME),
    ]
)
Services = Callable[[int | None], pa.Table]


def services_of(paths: Paths, clock: Clock) -> Services:
    """What gives the table; parts that spoke after `known_at_us` are left out."""

    def services(known_at_us: int | None) -> pa.Table:
        rows = [
            (
                board["process"],
                name,
                part["state"],
                part["since_ns"] // NS_PER_US,
                part["seen_ns"] // NS_PER_US,
            )
            for board in read_boards(paths.run, clock.now_ns())
            for name, part in board["parts"].items()
            if known_at_us is None or part["seen_ns"] // NS_PER_US <= known_at_us
        ]
        columns = list(zip(*rows, strict=True)) or [()] * len(SERVICES)
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, SERVICES, strict=True)
        ]
        return pa.table(arrays, schema=SERVICES)

    return services
