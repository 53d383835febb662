"""What the Flight server needs from whoever answers SQL, and what it tells them."""

from collections.abc import Callable
from typing import Protocol

import pyarrow as pa

from core.errors import Unavailable
from storage.query import Question


class Queries(Protocol):
    """Runs one read-only statement at a time over hot and cold rows as one."""

    def run(
        self, question: Question, *, is_cancelled: Callable[[], bool] = ...
    ) -> pa.RecordBatchReader:
        """The rows; closing or dropping the reader ends the query."""

    def describe(self, question: Question) -> pa.Schema:
        """The columns an answer would have."""


def describe_with(queries: Queries | None) -> Callable[[Question], pa.Schema]:
    """How to learn an answer's columns; raise Unavailable where no SQL is answered."""
    if queries is None:
        raise Unavailable("SQL is not answered by this server", hint="use ticks: or tail: instead")
    return queries.describe
