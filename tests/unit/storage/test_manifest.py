import json
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import HOUR_US
from core.errors import SealFailed
from storage.delta import CHECKPOINT_EVERY, Change, DeltaLog, LogFile
from storage.lake import Lake
from storage.manifest import Manifest, Partition, lake_schema
from tests.fakes.lake_rows import HOUR_14_US
from tests.fakes.manual_clock import OPEN_NS

ANYWHERE = Manifest("/nowhere", "trades")


def partition(lake, i, *, symbol="MNQ", start_us=HOUR_14_US, length_us=HOUR_US - 1, **more):
    folder = ANYWHERE.folder(symbol, "2026-11-20")
    told = {
        "rows": 10,
        "bytes": 1_000,
        "first_seq": 10 * i + 1,
        "last_seq": 10 * i + 10,
        "min_ts_us": start_us,
        "max_ts_us": start_us + length_us,
        "max_recv_us": start_us + length_us + 1,
    }
    path = f"{lake}/trades/{folder}/14-{i:012d}-{i:012d}.parquet"
    return Partition("trades", symbol, "2026-11-20", path, **{**told, **more})


def commit(manifest, added, removed=(), sealed=None):
    return manifest.commit(list(added), list(removed), sealed or {}, now_ns=OPEN_NS)


def test_a_manifest_without_a_table_is_empty(tmp_path):
    snapshot = Manifest(str(tmp_path), "trades").refresh()
    assert snapshot.version == -1
    assert snapshot.pruned(symbols=["MNQ"], start_us=0, end_us=1) == []
    assert dict(snapshot.sealed_seq) == {}


def test_another_process_reads_back_what_was_committed(tmp_path):
    odd = "A/B %é"
    news = [partition(tmp_path, 1), partition(tmp_path, 2, symbol=odd, has_revisions=True)]
    commit(Manifest(str(tmp_path), "trades"), news, sealed={"MNQ": 20, odd: 33})
    found = Manifest(str(tmp_path), "trades").snapshot()
    assert sorted(found.pruned(), key=lambda p: p.first_seq) == news
    assert dict(found.sealed_seq) == {"MNQ": 20, odd: 33}
    assert [found.revised(name) for name in ("MNQ", odd, "NQ")] == [[], [news[1]], []]


def test_rows_without_a_symbol_have_a_partition(tmp_path):
    nobody = partition(tmp_path, 1, symbol="")
    found = commit(Manifest(str(tmp_path), "trades"), [nobody], sealed={"": 7})
    assert found.pruned(symbols=[""]) == [nobody]
    assert found.sealed_seq[""] == 7


def test_a_refresh_without_news_returns_the_same_snapshot(tmp_path):
    manifest = Manifest(str(tmp_path), "trades")
    first = commit(manifest, [partition(tmp_path, 1)])
    assert manifest.refresh() is first
    commit(Manifest(str(tmp_path), "trades"), [partition(tmp_path, 2)])
    assert len(first) == 1, "a snapshot never changes"
    assert len(manifest.refresh()) == 2


def test_removed_partitions_are_gone_and_have_a_tombstone(tmp_path):
    manifest = Manifest(str(tmp_path), "trades")
    old = partition(tmp_path, 1, symbol="A/B %é")
    commit(manifest, [old])
    assert commit(manifest, [], [old]).pruned() == []
    assert manifest.tombstones() == {old.path: OPEN_NS // 1_000_000}


def test_a_symbol_stays_sealed_when_its_partitions_are_gone(tmp_path):
    manifest = Manifest(str(tmp_path), "trades")
    commit(manifest, [partition(tmp_path, 1)], sealed={"MNQ": 20})
    commit(manifest, [], [partition(tmp_path, 1)])
    assert Manifest(str(tmp_path), "trades").refresh().sealed_seq["MNQ"] == 20


def test_sealing_backwards_is_refused(tmp_path):
    manifest = Manifest(str(tmp_path), "trades")
    commit(manifest, [partition(tmp_path, 1)], sealed={"MNQ": 20})
    with pytest.raises(SealFailed):
        commit(manifest, [partition(tmp_path, 2)], sealed={"MNQ": 19})


def test_a_writer_with_a_stale_log_cannot_seal_the_same_symbol(tmp_path):
    def log():
        return DeltaLog(Lake(tmp_path), "trades", lake_schema(ANYWHERE.table), ["symbol", "date"])

    def change(name):
        values = {"symbol": "MNQ", "date": "2026-11-20"}
        return Change([LogFile(f"{name}.parquet", 1, values, 0, {})], [], {"trades/MNQ": 9})

    first, second = log(), log()
    first.commit(change("a"))
    second.refresh()
    first.commit(change("b"))
    with pytest.raises(SealFailed):
        second.commit(change("c"))
    assert first.files().num_rows == 2


def test_sealed_seqs_survive_checkpoints(tmp_path):
    manifest = Manifest(str(tmp_path), "trades")
    for i in range(CHECKPOINT_EVERY + 3):
        commit(manifest, [partition(tmp_path, i)], sealed={"MNQ" if i else "SPY": i + 1})
    found = Manifest(str(tmp_path), "trades").refresh()
    assert (tmp_path / "trades" / "_delta_log" / "_last_checkpoint").exists()
    assert dict(found.sealed_seq) == {"SPY": 1, "MNQ": CHECKPOINT_EVERY + 3}
    assert len(found) == CHECKPOINT_EVERY + 3


@pytest.mark.parametrize("torn", [b"", b'{"commitInfo":{}}\n{"add":{"pa'])
def test_a_torn_last_version_never_happened(tmp_path, torn):
    manifest = Manifest(str(tmp_path), "trades")
    version = commit(manifest, [partition(tmp_path, 1)]).version
    log = tmp_path / "trades" / "_delta_log"
    (log / f"{version + 1:020d}.json").write_bytes(torn)
    again = Manifest(str(tmp_path), "trades")
    again.repair()
    assert again.refresh().version == version
    assert len(commit(again, [partition(tmp_path, 2)])) == 2


@pytest.mark.parametrize("name", ["checkpoint", "_last_checkpoint"])
def test_a_torn_checkpoint_is_dropped(tmp_path, name):
    manifest = Manifest(str(tmp_path), "trades")
    for i in range(CHECKPOINT_EVERY):
        commit(manifest, [partition(tmp_path, i)], sealed={"MNQ": i + 1})
    log = tmp_path / "trades" / "_delta_log"
    path = next(path for path in log.iterdir() if name in path.name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = Manifest(str(tmp_path), "trades")
    again.repair()
    assert again.refresh().sealed_seq["MNQ"] == CHECKPOINT_EVERY
    assert len(again.snapshot()) == CHECKPOINT_EVERY


def test_statistics_in_the_log_are_exact_to_the_microsecond(tmp_path):
    manifest = Manifest(str(tmp_path), "trades")
    version = commit(manifest, [partition(tmp_path, 1, length_us=123_457)]).version
    log = tmp_path / "trades" / "_delta_log" / f"{version:020d}.json"
    adds = [json.loads(line).get("add") for line in log.read_text().splitlines()]
    stats = json.loads(next(add for add in adds if add)["stats"])
    assert stats["maxValues"]["ts_event"] == "2026-11-20T14:00:00.123457"
    assert stats["maxValues"]["seq"] == 20
    assert stats["numRecords"] == 10


TIMES = st.integers(-5, 60)


@settings(max_examples=15, deadline=None)
@given(
    files=st.lists(st.tuples(st.sampled_from("AB"), TIMES, st.integers(0, 20)), min_size=1),
    ranges=st.lists(st.tuples(TIMES, TIMES), min_size=20, max_size=20),
)
def test_pruning_keeps_exactly_the_partitions_that_overlap(tmp_path_factory, files, ranges):
    lake = tmp_path_factory.mktemp("lake")
    news = [
        partition(lake, i, symbol=symbol, start_us=HOUR_14_US + start, length_us=length)
        for i, (symbol, start, length) in enumerate(files)
    ]
    snapshot = commit(Manifest(str(lake), "trades"), news)
    for low, high in ranges:
        start, end = HOUR_14_US + low, HOUR_14_US + high
        for symbols in (None, {"A"}, {"B", "C"}):
            expected = [
                p
                for p in sorted(news, key=lambda p: (p.symbol, p.min_ts_us, p.first_seq))
                if (symbols is None or p.symbol in symbols)
                and p.min_ts_us < end
                and p.max_ts_us >= start
            ]
            assert snapshot.pruned(symbols=symbols, start_us=start, end_us=end) == expected
            assert snapshot.sealed_after("A", 15) == [
                p for p in snapshot.pruned(symbols=["A"]) if p.last_seq > 15
            ]


@pytest.mark.performance
def test_pruning_a_year_of_hours_takes_well_under_a_millisecond(tmp_path):
    symbols = ("MES", "MNQ", "NQ", "QQQ", "SPY", "VIX")
    hours = 252 * 23
    news = [
        partition(tmp_path, i, symbol=symbol, start_us=HOUR_14_US + i * HOUR_US)
        for symbol in symbols
        for i in range(hours)
    ]
    snapshot = commit(Manifest(str(tmp_path), "trades"), news)
    rng = random.Random(7)
    starts = [HOUR_14_US + rng.randrange(hours) * HOUR_US + 1 for _ in range(200)]
    snapshot.pruned(symbols=["MNQ"], start_us=starts[0], end_us=starts[0] + 1)
    costs = []
    for start in starts:
        began = time.perf_counter()
        found = snapshot.pruned(symbols=["MNQ"], start_us=start, end_us=start + HOUR_US)
        costs.append(time.perf_counter() - began)
        assert len(found) in (1, 2)
    assert np.median(costs) < 0.0005
