"""Prints from a socket to the tape, beside the vendor's own client, and `latest:` after a burst."""

from typing import Any

import numpy as np

from bench.feed_house import bench_burst
from bench.feed_service import feed_server
from bench.figure import Figure

ROUNDS = 3
ROWS = {10: 400_000, 350: 1_000_000}
SDK_ROWS = 40_000
PACED_RATE = 10_000
PACED_S = 8
BURST_S = 5


def bench_feed(*, quick: bool) -> list[Figure]:
    """Prints a CPU-second at two sizes of frame, the cost and lag of a steady rate, a burst."""
    rounds = 1 if quick else ROUNDS
    part = 4 if quick else 1
    figures = []
    rates: dict[int, float] = {}
    with feed_server() as server:
        for per, rows in ROWS.items():
            ours, theirs = [], []
            for _ in range(rounds):
                ours.append(_rate(server.ours(rows // part, per, 0)))
                if per == 10:
                    theirs.append(_rate(server.theirs(SDK_ROWS // part, per)))
            rates[per] = float(np.median(ours))
            if theirs:
                figures.append(_beside_sdk(per, rates[per], float(np.median(theirs))))
        figures.append(
            Figure(
                "feed, 350 prints a frame, one core",
                rates[350],
                "prints/s",
                200_000.0,
                more_is_better=True,
            )
        )
        paced_rows = PACED_RATE * PACED_S // part
        figures += _paced([server.ours(paced_rows, 10, PACED_RATE) for _ in range(rounds)])
        figures += bench_burst(server, seconds=BURST_S // part or 1)
    return figures


def _beside_sdk(per: int, ours: float, theirs: float) -> Figure:
    return Figure(
        f"feed, {per} prints a frame, a CPU-second",
        ours,
        "prints/s",
        10.0,
        more_is_better=True,
        floor=theirs,
        floor_name="the vendor's client, decoding alone",
    )


def _paced(runs: list[dict[str, Any]]) -> list[Figure]:
    """What a steady rate costs of one core, and how late its prints are seen; medians."""
    return [
        Figure(
            f"feed at {PACED_RATE:,} prints/s, share of a core",
            float(np.median([100 * told["cpu_s"] / told["wall_s"] for told in runs])),
            "%",
            15.0,
            more_is_better=False,
        ),
        Figure(
            f"feed at {PACED_RATE:,} prints/s, sent to visible, p99",
            float(np.median([told["lag_ms_p99"] for told in runs])),
            "ms",
            25.0,
            more_is_better=False,
        ),
    ]


def _rate(told: dict[str, Any]) -> float:
    return float(told["rows"] / told["cpu_s"])
