"""What a page shows, as flat cells: the server writes them into the HTML and sends them again.

One name, one value, one place that computes it. `t` is text, `s` a state, `a` the moment (epoch ms)
an age counts from, `g` the path of a small graph, `r` rows of a table. Pages and frames are made of
the same sheet, so what is streamed can never differ from what was first painted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypedDict

BEAT_STEP = 4  # pixels a beat takes, one of them blank
SPARK_HEIGHT = 20


class Row(TypedDict, total=False):
    """A line of a table: cells in order; a number is a moment in epoch ms."""

    key: str
    cells: Sequence[str | int | None]
    state: str
    link: str
    title: str


@dataclass(slots=True)
class Sheet:
    """The cells of one topic."""

    t: dict[str, str] = field(default_factory=dict)
    s: dict[str, str] = field(default_factory=dict)
    a: dict[str, int | None] = field(default_factory=dict)
    g: dict[str, str] = field(default_factory=dict)
    r: dict[str, Sequence[Row]] = field(default_factory=dict)

    def merge(self, other: "Sheet") -> "Sheet":
        """Cells of both."""
        return Sheet(
            {**self.t, **other.t},
            {**self.s, **other.s},
            {**self.a, **other.a},
            {**self.g, **other.g},
            {**self.r, **other.r},
        )

    def as_dict(self) -> dict[str, Mapping[str, object]]:
        """The cells that are not empty."""
        kinds: dict[str, Mapping[str, object]] = {
            "t": self.t,
            "s": self.s,
            "a": self.a,
            "g": self.g,
            "r": self.r,
        }
        return {name: cells for name, cells in kinds.items() if cells}


def beat_paths(beats: str, states: str) -> dict[str, str]:
    """One path a state for a bar of beats, runs of equal beats as one stroke.

    `beats` holds one character a beat, oldest first; a dash pattern cuts the strokes into beats.
    """
    paths = dict.fromkeys(states, "")
    start = 0
    for i in range(1, len(beats) + 1):
        if i == len(beats) or beats[i] != beats[start]:
            if beats[start] in paths:
                paths[beats[start]] += f"M{start * BEAT_STEP} 5H{i * BEAT_STEP}"
            start = i
    return paths


def spark_path(values: Sequence[float], top_min: float = 1e-9) -> str:
    """A line over the values, a pixel each, the greatest at the top, zero at the bottom.

    The top is `top_min` where all are below it.

    Steps are relative, since they are sent again and again.
    """
    if not values:
        return ""
    top = max(*values, top_min)
    heights = [SPARK_HEIGHT - 1 - round(v / top * (SPARK_HEIGHT - 3)) for v in values]
    steps = "".join(f" 1 {after - before}" for before, after in pairwise(heights))
    return f"M0 {heights[0]}l{steps[1:]}" if steps else ""
