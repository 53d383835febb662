from pathlib import Path

import pytest

from core.clock import DAY_US, US_PER_S
from storage.compact import compact, prune, vacuum
from storage.seal import Sealer, SealJob
from tests.fakes.lake_rows import (
    HOUR_14_US,
    Trade,
    batch,
    hours_later,
    lake_bars,
    lake_seqs,
    plain_bars,
    tape,
)

NEXT_DAY = "2026-11-21"


@pytest.fixture
def sealer(tmp_path, manual_clock):
    return Sealer(str(tmp_path), manual_clock)


def fold(lake, clock, table="trades", step=lambda name: None):
    return compact(str(lake), table, before_date=NEXT_DAY, clock=clock, step=step)


def seal_three_hours(sealer):
    rows = tape(40) + hours_later(tape(30), 1, 101) + hours_later(tape(20), 2, 201)
    late = [Trade(seq=301, ts_us=HOUR_14_US + 5_500, price=3.5, size=2)]
    sealer.seal("trades", "MNQ", [batch(rows)], 300)
    sealer.seal("trades", "MNQ", [batch(late)], 310)
    return [*rows, *late]


def test_a_finished_day_becomes_one_file_with_every_row(sealer, tmp_path, manual_clock):
    rows = seal_three_hours(sealer)
    (day,) = fold(tmp_path, manual_clock)
    assert day.path.endswith("/symbol=MNQ/date=2026-11-20/day-000000000001-000000000301.parquet")
    assert day.rows == len(rows)
    assert sealer.manifest("trades").refresh().pruned() == [day]
    assert sealer.manifest("trades").snapshot().sealed_seq["MNQ"] == 310
    assert lake_seqs(tmp_path) == sorted(row.seq for row in rows)
    assert fold(tmp_path, manual_clock) == [], "a folded day is left alone"


def test_today_is_not_folded(sealer, tmp_path, manual_clock):
    seal_three_hours(sealer)
    days = compact(str(tmp_path), "trades", before_date="2026-11-20", clock=manual_clock)
    assert days == []


def test_late_rows_after_a_fold_are_folded_in_again_and_bars_stay_exact(
    sealer, tmp_path, manual_clock
):
    rows = seal_three_hours(sealer)
    for table in ("trades", "bars_1s", "bars_1m"):
        fold(tmp_path, manual_clock, table)
    late = [Trade(seq=401, ts_us=HOUR_14_US + 7, price=9.5, size=4)]
    sealer.seal("trades", "MNQ", [batch(late)], 410)
    assert lake_bars(tmp_path, "bars_1s") == plain_bars([*rows, *late], US_PER_S)
    (bars,) = sealer.manifest("bars_1m").snapshot().pruned()
    assert Path(bars.path).name == "day-000000000001-000000000410.parquet"
    (day,) = fold(tmp_path, manual_clock)
    assert day.rows == len(rows) + 1
    assert lake_seqs(tmp_path) == sorted(row.seq for row in [*rows, *late])
    assert lake_bars(tmp_path, "bars_1m") == plain_bars([*rows, *late], 60 * US_PER_S)


def test_removed_files_stay_until_the_grace_is_over(sealer, tmp_path, manual_clock):
    seal_three_hours(sealer)
    old = [p.path for p in sealer.manifest("trades").snapshot().pruned()]
    (day,) = fold(tmp_path, manual_clock)
    manual_clock.advance_s(59)
    assert vacuum(str(tmp_path), "trades", grace_s=60, clock=manual_clock) == []
    Sealer(str(tmp_path), manual_clock).recover()
    assert all(Path(path).exists() for path in old), "recovery keeps files that readers may have"
    manual_clock.advance_s(1)
    assert vacuum(str(tmp_path), "trades", grace_s=60, clock=manual_clock) == sorted(old)
    assert [str(p) for p in (tmp_path / "trades").rglob("*.parquet")] == [day.path]
    assert vacuum(str(tmp_path), "trades", grace_s=60, clock=manual_clock) == []


def test_a_day_with_a_corrupt_file_is_left_as_it_is(sealer, tmp_path, manual_clock):
    seal_three_hours(sealer)
    jobs = [SealJob("SPY", [batch(tape(9) + hours_later(tape(9), 1, 51), "SPY")], 310)]
    sealer.seal_many("trades", jobs)
    victim = sealer.manifest("trades").snapshot().pruned(symbols=["MNQ"])[0]
    spoilt = bytearray(Path(victim.path).read_bytes())
    spoilt[100:104] = b"\xff" * 4
    Path(victim.path).write_bytes(spoilt)
    (folded,) = fold(tmp_path, manual_clock)
    assert folded.symbol == "SPY"
    assert len(sealer.manifest("trades").refresh().pruned(symbols=["MNQ"])) == 4


def test_a_day_goes_when_both_it_and_its_newest_receipt_are_old(sealer, tmp_path, manual_clock):
    seal_three_hours(sealer)
    midnight_us = (HOUR_14_US // DAY_US + 1) * DAY_US

    def pruned(cutoff_us):
        return prune(str(tmp_path), "trades", cutoff_us=cutoff_us, clock=manual_clock)

    assert pruned(midnight_us - 1) == [], "a day is old when it is over"
    assert len(pruned(midnight_us)) == 4
    assert sealer.manifest("trades").refresh().pruned() == []
    assert sealer.manifest("trades").snapshot().sealed_seq["MNQ"] == 310
    assert pruned(midnight_us) == []
    assert len(vacuum(str(tmp_path), "trades", grace_s=0, clock=manual_clock)) == 4


def test_an_old_day_imported_today_is_kept(sealer, tmp_path, manual_clock):
    rows = batch(tape(9))
    at = rows.schema.get_field_index("ts_recv")
    received = batch([Trade(seq=r.seq, ts_us=r.ts_us + 9 * DAY_US) for r in tape(9)])
    rows = rows.set_column(at, rows.schema.field(at), received.column("ts_recv"))
    sealer.seal("trades", "MNQ", [rows], 20)
    cutoff_us = HOUR_14_US + 3 * DAY_US
    assert prune(str(tmp_path), "trades", cutoff_us=cutoff_us, clock=manual_clock) == []
    cutoff_us = HOUR_14_US + 10 * DAY_US
    assert len(prune(str(tmp_path), "trades", cutoff_us=cutoff_us, clock=manual_clock)) == 1


def test_a_vacuum_never_touches_a_living_file(sealer, tmp_path, manual_clock):
    seal_three_hours(sealer)
    manifest = sealer.manifest("trades")
    parts = manifest.snapshot().pruned()
    manifest.commit([], parts, {}, now_ns=manual_clock.now_ns())
    manifest.commit(parts[:1], [], {}, now_ns=manual_clock.now_ns())
    gone = vacuum(str(tmp_path), "trades", grace_s=0, clock=manual_clock)
    assert gone == sorted(part.path for part in parts[1:])
    assert Path(parts[0].path).exists()
