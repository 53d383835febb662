"""A Flight server over a real store in a folder of its own, in this process, on a free port."""

import json
import threading
from contextlib import contextmanager

import numpy as np
import pyarrow as pa

from core.batch import TickBatch
from core.clock import NS_PER_US, SystemClock
from core.schema import LOGGED_TABLES
from flight_server.grpc_flags import set_grpc_flags
from flight_server.keys import SCOPES, KeyRequest, KeyRing
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store, StoreOptions
from storage.view import Views

set_grpc_flags(is_client=True)

from pyarrow import flight  # noqa: E402  after the switches

from flight_server.answers import Sources  # noqa: E402
from flight_server.audit import Audit  # noqa: E402
from flight_server.auth import CallBook  # noqa: E402
from flight_server.server import FlightServer, Place  # noqa: E402
from flight_server.streams import Limits  # noqa: E402

SYMBOLS = frozenset({"MNQ", "NQ", "SPY", "VIX"})
ALL_TABLES = frozenset(table.name for table in LOGGED_TABLES)


class FlightHouse:
    """Store, keys and server; `get` asks as the key with all scopes."""

    def __init__(self, folder, *, queries=None, limits=None, place=None):
        self.paths = Paths(folder)
        self.clock = SystemClock()
        self.store = Store.open(
            self.paths, StoreOptions(tables=ALL_TABLES), disk=OsDisk(), clock=self.clock
        )
        self.ring = KeyRing(self.paths.keys, disk=OsDisk(), clock=self.clock)
        self.key = self.ring.create(KeyRequest("tester", SCOPES, rate=1e6))
        self.audit = Audit(self.store)
        self.book = CallBook(self.ring, self.audit, clock=self.clock)
        self.views = Views(self.paths, str(self.paths.lake()))
        self.sources = Sources(
            views=self.views,
            queries=queries,
            clock=self.clock,
            symbols=SYMBOLS,
            gex_tickers=frozenset({"NQ_NDX"}),
            retention_days=365,
        )
        self.server = FlightServer(
            place or Place("127.0.0.1", 0),
            self.book,
            self.sources,
            limits or Limits(10**9, 10**12),
            self.paths.run,
        )
        self.url = f"grpc://127.0.0.1:{self.server.port}"
        self._clients = []

    def client(self):
        client = flight.FlightClient(self.url)
        self._clients.append(client)
        return client

    @property
    def now_us(self):
        return self.clock.now_ns() // NS_PER_US

    def trade(self, prices, *, symbol="MNQ", start_us=None, step_us=1_000, **columns):
        """Append trades, `step_us` apart; give the first seq."""
        rows = len(prices)
        start_us = self.now_us - rows * step_us if start_us is None else start_us
        times = start_us + np.arange(rows, dtype=np.int64) * step_us
        given = {
            "ts_event": times,
            "ts_recv": times,
            "price": np.asarray(prices, np.float64),
            "size": np.ones(rows, np.int64),
            **columns,
        }
        return self.store.append(TickBatch("trades", symbol, f"{symbol}Z6", "demo", given))

    def gap(self, from_us, to_us, *, symbol="MNQ", state="open", gap_id=1, table="trades"):
        self.store.append_rows(
            "gaps",
            [
                {
                    "symbol": symbol,
                    "ts_event": from_us,
                    "ts_recv": from_us,
                    "source": "test",
                    "table_name": table,
                    "from_ts": from_us,
                    "to_ts": to_us,
                    "reason": "line lost",
                    "state": state,
                    "gap_id": gap_id,
                }
            ],
        )

    def options(self, key=None):
        bearer = f"Bearer {self.key if key is None else key}".encode()
        return flight.FlightCallOptions(headers=[(b"authorization", bearer)], timeout=60)

    def reader(self, ticket, key=None, client=None):
        raw = ticket if isinstance(ticket, bytes) else ticket.encode()
        return (client or self.client()).do_get(flight.Ticket(raw), self.options(key))

    def get(self, ticket, key=None):
        return self.reader(ticket, key).read_all()

    def act(self, name, body=b"", key=None):
        results = self.client().do_action(flight.Action(name, body), self.options(key))
        return json.loads(next(iter(results)).body.to_pybytes())

    def info(self, command, key=None):
        raw = command if isinstance(command, bytes) else command.encode()
        descriptor = flight.FlightDescriptor.for_command(raw)
        return self.client().get_flight_info(descriptor, self.options(key))

    def calls(self):
        """What was written down, oldest first; the caller's own calls are over."""
        self.audit.flush()
        batches = list(self.views.view().scan("queries", ""))
        return pa.Table.from_batches(batches).sort_by("seq").to_pylist() if batches else []

    def close(self):
        for client in self._clients:
            client.close()
        assert self.server.stop(), "the server left calls behind"
        self.store.close()


@contextmanager
def flight_house(folder, **options):
    house = FlightHouse(folder, **options)
    try:
        yield house
    finally:
        house.close()


def refused(ask, *args, **options):
    """Make a call that must fail; give its error and the JSON it carries."""
    try:
        ask(*args, **options)
    except flight.FlightError as error:
        told = json.loads(error.extra_info)
        assert set(told) == {"code", "message", "hint"}
        text = str(error) + error.extra_info.decode()
        assert "Traceback" not in text
        assert ".py" not in text
        return error, told
    raise AssertionError("the call was answered")


def wait_until(is_true, *, deadline_s=10.0):
    """Return when something has become true; fail when it takes too long."""
    ended = threading.Event()
    clock = SystemClock()
    end_ns = clock.monotonic_ns() + int(deadline_s * 1e9)
    while not is_true():
        assert clock.monotonic_ns() < end_ns, "waited too long"
        ended.wait(0.002)
