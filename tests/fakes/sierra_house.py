"""Sierra Chart's folder and a real store beside it, with a clock that stands still."""

import threading
from contextlib import contextmanager
from datetime import date

from core.board import Board
from core.clock import NS_PER_US
from core.schema import TABLES
from ingest.guard import check
from ingest.patient import PatientStore
from ingest.sierra_depth import DepthFeed
from ingest.sierra_feed import DEPTH_FOLDER
from ingest.sierra_place import SierraPlace
from ingest.sierra_tape import SierraTape
from ingest.sierra_trades import TradesFeed
from ingest.stored import StoredNumbers
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store
from storage.view import Views
from tests.fakes.depth_writer import STEM
from tests.fakes.manual_clock import ManualClock

DAY = date(2023, 12, 20)  # a Wednesday
NAME, NEXT_NAME = (f"{STEM}.2023-12-{day}.depth" for day in (20, 21))
DAY_US = 1_703_030_400_000_000
NOON_US = DAY_US + 50_400_000_000  # 14:00 UTC


class SierraHouse:
    """A store and the feeds over one folder; `opened` ends them, the next one recovers."""

    def __init__(self, root, store, clock, fed):
        self.store, self.clock = store, clock
        self.board = Board("ingest", clock)
        self.views = Views(store.paths, str(root / "lake"))
        patient = PatientStore(self.take, store, self.board, "sierra", threading.Event())
        tape, numbers = SierraTape(self.views), StoredNumbers(self.views)
        self.place = SierraPlace(patient, tape, numbers, self.board, clock, frozenset())
        data = root / "Sierra" / "Data"
        self.depth = DepthFeed(self.place, data / DEPTH_FOLDER)
        self.trades = TradesFeed(self.place, data, frozenset(fed))

    def take(self, batch):
        good, rejected = check(batch, self.clock.now_ns() // NS_PER_US)
        if good.rows:
            self.store.append(good)
        self.store.reject(rejected)
        return good.rows

    def poll(self, seconds=1.0):
        """Some time later, look once."""
        self.clock.advance_s(seconds)
        self.depth.poll(self.trades.poll())

    def rows(self, table, symbol="ES"):
        """Every row of a table, in the order they came."""
        found = self.views.view().scan(table, symbol).read_all()
        return found.cast(TABLES[table].plain_schema).sort_by("seq").to_pylist()

    def part(self, name):
        return self.board.snapshot()["parts"][name]


@contextmanager
def sierra_house(root, *, clock=None, fed=()):
    """`root`/Sierra is Sierra Chart's folder, `root`/data ours."""
    clock = clock or ManualClock(NOON_US * NS_PER_US)
    (root / "Sierra" / "Data" / DEPTH_FOLDER).mkdir(parents=True, exist_ok=True)
    store = Store.open(Paths(root / "data"), disk=OsDisk(), clock=clock)
    try:
        yield SierraHouse(root, store, clock, fed)
    finally:
        store.close()
