"""The benches run, count every row, and show both sides; the figures themselves are not judged."""

import json
from pathlib import Path

import pytest

from bench.figure import Figure
from tests.conftest import tickflight

pytestmark = pytest.mark.performance


def test_a_quick_run_tells_every_ingest_figure_to_machines(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    told = tickflight(tmp_path, "bench", "ingest", "restart", "--quick", "--json", str(out))
    found = json.loads(out.read_bytes())
    names = [figure["name"] for figure in found["figures"]]
    assert names[:2] == ["ingest, batches of 1,000", "ingest, batches of 10"]
    assert names[2].startswith("restart with 4,500,000 hot rows")
    assert found["quick"] is True
    assert "cores" in found["machine"]
    assert all(figure["value"] > 0 for figure in found["figures"][:2])
    assert all(name in told for name in names)


def test_streams_and_latest_are_shown_beside_their_floor(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    tickflight(tmp_path, "bench", "latest", "stream", "--quick", "--json", str(out))
    figures = {figure["name"]: figure for figure in json.loads(out.read_bytes())["figures"]}
    assert len(figures) == 5
    for figure in figures.values():
        if figure["floor"] is not None:
            assert figure["measured"] == pytest.approx(figure["value"] / figure["floor"])


def test_sierra_files_are_decoded_imported_and_followed(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    tickflight(tmp_path, "bench", "sierra", "--quick", "--json", str(out))
    figures = {figure["name"]: figure for figure in json.loads(out.read_bytes())["figures"]}
    assert len(figures) == 7
    assert all(figure["value"] > 0 for figure in figures.values())
    assert figures["Parquet of a depth record"]["is_met"]


def test_a_figure_is_met_by_its_ratio_where_it_has_a_floor() -> None:
    fast = Figure("stream", 95.0, "rows/s", 0.95, more_is_better=True, floor=100.0)
    slow = Figure("latest", 18.1, "us", 1.8, more_is_better=False, floor=10.0)
    bare = Figure("restart", 1.5, "s", 2.0, more_is_better=False)
    assert [figure.is_met for figure in (fast, slow, bare)] == [True, False, True]
    assert "0.950x" in fast.line()
    assert slow.line().startswith("MISSED")


def test_the_feed_is_shown_beside_the_vendors_client_and_a_burst_loses_nothing(
    tmp_path: Path,
) -> None:
    out = tmp_path / "bench.json"
    tickflight(tmp_path, "bench", "feed", "--quick", "--json", str(out))
    figures = {figure["name"]: figure for figure in json.loads(out.read_bytes())["figures"]}
    assert len(figures) == 6
    assert figures["feed, 10 prints a frame, a CPU-second"]["measured"] > 3
    assert figures["burst of 100,000 prints/s for 1 s, prints lost"]["value"] == 0


def test_posts_of_gamma_and_a_history_file_are_answered_and_imported(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    tickflight(tmp_path, "bench", "gex", "--quick", "--json", str(out))
    figures = json.loads(out.read_bytes())["figures"]
    assert [figure["unit"] for figure in figures] == ["ms", "ms", "ms", "ms", "snaps/s", "MB", "s"]
    assert all(figure["value"] > 0 for figure in figures if figure["unit"] != "MB")
