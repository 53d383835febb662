"""Whether this machine's clock is off, from what proves it on the boards. Pure.

A price that comes late may have been delayed, so it proves nothing; one that comes before its time
proves that our clock is slow. What servers say the time is proves both ways, see
`ingest.clock_proof`.
"""

from collections.abc import Iterator, Sequence

from core.board import BoardStatus
from core.clock import NS_PER_S
from webui.words import format_age

SKEW_S_MAX = 1
PROOF_S_MAX = 600  # older ones may be of a clock that was set since
LAG_GAUGE = "dxlink.lag_ms."
ERROR_GAUGE = "clock.error_s."
TOLD_GAUGE = "clock.told_s."


def clock_fault(boards: Sequence[BoardStatus]) -> tuple[str, str] | None:
    """(what is wrong, by whom it is proven) of the greatest fault; None where there is none."""
    found = [(abs(error_s), error_s, witness) for error_s, witness in _errors(boards)]
    size_s, error_s, witness = max(found, default=(0.0, 0.0, ""))
    if size_s <= SKEW_S_MAX:
        return None
    word, side = ("fast", "ahead of") if error_s > 0 else ("slow", "behind")
    told = f"at least {format_age(size_s)} {side} the server of {witness}"
    if not witness:
        told = f"live prices come {format_age(size_s)} before they happened"
    return f"Clock is {word}", f"{told}, limit {SKEW_S_MAX} s"


def _errors(boards: Sequence[BoardStatus]) -> Iterator[tuple[float, str]]:
    """(seconds ahead, who proves it); "" for prices."""
    for board in boards:
        for name, value in board["gauges"].items():
            if name.startswith(ERROR_GAUGE):
                witness = name.removeprefix(ERROR_GAUGE)
                told_s = board["gauges"].get(TOLD_GAUGE + witness, 0.0)
                if abs(board["stamp_ns"] / NS_PER_S - told_s) <= PROOF_S_MAX:
                    yield value, witness
            elif name.startswith(LAG_GAUGE):
                yield min(value / 1_000, 0.0), ""
