"""A tape in memory and a feed running against a fake server, held against the truth."""

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from core.board import Board
from core.errors import FeedLost
from ingest.backfill import Backfills
from ingest.drift import Drift
from ingest.dxlink_client import PART, Access, Timing
from ingest.dxlink_columns import SOURCE, content_of, event_us
from ingest.dxlink_feed import Periods, run
from ingest.dxlink_keeper import Place
from ingest.dxlink_known import Stored
from ingest.dxlink_line import Patience
from ingest.gapbook import Gap
from ingest.rolls import Instrument
from tests.fakes.deadline import until

MNQ = Instrument("MNQ", "MNQZ26", "/MNQZ26:XCME", "cme")
SPY = Instrument("SPY", "SPY", "SPY", "nyse")
FAST = Periods(
    Timing(
        keepalive_s=0.05,
        opening_s=5,
        backoff_min_s=0.005,
        backoff_max_s=0.02,
        logins_s=0.0,
        overlap_s=0.02,
    ),
    Patience(retry_s=0.0),
    gather_s=0.001,
)


class MemoryPlace:
    """Store, ledger and tape in one; it outlives the feeds that write to it."""

    def __init__(self):
        self.batches = []
        self.gap_rows = []
        self.quote_gap_rows = []
        self.checks = []
        self.rejects = []
        self.failures = []  # raised by the next takes
        self.drift = Drift()

    def take(self, batch):
        if self.failures:
            raise self.failures.pop(0)
        plain = {
            "valid": np.ones(batch.rows, np.bool_),
            "kind": np.full(batch.rows, "new", object),
            "source_seq": np.zeros(batch.rows, np.int64),
        }
        self.batches.append(replace(batch, columns={**plain, **batch.columns}))
        return batch.rows

    def append_rows(self, table, rows):
        if table == "spot_checks":
            self.checks += rows
        else:
            assert table == "gaps"
            of_quotes = [row for row in rows if row["table_name"] == "quotes"]
            self.quote_gap_rows += of_quotes
            self.gap_rows += [row for row in rows if row not in of_quotes]
        return 1

    def reject(self, rejected):
        self.rejects += rejected

    def commit(self):
        pass

    def last_us(self, symbol, contract):
        times = self._column(contract, "ts_event")
        return int(times.max()) if len(times) else None

    def stored(self, symbol, contract, start_us, end_us):
        times = self._column(contract, "ts_event")
        rows = (times >= start_us) & (times < end_us)
        content = content_of(
            self._column(contract, "price", np.float64)[rows],
            self._column(contract, "size")[rows],
            self._column(contract, "valid", np.bool_)[rows],
            self._column(contract, "kind", object)[rows],
        )
        return Stored(self._column(contract, "source_seq")[rows], content)

    def copies(self, symbol, contract, start_us, end_us):
        return []  # nobody else writes here

    def open_gaps(self, table):
        if table == "quotes":
            return []
        return [
            Gap(
                row["gap_id"],
                row["symbol"],
                row["reason"].split(":")[0],
                row["from_ts"],
                None,
                row["reason"].partition(": ")[2],
            )
            for row in self.gaps()
            if row["state"] == "open"
        ]

    def gaps(self, contract=""):
        """The last word on each gap."""
        last = {row["gap_id"]: row for row in self.gap_rows}
        return [row for row in last.values() if row["reason"].startswith(contract)]

    def states(self):
        return sorted(row["state"] for row in self.gaps())

    def identities(self, contract):
        rows = []
        for batch in self.trades(contract):  # whole batches: the feed may be adding one right now
            columns = [batch.columns[name] for name in ("source_seq", "price", "size", "valid")]
            rows += zip(*(column.tolist() for column in columns), strict=True)
        return rows

    def kinds(self, contract):
        return self._column(contract, "kind", object).tolist()

    def trades(self, contract):
        return [b for b in self.batches if b.table == "trades" and b.contract == contract]

    def _column(self, contract, name, dtype=np.int64):
        found = [batch.columns[name] for batch in self.trades(contract)]
        return np.concatenate(found) if found else np.empty(0, dtype)


def lies(place, tape, instruments=(MNQ, SPY)):
    """What is wrong with the tape: rows too many, and rows missing that no gap accounts for."""
    wrong = []
    for about in instruments:
        stored = place.identities(about.contract)
        truth = tape.identities(about.streamer_symbol)
        wrong += [("too many", row) for row in Counter(stored) - Counter(truth)]
        latest = {row[0]: row for row in stored}
        holes = [g for g in place.gaps(about.contract) if g["state"] != "backfilled"]
        for index, event in tape.latest[about.streamer_symbol].items():
            ts_us = event_us(index)
            is_told = any(
                g["from_ts"] <= ts_us and (g["to_ts"] is None or ts_us <= g["to_ts"]) for g in holes
            )
            if latest.get(index) != event.identity and not is_told:
                wrong.append(("missing", event))
    return wrong


class FakeGate:
    """Lets the feed in to a fake server."""

    def __init__(self, server, instruments=(MNQ, SPY)):
        self.server = server
        self.instruments = instruments
        self.failures = 0
        self.tokens = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        pass

    async def fetch_access(self):
        self.tokens += 1
        if self.failures > 0:
            self.failures -= 1
            raise FeedLost("no answer")
        return Access(self.server.url, f"QT-{self.tokens}", tuple(self.instruments))

    async def fetch_instruments(self):
        return tuple(self.instruments)


class Feed:
    """A running feed and what tests ask of it."""

    def __init__(self, server, place, gate, board):
        self.server, self.place, self.gate, self.board = server, place, gate, board
        self.errors = []
        self.backfills = Backfills()
        self.backfills.open(PART)

    def wait_live(self, count=1):
        """Wait until the server sees live subscriptions, and so does the feed."""
        until(lambda: len(self.server.live) >= count)
        until(lambda: self.board.snapshot()["parts"].get("tastytrade", {}).get("state") == "ok")

    def wait_back(self):
        """Wait until a connection was lost and there is one again."""
        until(lambda: self.count("dxlink.disconnects"))
        self.wait_live()

    def wait_whole(self):
        """Wait until every print is stored and every gap backfilled."""
        until(lambda: set(self.place.states()) <= {"backfilled"} and self.is_true)
        assert not self.server.violations

    def wait_told(self):
        """Wait until the ledger is closed and accounts for everything."""
        until(lambda: "open" not in self.place.states() and self.is_true)
        assert not self.server.violations

    @property
    def is_true(self):
        return not lies(self.place, self.server.tape, self.gate.instruments)

    def count(self, name):
        return self.board.snapshot()["counters"].get(name, 0)


@contextmanager
def running_feed(server, clock, folder, place=None, *, periods=FAST, gate=None):
    """Run a feed until the block ends; a feed that broke fails the test."""
    place, stopping = place or MemoryPlace(), threading.Event()
    board = Board("ingest", clock)
    feed = Feed(server, place, gate or FakeGate(server), board)

    def body():
        try:
            run(
                feed.gate,
                Place(place.take, place, place, board, feed.backfills, place.drift),
                clock=clock,
                journal=folder / "journal",
                periods=periods,
                stopping=stopping,
            )
        except BaseException as error:
            feed.errors.append(error)
            raise

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield feed
    finally:
        stopping.set()
        thread.join(20)
        assert not thread.is_alive()
    assert not feed.errors
    assert {batch.source for batch in place.batches} <= {SOURCE}
