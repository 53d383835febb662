"""Posts on their way to the writer: how many wait, and what happens when it goes away."""

import anyio
import pytest

from core.errors import StoreError, Unavailable
from ingest.gex_snapshot import About, parse_snapshot
from tests.fakes import gexbot_made as made
from webui.webhook_relay import ROWS_ON_LOOP_MAX, WAITING_MAX, Post, Relay


class Line:
    """A connection to a writer that answers once it may, or is cut."""

    def __init__(self):
        self.may_answer = anyio.Event()
        self.failure = None
        self.asked = []
        self.is_closed = False

    async def append_prepared(self, table, told, ready):
        self.asked.append((table, ready.rows))
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return [True] * ready.rows

    async def reject(self, rejected):
        self.asked.append(("rejects", len(rejected)))

    def close(self):
        self.is_closed = True


def post(*seconds):
    about = About("uw", made.CLOSE_S * 10**9)
    found = [made.chain(made.OPEN_S + second) for second in seconds]
    return Post({"gex": [parse_snapshot("gex_chain", one, about) for one in found]}, [])


def relay_of(*lines):
    waiting = list(lines)

    async def connect():
        if not waiting:
            raise Unavailable("nothing is writing")
        return waiting.pop(0)

    return Relay(connect)


def test_only_so_many_posts_wait_and_the_next_one_is_refused():
    async def go():
        line = Line()
        relay = relay_of(line)
        async with anyio.create_task_group() as senders:
            for second in range(WAITING_MAX):
                senders.start_soon(relay.offer, post(second))
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Unavailable, match="wait already"):
                await relay.offer(post(0))
            line.may_answer.set()
        await relay.offer(post(0))
        assert len(line.asked) == WAITING_MAX + 1

    anyio.run(go)


def test_posts_cut_off_are_sent_once_more_to_the_writer_that_is_there_now():
    async def go():
        old, new = Line(), Line()
        old.failure = Unavailable("the writer hung up")
        new.may_answer.set()
        relay = relay_of(old, new)
        posts = [post(second) for second in range(3)]
        warm = post(9)
        async with anyio.create_task_group() as senders:
            senders.start_soon(_failing, relay, warm)
            await anyio.wait_all_tasks_blocked()
            for one in posts:
                senders.start_soon(relay.offer, one)
            await anyio.wait_all_tasks_blocked()
            old.may_answer.set()
        assert old.is_closed
        assert [one.new_count for one in posts] == [1, 1, 1]
        assert len(new.asked) == 3

    async def _failing(relay, one):
        with pytest.raises(Unavailable):  # it had only just called
            await relay.offer(one)

    anyio.run(go)


def test_what_the_writer_refuses_is_not_sent_again():
    async def go():
        line = Line()
        line.may_answer.set()
        relay = relay_of(line)
        await relay.offer(post(0))
        line.failure = StoreError("no room")
        with pytest.raises(StoreError, match="no room"):
            await relay.offer(post(1))
        line.failure = None
        await relay.offer(post(2))
        assert (len(line.asked), line.is_closed) == (3, False)
        relay.close()
        assert line.is_closed

    anyio.run(go)


def test_many_rows_are_made_ready_beside_the_loop():
    async def go():
        line = Line()
        line.may_answer.set()
        many = post(*range(ROWS_ON_LOOP_MAX + 1))
        await relay_of(line).offer(many)
        assert many.new_count == ROWS_ON_LOOP_MAX + 1

    anyio.run(go)
