"""A store with a mirror beside it, and a reader of Redis that checks what it reads."""

import json
import threading
from contextlib import contextmanager, suppress

import polars as pl
import redis

from core.board import Board
from core.clock import SystemClock
from core.schema import TABLES
from storage.bus import Bus
from storage.bus_copy import Copy
from storage.bus_mirror import Mirror, Shared
from storage.copy_store import CopyPlace
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store, StoreOptions
from storage.view import Views
from tests.fakes.deadline import until
from tests.fakes.ticks import trades

CLOCK = SystemClock()
HOUR_MINUTES = 60


def fresh_trades(symbol, count, **columns):
    """Trades received now, so that they belong to the hot hour."""
    now_us = CLOCK.now_ns() // 1_000
    given = {"ts_event": [now_us + n for n in range(count)], "ts_recv": [now_us] * count}
    return trades(symbol, count, **(given | columns))


class SharedTape:
    """The writer's side; `mirroring` is one life of a mirror."""

    def __init__(self, folder, url, tape_id="this tape", **options):
        self.paths = Paths(folder)
        self.lake_url = str(folder / "lake")
        self.url = url
        self.tape_id = tape_id
        self.store = Store.open(self.paths, StoreOptions(**options), disk=OsDisk(), clock=CLOCK)
        self.board = Board("mirror", CLOCK)

    @property
    def views(self):
        return Views(self.paths, self.lake_url)

    @property
    def durable_seq(self):
        return self.store.watermarks("trades").durable_seq

    def trade(self, count=1, symbol="MNQ"):
        self.store.append(fresh_trades(symbol, count))

    @contextmanager
    def mirroring(self, url=None, hot_minutes=HOUR_MINUTES):
        """A mirror in a thread; yields it."""
        views = Views(self.paths, self.lake_url)
        bus = Bus(url or self.url, "mirror")
        mirror = Mirror(views, bus, Shared(self.tape_id, hot_minutes, 20), CLOCK, self.board)
        stopping = threading.Event()
        thread = threading.Thread(target=mirror.run, args=(stopping,))
        thread.start()
        try:
            yield mirror
        finally:
            stopping.set()
            thread.join()

    def part(self):
        return self.board.snapshot()["parts"].get("redis", {"state": "", "detail": ""})

    def wait_mirrored(self, client, table="trades", seconds=20.0):
        """Until Redis has all that is durable; then check it is there once."""
        self.store.commit()
        last_seq = self.store.watermarks(table).durable_seq
        until(lambda: marks_of(client, table).get("last_seq", -1) >= last_seq, seconds)
        check_dense(client, table)

    def close(self):
        self.store.close()


class Follower:
    """A follower in a thread, and a view of what it has."""

    def __init__(self, folder, url, lake_url):
        self.paths = Paths(folder)
        self.board = Board("follow", CLOCK)
        place = CopyPlace(self.paths, lake_url, 20)
        self.copy = Copy(place, Bus(url, "follow"), HOUR_MINUTES, CLOCK, self.board)
        self.copy.start()
        self.views = Views(self.paths, lake_url)

    def seq(self, table="trades"):
        return self.views.hot.watermarks(table).visible_seq

    def part(self):
        return self.board.snapshot()["parts"].get("redis", {"state": "", "detail": ""})

    def rows(self, table, symbol, **options):
        return plain_rows(self.views, table, symbol, **options)


def plain_rows(views, table, symbol, **options):
    """Rows of a scan as a table with plain text, so that two stores can be compared."""
    rows = views.view().scan(table, symbol, **options).read_all()
    return rows.cast(TABLES[table].plain_schema).combine_chunks()


@contextmanager
def following(folder, tape, url=None):
    follower = Follower(folder, url or tape.url, tape.lake_url)
    stopping = threading.Event()
    thread = threading.Thread(target=follower.copy.run, args=(stopping,))
    thread.start()
    try:
        yield follower
    finally:
        stopping.set()
        thread.join()


def marks_of(client, table):
    with suppress(redis.RedisError):
        return json.loads(client.hget("tickflight:tape", table) or "{}")
    return {}


def entries_of(client, table):
    """Every entry of every stream of a table with the marks of the same instant."""
    pipe = client.pipeline()
    pipe.hget("tickflight:tape", table)
    for pattern in (f"tickflight:{table}:*", f"tickflight:log:{table}"):
        for key in client.scan_iter(pattern, _type="stream"):
            pipe.xrange(key)
    marks, *streams = pipe.execute()
    return json.loads(marks), [entry for stream in streams for entry in stream]


def check_dense(client, table="trades"):
    """Every seq between the marks is on Redis exactly once; give the rows by seq."""
    marks, entries = entries_of(client, table)
    frames = []
    for entry_id, fields in entries:
        frame = pl.read_ipc_stream(fields[b"ipc"])
        seqs = frame["seq"].to_list()
        assert entry_id == b"%d-0" % seqs[-1]
        assert [int(fields[name]) for name in (b"first_seq", b"last_seq", b"rows")] == [
            seqs[0],
            seqs[-1],
            len(seqs),
        ]
        frames.append(frame)
    rows = pl.concat(frames).sort("seq") if frames else pl.DataFrame({"seq": []})
    kept = [seq for seq in rows["seq"].to_list() if seq >= marks["first_seq"]]
    assert kept == list(range(marks["first_seq"], marks["last_seq"] + 1))
    assert rows["seq"].n_unique() == len(rows)
    return rows


@contextmanager
def shared_tape(folder, url, **options):
    tape = SharedTape(folder, url, **options)
    try:
        yield tape
    finally:
        tape.close()
