"""Lags of what is durable and of Redis, live on the data page."""

from core.board import Board
from webui.hub import SLOW_AT
from webui.words import DASH


def cells(site):
    site.look()
    return site.house.hub.gatherer.lags.sheet()


def test_rows_that_are_visible_and_not_durable_are_behind(site):
    site.trade("MNQ", 1.0, rows=5)
    site.store.commit()
    site.look()
    site.clock.advance_s(1)
    site.trade("MNQ", 1.0, rows=20)
    sheet = cells(site)
    assert sheet.t["mark.trades.visible"] == "25"
    assert sheet.t["mark.trades.unsealed"] == "25"
    behind = int(sheet.t["mark.trades.behind"])  # the writer may have made them durable meanwhile
    assert sheet.t["mark.trades.rate"] == "20/s"
    assert sheet.t["mark.trades.lag"] == "1 s" or behind < 20
    assert sheet.g["mark.trades.spark"].startswith("M0 ")


def test_redis_has_a_line_while_its_process_runs(site):
    assert "mark.redis.lag" not in cells(site).t
    mirror = Board("mirror", site.clock)
    mirror.gauge("lag_ms", 12.4)
    mirror.gauge("behind_rows", 31)
    mirror.publish(site.paths.status("mirror"))
    sheet = cells(site)
    assert (sheet.t["mark.redis.lag"], sheet.t["mark.redis.behind"]) == ("12.4 ms", "31")
    assert sheet.t["mark.redis.visible"] == DASH
    assert 'data-t="mark.redis.lag">12.4 ms' in site.ask("/data").text


def test_the_lags_are_streamed_to_the_page_that_shows_them(site):
    site.trade("MNQ", 1.0)
    site.look()
    hub = site.house.hub
    hub._tick = SLOW_AT["lags"]
    hub._gather(frozenset({"lags"}))
    assert b"mark.trades.visible" in hub._topics["lags"].body


def test_a_short_lag_stays_at_the_bottom_of_its_graph_and_a_long_one_fills_it(site):
    mirror = Board("mirror", site.clock)
    for ms in (1.0, 1.0):
        mirror.gauge("lag_ms", ms)
        mirror.publish(site.paths.status("mirror"))
        path = cells(site).g["mark.redis.spark"]
    assert path == "M0 19l1 0"
    mirror.gauge("lag_ms", 5_000.0)
    mirror.publish(site.paths.status("mirror"))
    assert cells(site).g["mark.redis.spark"].endswith("1 -17")
