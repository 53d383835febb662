"""What the header says of this machine itself: its clock, and how long sealing took."""

import pytest

from webui.picture import Storage
from webui.words import DASH


def problems(site):
    site.publish()
    site.look()
    return site.ask("/ui/status").json()["d"]["status"]["r"]["problems"]


@pytest.mark.parametrize("lag_ms", [-1_400.0, -90_000.0])
def test_prices_from_the_future_prove_that_the_clock_is_slow(site, lag_ms):
    site.boards["ingest"].gauge("dxlink.lag_ms.MNQZ26", lag_ms)
    site.boards["ingest"].gauge("dxlink.lag_ms.NQZ26", 4.0)
    assert [p["cells"][0] for p in problems(site) if p["key"] == "clock"] == ["Clock is slow"]


@pytest.mark.parametrize("lag_ms", [5_000.0, 12.0, -900.0])
def test_prices_that_come_late_say_nothing_of_the_clock(site, lag_ms):
    site.boards["ingest"].gauge("dxlink.lag_ms.MNQZ26", lag_ms)
    assert [p for p in problems(site) if p["key"] == "clock"] == []


@pytest.mark.parametrize(
    ("error_s", "words"),
    [
        (3.2, ["Clock is fast", "at least 3.2 s ahead of the server of GEXBot, limit 1 s"]),
        (-65.0, ["Clock is slow", "at least 65 s behind the server of GEXBot, limit 1 s"]),
    ],
)
def test_a_server_that_says_another_time_proves_a_clock_fast_or_slow(site, error_s, words):
    ingest = site.boards["ingest"]
    ingest.gauge("clock.error_s.GEXBot", error_s)
    ingest.gauge("clock.told_s.GEXBot", site.clock.now_ns() / 1e9)
    assert [p["cells"] for p in problems(site) if p["key"] == "clock"] == [words]
    site.clock.advance_s(601)  # it may have been set since
    assert [p for p in problems(site) if p["key"] == "clock"] == []


def test_how_long_the_last_seal_took_is_told_once_there_was_one(site):
    assert site.ask("/ui/status").json()["d"]["status"]["t"]["hot.took"] == DASH
    site.boards["ingest"].gauge("sealer.last_s", 0.42)
    problems(site)
    assert site.ask("/ui/status").json()["d"]["status"]["t"]["hot.took"] == "420 ms"


def test_a_disk_that_is_nearly_full_is_a_problem(site):
    site.house.hub.gatherer.storage = Storage(free_bytes=4 << 30, disk_bytes=100 << 30)
    status = site.ask("/ui/status").json()["d"]["status"]
    assert ["Disk nearly full", "4.00 GiB left"] in [p["cells"] for p in status["r"]["problems"]]
    assert status["s"]["hot.free"] == "degraded"


def test_history_that_retention_cut_is_an_event(site):
    site.boards["ingest"].gauge("retention.pruned_files", 0)
    problems(site)
    site.boards["ingest"].gauge("retention.pruned_files", 3)
    problems(site)
    assert "3 files older than 365 d left the lake" in site.ask("/events").text
