"""What the doctor tells of one thing."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: fine, off (not configured) or wrong, and what to do about it."""

    state: Literal["fine", "off", "wrong"]
    about: str
    told: str
