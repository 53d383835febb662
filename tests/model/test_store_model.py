"""The store against a plain list: whatever happens, a View shows every row once, in time order."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.clock import HOUR_NS, NS_PER_US
from storage.disk import OsDisk
from storage.keeper import Keeper, KeeperOptions
from storage.manifest import Manifest
from storage.paths import Paths
from storage.seal import Sealer
from storage.store import Store, StoreOptions
from storage.view import Views
from tests.fakes.manual_clock import ManualClock
from tests.fakes.ticks import START_US, trades

SYMBOLS = ("MNQ", "NQ", "SPY")
Row = tuple[int, int, int]  # ts_event, ts_ns, source_seq


class TapeMachine(RuleBasedStateMachine):
    """Appends, late rows, seals, clean and unclean restarts, in any order."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.paths = Paths(self.folder)
        self.lake_url = str(self.folder / "lake")
        self.clock = ManualClock(START_US * NS_PER_US)
        self.rows: dict[str, list[tuple[Row, bool]]] = {symbol: [] for symbol in SYMBOLS}
        self.seqs: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self.next_seq = 1
        self.number = 0
        self._start()
        self.views = Views(self.paths, self.lake_url)

    def _start(self) -> None:
        snapshot = Manifest(self.lake_url, "trades").snapshot()
        sealed = snapshot.sealed_seq
        options = StoreOptions(
            commit_ms=10_000,
            tables=frozenset({"trades", "gaps"}),
            sealed_seqs={"trades": max(sealed.values(), default=0)},
            newest_sealed_us=snapshot.newest_us(),
        )
        self.store = Store.open(self.paths, options, disk=OsDisk(), clock=self.clock)
        sealer = Sealer(self.lake_url, self.clock)
        sealer.recover()
        keeper_options = KeeperOptions(hot_minutes=1, retention_days=36_500, grace_s=0)
        self.keeper = Keeper(self.store, sealer, self.lake_url, keeper_options, self.clock)

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        count=st.integers(1, 60),
        behind_minutes=st.sampled_from([0, 0, 0, 1, 59, 61, 200]),
        every=st.sampled_from([0, 3]),
    )
    def append(self, symbol: str, count: int, behind_minutes: int, every: int) -> None:
        now_us = self.clock.now_ns() // NS_PER_US
        times = now_us - behind_minutes * 60_000_000 + np.arange(count) * 1_000
        valid = np.ones(count, np.bool_) if not every else np.arange(count) % every != 0
        batch = trades(
            symbol, count, self.number, ts_event=times, ts_recv=np.full(count, now_us), valid=valid
        )
        assert self.store.append(batch) == self.next_seq
        rest = batch.columns["ts_ns"].tolist()
        for place, ok in enumerate(valid.tolist()):
            row = (int(times[place]), rest[place], self.number + place)
            self.rows[symbol].append((row, ok))
            self.seqs[symbol].append(self.next_seq + place)
        self.next_seq += count
        self.number += count

    @rule(minutes=st.sampled_from([1, 20, 61, 130]))
    def time_passes(self, minutes: int) -> None:
        self.clock.advance_ns(minutes * HOUR_NS // 60)

    @rule()
    def keep(self) -> None:
        self.keeper.round()

    @rule(symbol=st.sampled_from(SYMBOLS))
    def seal_now(self, symbol: str) -> None:
        self.keeper.seal_now([symbol])

    @rule()
    def commit(self) -> None:
        self.store.commit()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self._start()

    @rule(symbol=st.sampled_from(SYMBOLS))
    def old_rows_leave_memory(self, symbol: str) -> None:
        """Everything is sealed, a new segment begun, and time passes."""
        self.keeper.seal_now(SYMBOLS)
        self.restart()
        self.append(symbol, 3, 0, 0)
        self.time_passes(61)
        self.keeper.round()
        first_seq = self.views.hot.first_seq("trades")
        assert first_seq == self.next_seq - 3, "older segments were sealed and let go"
        assert self.keeper.seal_s is not None

    @invariant()
    def every_row_is_seen_once_in_order(self) -> None:
        for symbol in SYMBOLS:
            seen = self._scan(symbol, standing_only=False)
            order = sorted(zip(self.rows[symbol], self.seqs[symbol], strict=True), key=_by_time)
            assert seen == [row for (row, _), _ in order]

    @invariant()
    def valid_rows_alone_are_shown_where_asked(self) -> None:
        for symbol in SYMBOLS:
            seen = self._scan(symbol, standing_only=True)
            assert sorted(seen) == sorted(row for row, ok in self.rows[symbol] if ok)

    @invariant()
    def latest_is_the_newest_valid_trade(self) -> None:
        for symbol in SYMBOLS:
            valid = [
                (row[:2], seq, row[2])
                for (row, ok), seq in zip(self.rows[symbol], self.seqs[symbol], strict=True)
                if ok
            ]
            latest = self.views.view().latest(symbol)
            if not valid:
                assert latest is None
                continue
            assert latest is not None
            assert latest.column("source_seq")[0].as_py() == max(valid)[2]

    @invariant()
    def a_range_gives_just_its_rows(self) -> None:
        start_us = START_US + 60_000_000
        end_us = START_US + 90 * 60_000_000
        for symbol in SYMBOLS:
            seen = self._scan(symbol, standing_only=False, start_us=start_us, end_us=end_us)
            expected = [row for row, _ in self.rows[symbol] if start_us <= row[0] < end_us]
            assert sorted(seen) == sorted(expected)

    def _scan(self, symbol: str, *, standing_only: bool, **bounds: int) -> list[Row]:
        view = self.views.view()
        table = view.scan("trades", symbol, standing_only=standing_only, **bounds).read_all()
        table.validate(full=True)
        return list(
            zip(
                table.column("ts_event").cast(pa.int64()).to_pylist(),
                table.column("ts_ns").to_pylist(),
                table.column("source_seq").to_pylist(),
                strict=True,
            )
        )

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)


def _by_time(entry: tuple[tuple[Row, bool], int]) -> tuple[int, int, int]:
    ((ts_event, ts_ns, _), _), seq = entry
    return ts_event, ts_ns, seq


TapeMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestTape = TapeMachine.TestCase
