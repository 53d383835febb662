"""A lake in a bucket as it is served: to SQL, which reaches no bucket, and to a follower."""

import threading

import polars as pl
import pyarrow as pa
import pytest

from core.board import Board
from core.errors import BadSql, Forbidden, TooSlow, Unavailable
from core.schema import TABLES
from storage.lake import lake_of
from storage.lake_news import LakeNews
from storage.manifest import Manifest
from storage.paths import Paths
from storage.query import QueryLimits, QueryService, Question
from storage.query_lane import WantedFile
from storage.seal import Sealer
from tests.fakes.bucket_lake import ROWS, opened
from tests.fakes.deadline import until
from tests.fakes.lake_rows import batch
from tests.fakes.s3_server import linked


@pytest.fixture
def sql(given, tmp_path, manual_clock):
    """A query service on another machine that has none of the files."""
    Sealer(lake_of(given), manual_clock).seal("trades", "MNQ", [batch(ROWS)], 500)
    other = opened(given, tmp_path / "two")
    other.pull("trades")
    service = QueryService(
        Paths(tmp_path / "two"), other, QueryLimits(2, 10_000, 1 << 30, 1 << 30), lanes=1
    )
    service.start()
    yield service, other
    service.stop()


COUNT = Question("SELECT count(*) AS rows, sum(seq) AS seqs FROM trades")


def test_sql_is_given_the_files_it_will_read_and_no_others(sql):
    service, lake = sql
    one_hour = "SELECT count(*) AS rows FROM trades WHERE ts_event < '2026-11-20 14:30'"
    assert service.run(Question(one_hour)).read_all().to_pylist() == [{"rows": 60}]
    assert len(list(lake.folder.rglob("*.parquet"))) == 1
    (found,) = service.run(COUNT).read_all().to_pylist()
    assert found == {"rows": len(ROWS), "seqs": sum(row.seq for row in ROWS)}
    assert len(list(lake.folder.rglob("*.parquet"))) == 3


def test_sql_reaches_neither_the_bucket_nor_other_files_of_this_machine(sql, given):
    service, _ = sql
    for name in (f"{given.lake_url}/trades/*.parquet", "/etc/passwd", given.data_dir / "tape.id"):
        with pytest.raises((BadSql, Forbidden)):
            service.run(Question(f"SELECT * FROM read_text('{name}')")).read_all()
        with pytest.raises((BadSql, Forbidden)):
            service.run(Question(f"SELECT * FROM '{name}'")).read_all()


def test_a_bucket_that_hangs_holds_a_statement_no_longer_than_its_time(s3, sql):
    service, _ = sql
    s3.pause()
    try:
        with pytest.raises((TooSlow, Unavailable)) as stopped:
            service.run(COUNT).read_all()
        assert "bucket" in stopped.value.message
    finally:
        s3.resume()
    assert service.restarts == 0, "the worker only waited"
    until(lambda: service.run(COUNT).read_all().num_rows == 1, 60)


def test_no_process_can_have_a_file_fetched_to_elsewhere(given, tmp_path):
    lake = lake_of(given)
    for path in (f"{tmp_path}/x.parquet", f"{lake.folder}/trades/../../../x.parquet"):
        with pytest.raises(Unavailable, match="no such sealed file"):
            lake.fetch([WantedFile(path, 1)])


def test_a_follower_is_told_of_a_seal_once_its_log_has_come(s3, given, tmp_path, manual_clock):
    told, board, stopping = [], Board("follow", manual_clock), threading.Event()

    def part():
        return board.snapshot()["parts"].get("bucket", {"state": "", "detail": ""})

    sealer = Sealer(lake_of(given), manual_clock)
    with linked(s3) as link:
        other = opened(given, tmp_path / "two", AWS_ENDPOINT_URL=link.url)
        news = LakeNews(other, lambda *heard: told.append(heard), board)
        following = threading.Thread(target=news.run, args=(stopping,))
        following.start()
        try:
            sealer.seal("trades", "MNQ", [batch(ROWS[:60])], 200)
            news.hear("trades", 7)
            until(lambda: told == [("trades", 7)])
            assert Manifest(other, "trades").refresh().rows == 60
            assert Manifest(other, "bars_1m").refresh().rows == 1
            link.cut()
            sealer.seal("trades", "MNQ", [batch(ROWS)], 500)
            sealer.seal("gaps", "MNQ", [one_gap()], 1)
            news.hear("trades", 8)
            news.hear("gaps", 8)
            until(lambda: part()["state"] == "degraded", 30)
            assert "cannot be reached" in part()["detail"]
            link.mend()
            until(lambda: len(told) == 3, 30)
            assert part()["state"] == "ok"
            assert Manifest(other, "trades").refresh().rows == len(ROWS)
            link.cut()
            (gaps,) = Manifest(other, "gaps").refresh().pruned()
            assert pl.read_parquet(gaps.local()).height == 1, "holes are known without the bucket"
        finally:
            stopping.set()
            following.join()


def one_gap():
    schema = TABLES["gaps"].schema
    row = {"symbol": "MNQ", "seq": 1, "ts_event": ROWS[0].ts_us, "ts_ns": 0, "reason": "silence"}
    times = {f.name: ROWS[0].ts_us for f in schema if pa.types.is_timestamp(f.type)}
    plain = {f.name: [{**times, **row}.get(f.name)] for f in schema}
    return pa.RecordBatch.from_pydict(
        {
            f.name: pa.array(plain[f.name], pa.int64()).cast(f.type)
            if pa.types.is_timestamp(f.type)
            else pa.array(plain[f.name], f.type)
            for f in schema
        },
        schema,
    )
