"""From the webhooks to the writer: posts that come while one is being stored go together.

A post is answered when its rows are stored and visible, and not before. What waits is bounded; when
the writer is away or too many wait, the post is refused and its sender tries again.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread
import pyarrow as pa

from core.batch import Rejected
from core.errors import PipelineError, Unavailable
from core.log import Log
from ingest.gex_columns import rows_batch
from ingest.gex_snapshot import gex_batch
from ingest.gex_uw import Row

log = Log("webhooks")
WAITING_MAX = 500
ROWS_TOGETHER_MAX = 2_000
ROWS_ON_LOOP_MAX = 16  # about a third of a millisecond each


class Writer(Protocol):
    """The writer's intake as the webhooks use it."""

    async def append_rows(self, table: str, rows: pa.RecordBatch) -> list[bool | None]:
        """Store rows; say of each whether it was new, None if it was refused."""

    async def reject(self, rejected: list[Rejected]) -> None:
        """Keep refused rows."""

    async def close(self) -> None:
        """Hang up."""


@dataclass(eq=False, slots=True)
class Post:
    """Rows by table and what is kept raw; after `stored` is set, what was new, or what failed."""

    rows: dict[str, list[Row]]
    rejected: list[Rejected]
    stored: anyio.Event = field(default_factory=anyio.Event)
    new_count: int = 0
    refused_count: int = 0
    failure: PipelineError | None = None

    @property
    def row_count(self) -> int:
        """Rows of all tables."""
        return sum(len(rows) for rows in self.rows.values())

    @property
    def duplicate_count(self) -> int:
        """Rows that were stored before."""
        return self.row_count - self.new_count - self.refused_count


class Relay:
    """Hands posts to the writer from one task; `offer` may be called from any task."""

    def __init__(self, connect: Callable[[], Awaitable[Writer]]) -> None:
        self._connect = connect
        self._writer: Writer | None = None
        self._send, self._receive = anyio.create_memory_object_stream[Post](WAITING_MAX)

    async def offer(self, post: Post) -> None:
        """Have a post stored; raise Unavailable or what the writer says."""
        try:
            self._send.send_nowait(post)
        except (anyio.WouldBlock, anyio.BrokenResourceError) as error:
            raise Unavailable(f"{WAITING_MAX} posts wait already", hint="post again") from error
        await post.stored.wait()
        if post.failure is not None:
            raise post.failure

    async def run(self) -> None:
        """Store what is offered, until cancelled; then it is over for good."""
        try:
            while True:
                posts = [await self._receive.receive()]
                rows = posts[0].row_count
                with suppress(anyio.WouldBlock):
                    while rows < ROWS_TOGETHER_MAX:
                        posts.append(self._receive.receive_nowait())
                        rows += posts[-1].row_count
                await self._store(posts)
                for post in posts:
                    post.stored.set()
        finally:
            self._send.close()
            self._receive.close()
            if self._writer is not None:
                await self._writer.close()

    async def _store(self, posts: Sequence[Post]) -> None:
        """Store posts; a writer that hung up since the last time is called once more."""
        for is_last in (self._writer is None, True):
            try:
                await self._store_once(posts)
                return
            except PipelineError as error:
                if self._writer is not None:
                    await self._writer.close()
                    self._writer = None
                if is_last or not error.retry:
                    for post in posts:
                        post.failure = error
                    log.warning("posts.not_stored", posts=len(posts), why=error.message)
                    return

    async def _store_once(self, posts: Sequence[Post]) -> None:
        if self._writer is None:
            self._writer = await self._connect()
        counts: list[Counter[bool | None]] = [Counter() for _ in posts]
        for table in dict.fromkeys(table for post in posts for table in post.rows):
            owners = [i for i, post in enumerate(posts) for _ in post.rows.get(table, ())]
            rows = [row for post in posts for row in post.rows.get(table, ())]
            batch = await _batch(table, rows)
            is_new = await self._writer.append_rows(table, batch)
            for owner, fresh in zip(owners, is_new, strict=True):
                counts[owner][fresh] += 1
        rejected = [row for post in posts for row in post.rejected]
        if rejected:
            await self._writer.reject(rejected)
        for post, count in zip(posts, counts, strict=True):
            post.new_count, post.refused_count = count[True], count[None]


async def _batch(table: str, rows: list[Row]) -> pa.RecordBatch:
    """Rows as columns; many of them elsewhere, so that the loop does not stand still."""
    make = gex_batch if table == "gex" else partial(rows_batch, table)
    if len(rows) <= ROWS_ON_LOOP_MAX:
        return make(rows)
    return await anyio.to_thread.run_sync(make, rows)
