"""What a measurement says, and how it is shown."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """Two sides in one unit, and the goal their ratio (or the value) is held against.

    `floor` is None where the goal is absolute; then `value` itself is compared.
    """

    name: str
    value: float
    unit: str
    goal: float
    more_is_better: bool
    floor: float | None = None
    floor_name: str = ""

    @property
    def measured(self) -> float:
        """What is held against the goal."""
        return self.value if self.floor is None else self.value / self.floor

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached."""
        return self.measured >= self.goal if self.more_is_better else self.measured <= self.goal

    def line(self) -> str:
        """One line for people: the ratio first, then both sides."""
        sign = ">=" if self.more_is_better else "<="
        mark = "met   " if self.is_met else "MISSED"
        goal = f"goal {sign} {self.goal:,.4g}"
        if self.floor is None:
            return f"{mark} {self.name:<46} {self.value:>14,.4g} {self.unit:<9} {goal}"
        return (
            f"{mark} {self.name:<46} {self.measured:>13.3f}x {'':<9} {goal}"
            f"   ({self.value:,.4g} {self.unit} against {self.floor:,.4g}: {self.floor_name})"
        )

    def as_json(self) -> dict[str, object]:
        """Everything, for machines."""
        return {**asdict(self), "measured": self.measured, "is_met": self.is_met}
