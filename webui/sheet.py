"""What a page shows, as flat cells: the server writes them into the HTML and sends them again.

One name, one value, one place that computes it. `t` is text and `x` its exact value where that is
shortened, `s` a state, `a` the moment (epoch ms) an age counts from, `g` the path of a small graph,
`b` a bar of beats, `r` rows of a table. Pages and frames are made of the same sheet, so what is
streamed can never differ from what was first painted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TypedDict

from webui.words import MILLION, format_count

BEAT_STEP = 4  # pixels a beat takes, one of them blank
SPARK_HEIGHT = 20
RUN = re.compile(r"(\d+)(\D)")


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
    x: dict[str, str] = field(default_factory=dict)
    s: dict[str, str] = field(default_factory=dict)
    a: dict[str, int | None] = field(default_factory=dict)
    g: dict[str, str] = field(default_factory=dict)
    b: dict[str, str] = field(default_factory=dict)
    r: dict[str, Sequence[Row]] = field(default_factory=dict)

    def count(self, name: str, value: float | None) -> None:
        """Write a number of things; a great one is shortened and told exactly beside."""
        self.t[name] = format_count(value)
        if value is not None and value >= MILLION:
            self.x[name] = f"{value:,.0f}"

    def merge(self, other: "Sheet") -> "Sheet":
        """Cells of both."""
        return Sheet(
            {**self.t, **other.t},
            {**self.x, **other.x},
            {**self.s, **other.s},
            {**self.a, **other.a},
            {**self.g, **other.g},
            {**self.b, **other.b},
            {**self.r, **other.r},
        )

    def as_dict(self) -> dict[str, Mapping[str, object]]:
        """The cells that are not empty."""
        kinds: dict[str, Mapping[str, object]] = {
            "t": self.t,
            "x": self.x,
            "s": self.s,
            "a": self.a,
            "g": self.g,
            "b": self.b,
            "r": self.r,
        }
        return {name: cells for name, cells in kinds.items() if cells}


def runs_of(beats: str) -> str:
    """A bar of beats, one character a beat and the oldest first, as runs: ooox is 3o1x."""
    return "".join(f"{len(list(run))}{mark}" for mark, run in groupby(beats))


def beat_paths(runs: str) -> dict[str, str]:
    """One path a state for a bar of beats; a dash pattern cuts its strokes into beats."""
    paths: dict[str, str] = {}
    at = 0
    for count, mark in RUN.findall(runs):
        end = at + int(count)
        paths[mark] = f"{paths.get(mark, '')}M{at * BEAT_STEP} 5H{end * BEAT_STEP}"
        at = end
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
