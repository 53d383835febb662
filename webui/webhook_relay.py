"""From the webhooks to the writer: each post goes to it at once, made ready to be stored.

A post is answered when its rows are stored and visible, and not before. How many may wait for that
is bounded; when the writer is away or too many wait, a post is refused and its sender tries again.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
import anyio.to_thread

from core.batch import Rejected
from core.errors import PipelineError, Unavailable
from core.log import Log
from ingest.gex_mould import Moulds
from ingest.gex_ready import ready_rows
from ingest.gex_uw import Row
from storage.prepared import Prepared

log = Log("webhooks")
WAITING_MAX = 500
ROWS_ON_LOOP_MAX = 16  # about a third of a millisecond each


class Writer(Protocol):
    """The writer's intake as the webhooks use it."""

    async def append_prepared(
        self, table: str, told: Sequence[Sequence[object]], ready: Prepared
    ) -> list[bool | None]:
        """Store rows; say of each whether it was new, None if it was refused."""

    async def reject(self, rejected: list[Rejected]) -> None:
        """Keep refused rows."""

    def close(self) -> None:
        """Hang up."""


@dataclass(eq=False, slots=True)
class Post:
    """Rows by table and what is kept raw; when it is stored, also how many rows were what."""

    rows: dict[str, list[Row]]
    rejected: list[Rejected]
    new_count: int = 0
    refused_count: int = 0

    @property
    def row_count(self) -> int:
        """Rows of all tables."""
        return sum(len(rows) for rows in self.rows.values())

    @property
    def duplicate_count(self) -> int:
        """Rows that were stored before."""
        return self.row_count - self.new_count - self.refused_count


class Relay:
    """Hands posts to the writer; `offer` may be called from any task of one loop."""

    def __init__(self, connect: Callable[[], Awaitable[Writer]]) -> None:
        self._connect = connect
        self._connecting = anyio.Lock()
        self._writer: Writer | None = None
        self._waiting_count = 0
        self._moulds = Moulds()

    async def offer(self, post: Post) -> None:
        """Have a post stored; raise Unavailable or what the writer says."""
        if self._waiting_count >= WAITING_MAX:
            raise Unavailable(f"{WAITING_MAX} posts wait already", hint="post again")
        self._waiting_count += 1
        try:
            await self._store(post)
        except PipelineError as error:
            log.warning("post.not_stored", why=error.message)
            raise
        finally:
            self._waiting_count -= 1

    def close(self) -> None:
        """Hang up; posts that wait are refused."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _store(self, post: Post) -> None:
        """Store a post; a writer that hung up since the last time is called once more."""
        known = self._writer
        if known is not None:
            try:
                await _hand_over(post, known, self._moulds)
                return
            except Unavailable:
                if self._writer is known:
                    self.close()
        await _hand_over(post, await self._called(), self._moulds)

    async def _called(self) -> Writer:
        async with self._connecting:
            if self._writer is None:
                self._writer = await self._connect()
            return self._writer


async def _hand_over(post: Post, writer: Writer, moulds: Moulds) -> None:
    counts: Counter[bool | None] = Counter()
    for table, rows in post.rows.items():
        if len(rows) <= ROWS_ON_LOOP_MAX:
            told, ready = ready_rows(table, rows, moulds)
        else:  # so that the loop does not stand still
            told, ready = await anyio.to_thread.run_sync(ready_rows, table, rows, moulds)
        counts.update(await writer.append_prepared(table, told, ready))
    if post.rejected:
        await writer.reject(post.rejected)
    post.new_count, post.refused_count = counts[True], counts[None]
