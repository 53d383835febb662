"""A lake in a bucket: what is sealed there is what a folder would hold, for us and for others."""

import os
import shutil

import polars as pl
import pytest
from deltalake import DeltaTable

from core.errors import (
    LakeLost,
    LakeRefused,
    SealFailed,
    TooMuch,
    Unavailable,
)
from core.settings import load_settings
from storage.compact import compact, prune, vacuum
from storage.delta import CHECKPOINT_EVERY
from storage.lake import lake_of
from storage.manifest import Manifest, Partition
from storage.seal import Sealer
from storage.verify import verify
from tests.fakes.bucket_lake import ROWS, opened, seqs, seqs_of
from tests.fakes.lake_rows import Trade, batch
from tests.fakes.s3_server import linked, running_s3

DAY_AFTER = "2026-11-21"


def test_what_is_sealed_is_the_same_as_in_a_folder(given, tmp_path, manual_clock):
    far, near = lake_of(given), str(tmp_path / "near")
    for lake in (far, near):
        sealer = Sealer(lake, manual_clock)
        sealer.recover()
        sealer.seal("trades", "MNQ", [batch(ROWS)], 500)
        sealer.seal("trades", "MNQ", [batch([Trade(501, ROWS[0].ts_us + 1)])], 501)
    for table in ("trades", "bars_1s", "bars_1m"):
        mine, theirs = (Manifest(lake, table).fetch() for lake in (far, near))
        assert mine.rows == theirs.rows
        assert mine.sealed_seq == theirs.sealed_seq
        for a, b in zip(mine.pruned(), theirs.pruned(), strict=True):
            assert pl.read_parquet(a.local()).equals(pl.read_parquet(b.path))
    assert seqs_of(far) == sorted([*seqs(ROWS), 501])


def test_others_read_the_bucket_without_our_code(given, manual_clock):
    Sealer(lake_of(given), manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL")
    options = {**{name: given.text(name) for name in names}, "AWS_ALLOW_HTTP": "true"}
    trades = pl.scan_delta(f"{given.lake_url}/trades", storage_options=options)
    assert sorted(trades.collect()["seq"].to_list()) == seqs(ROWS)
    table = DeltaTable(f"{given.lake_url}/trades", storage_options=options)
    assert table.to_pyarrow_table().num_rows == len(ROWS)


def test_another_machine_reads_what_the_first_sealed(given, tmp_path, manual_clock):
    sealer = Sealer(lake_of(given), manual_clock)
    sealer.seal("trades", "MNQ", [batch(ROWS)], 500)
    other = opened(given, tmp_path / "two")
    assert seqs_of(other) == seqs(ROWS)
    sealer.seal("trades", "MNQ", [batch([Trade(501, ROWS[0].ts_us + 1)])], 501)
    assert seqs_of(other) == sorted([*seqs(ROWS), 501])
    assert verify(other).percent == 100.0


def test_a_lost_replica_is_made_again(given, manual_clock):
    lake = lake_of(given)
    Sealer(lake, manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
    shutil.rmtree(lake.folder)
    assert seqs_of(lake_of(given)) == seqs(ROWS)


def test_a_replica_far_behind_begins_at_the_checkpoint(given, tmp_path, manual_clock):
    lake = lake_of(given)
    manifest = Manifest(lake, "trades")

    def commit(numbers):
        for n in numbers:
            path = f"{manifest.url}/symbol=MNQ/date=2026-11-20/{n}.parquet"
            file = Partition("trades", "MNQ", "2026-11-20", path, 1, 1, n, n, n, n, n)
            manifest.commit([file], [], {"MNQ": n}, now_ns=manual_clock.now_ns())

    commit(range(1, 4))
    behind = Manifest(opened(given, tmp_path / "two"), "trades")
    assert behind.fetch().last_seq == 3
    commit(range(4, CHECKPOINT_EVERY + 6))
    keys = [key for key in lake.far.bucket.list("trades/_delta_log/") if key.endswith(".json")]
    lake.far.bucket.delete(keys[:40])  # as the log's own housekeeping does after a month
    fresh = Manifest(opened(given, tmp_path / "three"), "trades")
    for late in (behind, fresh):
        assert len(late.fetch()) == CHECKPOINT_EVERY + 5
        assert late.snapshot().sealed_seq == {"MNQ": CHECKPOINT_EVERY + 5}


def test_folding_pruning_and_vacuum_delete_objects(s3, given, manual_clock):
    lake = lake_of(given)
    Sealer(lake, manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
    prefix = f"{given.lake_url.rpartition('/')[2]}/trades/symbol=MNQ/"
    assert len(s3.keys(prefix)) == 3
    (folded,) = compact(lake, "trades", before_date=DAY_AFTER, clock=manual_clock)
    assert folded.rows == 100
    assert len(s3.keys(prefix)) == 4, "readers of the older version keep their files"
    gone = vacuum(lake, "trades", grace_s=-1, clock=manual_clock)
    assert len(gone) == 2
    assert len(s3.keys(prefix)) == 2
    assert seqs_of(lake) == seqs(ROWS)
    prune(lake, "trades", cutoff_us=1 << 60, clock=manual_clock)
    assert len(vacuum(lake, "trades", grace_s=-1, clock=manual_clock)) == 2
    assert s3.keys(prefix) == []
    assert verify(lake).percent == 100.0


def test_verifying_reads_the_bucket_and_not_what_was_fetched_once(given, manual_clock):
    lake = lake_of(given)
    Sealer(lake, manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
    first = Manifest(lake, "trades").fetch().pruned()[0]
    key = os.path.relpath(first.local(), lake.folder)
    whole = lake.far.bucket.get(key)
    lake.far.bucket.delete([key])
    assert lake.far.bucket.create(key, whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    score = verify(lake, tables=["trades"])
    assert score.bad_rows == first.rows
    assert "checksum" in score.faults[0].reason
    os.unlink(first.path)
    with pytest.raises(Exception, match="damaged"):
        first.local()
    assert not os.path.exists(first.path), "what is damaged is not kept"


def test_a_bucket_belongs_to_one_tape(given, tmp_path, manual_clock):
    Sealer(lake_of(given), manual_clock).recover()
    with pytest.raises(LakeRefused, match="another tape"):
        Sealer(opened(given, tmp_path / "two"), manual_clock).recover()


def test_a_copied_data_folder_cannot_put_a_version_over_another(given, tmp_path, manual_clock):
    sealer = Sealer(lake_of(given), manual_clock)
    sealer.seal("trades", "MNQ", [batch(ROWS[:60])], 200)
    shutil.copytree(given.data_dir, tmp_path / "two")
    behind = Manifest(opened(given, tmp_path / "two"), "trades")
    behind.fetch()
    added = sealer.seal("trades", "MNQ", [batch(ROWS)], 400)
    with pytest.raises(SealFailed, match="version"):
        behind.commit(added, [], {"MNQ": 400}, now_ns=0)
    assert seqs_of(lake_of(given)) == seqs(ROWS[:100])


def test_a_commit_whose_answer_never_came_is_not_made_again(given, manual_clock):
    lake = lake_of(given)
    Sealer(lake, manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
    for table in ("trades", "bars_1s"):
        newest = max((lake.folder / table / "_delta_log").glob("*.json"))
        newest.unlink()  # this machine does not know of the version that is in the bucket
    again = Sealer(lake_of(given), manual_clock)
    assert again.seal("trades", "MNQ", [batch(ROWS)], 500) == []
    assert seqs_of(lake) == seqs(ROWS)
    assert Manifest(lake, "bars_1s").fetch().rows == len({row.ts_us // 10**6 for row in ROWS})


@pytest.mark.parametrize("at", ["put", "commit", "committed", "bars_commit"])
def test_a_seal_cut_off_on_its_way_to_the_bucket_ends_with_every_row_once(
    s3, given, manual_clock, at
):
    class Cut(Exception):
        """The power went."""

    def cut(step):
        if step == at:
            raise Cut

    lake = lake_of(given)
    sealer = Sealer(lake, manual_clock)
    sealer.seal("trades", "MNQ", [batch(ROWS[:60])], 200)
    with pytest.raises(Cut):
        Sealer(lake, manual_clock, step=cut).seal("trades", "MNQ", [batch(ROWS)], 500)
    after = Sealer(lake_of(given), manual_clock)
    after.recover()
    after.seal("trades", "MNQ", [batch(ROWS)], 500)
    assert seqs_of(lake) == seqs(ROWS)
    assert verify(lake).percent == 100.0
    living = sum(len(Manifest(lake, table).fetch()) for table in ("trades", "bars_1s", "bars_1m"))
    prefix = given.lake_url.rpartition("/")[2]
    objects = [key for key in s3.keys(f"{prefix}/") if key.endswith(".parquet")]
    assert len(objects) == living, "nothing is left that no version names"


def test_what_does_not_fit_is_refused_before_anything_is_fetched(given, tmp_path, manual_clock):
    Sealer(lake_of(given), manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
    small = opened(given, tmp_path / "two", LAKE_CACHE="1KB")
    with pytest.raises(TooMuch, match="sealed files"):
        Manifest(small, "trades").fetch().pruned()[0].local()
    assert not list(small.folder.rglob("*.parquet"))


def test_files_asked_for_longest_ago_are_let_go_first(given, tmp_path, manual_clock):
    Sealer(lake_of(given), manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
    bytes_max = sum(f.bytes for f in Manifest(lake_of(given), "trades").fetch().pruned()) - 1
    small = opened(given, tmp_path / "two", LAKE_CACHE=f"{bytes_max}B")
    files = Manifest(small, "trades").fetch().pruned()
    for number, file in enumerate(files[:2], 1):
        os.utime(file.local(), ns=(number, number))
    files[2].local()
    assert not os.path.exists(files[0].path)
    assert os.path.exists(files[2].path)
    assert pl.read_parquet(files[0].local()).height == 60


def test_a_folder_copied_into_a_bucket_goes_on_there(s3, given, tmp_path, manual_clock):
    near = tmp_path / "near"
    Sealer(str(near), manual_clock).seal("trades", "MNQ", [batch(ROWS[:60])], 200)
    for path in near.rglob("*"):
        if path.is_file() and path.name != "writer.lock":
            key = f"{tmp_path.name}/{path.relative_to(near).as_posix()}"
            s3.client().put_object(Bucket=s3.bucket, Key=key, Body=path.read_bytes())
    lake = lake_of(given)
    sealer = Sealer(lake, manual_clock)
    sealer.recover()
    sealer.seal("trades", "MNQ", [batch(ROWS)], 500)
    assert seqs_of(lake) == seqs(ROWS)
    assert verify(lake).percent == 100.0


def test_a_bucket_that_is_away_is_said_and_comes_back(s3, given, manual_clock):
    with linked(s3) as link:
        lake = opened(given, given.data_dir, AWS_ENDPOINT_URL=link.url)
        sealer = Sealer(lake, manual_clock)
        sealer.seal("trades", "MNQ", [batch(ROWS[:60])], 200)
        (first,) = sealer.manifest("trades").snapshot().pruned()
        link.cut()
        with pytest.raises(LakeLost, match="cannot be reached"):
            sealer.seal("trades", "MNQ", [batch(ROWS)], 500)
        assert first.local() == first.path, "what is here is read"
        os.unlink(first.path)
        with pytest.raises(Unavailable, match="bucket"):
            first.local()
        link.mend()
        sealer.seal("trades", "MNQ", [batch(ROWS)], 500)
        assert seqs_of(lake) == seqs(ROWS)
        assert verify(lake).percent == 100.0


def test_wrong_credentials_are_told_in_one_line_without_them(tmp_path, manual_clock):
    with running_s3(tmp_path / "s3", is_strict=True) as server:
        good = load_settings({"DATA_DIR": str(tmp_path / "one"), **server.settings()}, environ={})
        Sealer(lake_of(good), manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
        for wrong in (
            {"AWS_SECRET_ACCESS_KEY": "not-the-secret"},
            {"AWS_ACCESS_KEY_ID": "AKIANOBODY"},
        ):
            lake = opened(good, tmp_path / "two", **wrong)
            with pytest.raises(LakeRefused) as refused:
                lake.pull("trades")
            told = refused.value.message + refused.value.hint + repr(refused.value.__cause__)
            assert "\n" not in told
            assert "AWS_SECRET_ACCESS_KEY" in told
            assert not any(value in told for value in wrong.values())
        no_bucket = opened(good, tmp_path / "two", LAKE_URL="s3://nobody/lake")
        with pytest.raises(LakeRefused, match="NoSuchBucket"):
            no_bucket.far.bucket.check()
