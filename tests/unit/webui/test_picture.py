"""What is gathered, on a real store: rates, ages, gaps, calls, coverage."""

import math
import re
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from core.board import Board
from core.clock import HOUR_NS, MINUTE_NS, NS_PER_US
from core.schema import BOOK, GAPS, QUERIES, SPOT_CHECKS
from flight_server.main import open_calls
from storage.seal import Sealer
from tests.fakes.manual_clock import OPEN_NS
from webui.calls import CallRow, summed
from webui.coverage import Coverage, grid_paths, sealed_hours
from webui.market import day_start_us, percentile_cap, regime_of
from webui.sheet import Sheet, beat_paths, runs_of, spark_path
from webui.sheets import coverage_sheet, queries_sheet, status_sheet, symbols_sheet
from webui.views_live import bar_frame, ladder_frame
from webui.words import DASH

BLANK = {pa.utf8(): "", pa.int64(): 0, pa.int16(): 0, pa.float64(): 0.0, pa.bool_(): True}


def put(site, table, **values):
    """One row of a slow table, blank where nothing is said."""
    now_us = site.clock.now_ns() // NS_PER_US
    row = {f.name: BLANK.get(f.type) for f in table.plain_schema if f.name != "seq"}
    moment = datetime.fromtimestamp(now_us / 1e6, UTC).replace(tzinfo=None)
    row |= {"ts_event": moment, "ts_recv": moment, "source": "test"} | values
    store = site.store
    if table is QUERIES:  # written by the process that answers calls
        store = open_calls(site.settings, site.clock)
    store.append_rows(table.name, [row])
    if table is QUERIES:
        store.close()


def moment(site, ago_s=0):
    seconds = site.clock.now_ns() / 1e9 - ago_s
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def test_a_rate_is_what_came_in_over_the_last_seconds(site):
    site.look()
    for _ in range(5):
        site.trade("MNQ", 24_916.25, rows=20)
        site.clock.advance_s(1)
        site.look()
    assert site.house.hub.gatherer.rates["trades"] == pytest.approx(20)


def test_a_symbol_shows_price_change_spread_and_age(site):
    site.trade("MNQ", 24_900.0, age_s=120)
    site.trade("MNQ", 25_149.0, age_s=2)
    site.look()
    sheet = symbols_sheet(site.house.hub.gatherer)
    assert sheet.t["sym.MNQ.last"] == "25,149.00"
    assert sheet.t["sym.MNQ.day"] == "▲ 1.00 %"
    assert sheet.s["sym.MNQ.day"] == "up"
    assert sheet.a["sym.MNQ.age"] == site.clock.now_ns() // 1_000_000 - 2_000


def test_a_symbol_is_late_in_an_open_market_and_closed_in_a_closed_one(site):
    site.trade("MNQ", 1.0)
    site.look()
    now = site.house.hub.gatherer
    assert symbols_sheet(now).s["sym.MNQ"] == "ok"
    site.clock.advance_ns(2 * MINUTE_NS)
    site.look()
    assert symbols_sheet(now).s["sym.MNQ"] == "late"
    site.clock.advance_ns(30 * HOUR_NS)  # Saturday
    site.look()
    assert symbols_sheet(now).s["sym.MNQ"] == "closed"


def test_bars_and_ladder_follow_the_newest_rows(site):
    site.trade("MNQ", 10.0, size=3)
    prices = [9.75 - i * 0.25 for i in range(10)]
    asks = [10.0 + i * 0.25 for i in range(9)] + [math.nan]
    sizes = list(range(1, 11))
    put(site, BOOK, symbol="MNQ", contract="MNQZ26", bid_px=prices, bid_sz=sizes,
        ask_px=asks, ask_sz=sizes)  # fmt: skip
    site.look()
    now = site.house.hub.gatherer
    frame = bar_frame(now, "MNQ")
    assert frame["m"][-1][1:] == [10.0, 10.0, 10.0, 10.0, 3]
    book = ladder_frame(now, "MNQ")
    assert (len(book["b"]), len(book["a"])) == (10, 9)
    assert book["b"][0] == (9.75, 1)


def test_gaps_count_as_they_stand_now(site):
    gap = {"symbol": "MNQ", "table_name": "trades", "gap_id": 1, "reason": "lost connection"}
    put(site, GAPS, **gap, state="open", from_ts=moment(site, 60))
    site.look()
    now = site.house.hub.gatherer
    assert status_sheet(now).t["int.open"] == "1"
    put(site, GAPS, **gap, state="backfilled", from_ts=moment(site, 60), to_ts=moment(site, 30))
    site.look()
    sheet = status_sheet(now)
    assert (sheet.t["int.open"], sheet.t["int.backfilled"]) == ("0", "1")
    assert any("backfilled" in event["text"] for event in site.house.journal.newest(5))


def test_the_score_is_rows_that_were_equal_and_never_rounded_up(site):
    checked = {"symbol": "MNQ", "table_name": "trades", "witness": "scid"}
    put(site, SPOT_CHECKS, **checked, outcome="match", rows=10_000, matched=10_000,
        from_ts=moment(site), to_ts=moment(site))  # fmt: skip
    put(site, SPOT_CHECKS, **checked, outcome="mismatch", rows=10_000, matched=9_979,
        detail="21 rows differ", from_ts=moment(site), to_ts=moment(site))  # fmt: skip
    site.look()
    sheet = status_sheet(site.house.hub.gatherer)
    assert sheet.t["int.score"] == "99.89 %"
    assert sheet.s["int.score"] == "degraded"
    assert sheet.t["int.failure"] == "21 rows differ"


def test_without_any_check_there_is_no_score(site):
    site.look()
    assert status_sheet(site.house.hub.gatherer).t["int.score"] == DASH


def test_calls_are_summed_by_key_and_denials_are_not_in_the_times(site):
    for ms, outcome in ((1.0, "ok"), (3.0, "ok"), (500.0, "forbidden")):
        put(site, QUERIES, key_name="bot", method="do_get", ticket="latest:*", ms=ms,
            outcome=outcome)  # fmt: skip
    site.look()
    sheet = queries_sheet(site.house.hub.gatherer)
    assert sheet.r["keys"][0]["cells"][:3] == ["bot", "3", "2.00 ms"]
    assert sheet.r["keys"][0]["cells"][5] == "1"


def test_a_keys_day_is_counted_from_memory_and_the_lake_once_a_minute(site):
    for ago_s, outcome in ((2 * 86_400, "ok"), (7_200, "ok"), (7_000, "forbidden"), (60, "ok")):
        put(site, QUERIES, key_name="bot", method="do_get", outcome=outcome, ts_event=moment(
            site, ago_s), peer=f"ipv4:10.0.0.1:{ago_s}")  # fmt: skip
    calls, now_us = site.house.hub.gatherer.calls, site.clock.now_ns() // 1_000
    use = calls.last_day(now_us)["bot"]
    assert (use.count, use.denied, use.last_us) == (3, 1, now_us - 60_000_000)
    assert use.peer == "ipv4:10.0.0.1:60"
    put(site, QUERIES, key_name="bot", method="do_get", outcome="ok", ts_event=moment(site, 1))
    assert calls.last_day(now_us) == {"bot": use}
    assert calls.last_day(now_us + 60_000_000)["bot"].count == 4


def test_a_process_that_was_started_again_is_counted_and_told(site):
    board = site.boards["ingest"]
    board.state("sealer", "ok")
    site.publish()
    site.look()
    site.clock.advance_s(1)
    site.boards["ingest"] = Board("ingest", site.clock)
    site.boards["ingest"].state("sealer", "ok")
    site.publish()
    site.look()
    site.look()
    (event, *_) = site.house.journal.newest(1)
    assert event["text"] == "Process ingest was started again"
    facts = dict(site.ask("/ui/service?key=sealer").json()["facts"])
    assert facts["Started again"] == "1 times seen"
    assert facts["Process ingest runs since"] == site.clock.now_ns() // 1_000_000
    facts = dict(site.ask("/ui/service?key=flight").json()["facts"])
    assert facts["Started again"] == "0 times seen"


def test_a_day_leads_to_the_gaps_that_make_its_hours_partial(site):
    site.trade("MNQ", 1.0)
    gap = {"symbol": "MNQ", "table_name": "trades", "gap_id": 7, "reason": "connection lost"}
    put(site, GAPS, **gap, state="open", from_ts=moment(site, 60), to_ts=moment(site, 30))
    site.look()
    page = site.ask(f"/data?day={moment(site, 60):%Y-%m-%d}").text
    (link,) = re.findall(r'<a class="rowlink" href="#(gap-[^"]+)">open: MNQ trades', page)
    assert f'id="{link}"' in page
    assert "open: MNQ" not in site.ask("/data?day=2020-01-06").text.partition("Gaps over")[0]


def test_the_keys_page_tells_the_day_of_a_key_that_was_quiet_for_an_hour(site):
    site.key("bot", "read")
    put(site, QUERIES, key_name="bot", method="do_get", outcome="ok", ts_event=moment(site, 7_200),
        peer="ipv4:10.0.0.1:5")  # fmt: skip
    site.look()
    line = site.ask("/keys").text.partition("bot</span>")[2].partition("</tr>")[0]
    assert "10.0.0.1" in line
    assert '<td class="n v">1</td>' in line


def test_what_waits_in_the_feeds_buffer_is_told(site):
    site.look()
    now = site.house.hub.gatherer
    assert status_sheet(now).t["hot.buffer"] == DASH
    told = []
    for waiting, spilled in ((0, 0), (12, 0), (12, 3_400)):
        site.boards["ingest"].gauge("dxlink.backlog", waiting)
        site.boards["ingest"].gauge("dxlink.spilled", spilled)
        site.publish()
        site.look()
        sheet = status_sheet(now)
        told.append((sheet.t["hot.buffer"], sheet.s["hot.buffer"]))
    assert told == [
        ("0 waiting", "ok"),
        ("12 waiting", "late"),
        ("12 waiting, 3,400 went by disk", "late"),
    ]


def test_a_live_stream_is_no_slow_call():
    calls = [
        CallRow(0, "bot", "do_get", "live:MNQ", 0, 0, 60_000.0, "ok", ""),
        CallRow(0, "bot", "do_get", "latest:MNQ", 1, 0, 2.0, "ok", ""),
    ]
    assert summed("bot", calls).p99 == 2.0


def test_a_change_of_state_is_an_event_and_a_beat(site):
    board = site.boards["ingest"]
    board.state("sealer", "ok")
    site.publish()
    site.look()
    board.state("sealer", "degraded", "disk full")
    site.publish()
    site.look()
    (event, *_) = site.house.journal.newest(1)
    assert event["text"] == "Sealer degraded: disk full"
    assert site.house.hub.gatherer.beats("sealer") == "d"


def test_coverage_counts_sealed_hours_against_those_of_the_session(site):
    site.trade("MNQ", 1.0)
    site.clock.advance_ns(2 * HOUR_NS)
    sealer = Sealer(site.settings.lake_url, site.clock)
    slices = site.house.hub.gatherer.tape.after("trades", "MNQ", 0)
    sealer.seal("trades", "MNQ", [s.batch for s in slices], slices[-1].last_seq)
    snapshot = sealer.manifest("trades").snapshot()
    day = datetime.fromtimestamp(OPEN_NS / 1e9, UTC).date()
    assert sealed_hours(snapshot.pruned())["MNQ"][day] == {14}
    coverage = Coverage()
    coverage.build(snapshot, (), ["MNQ"], site.clock.now_ns())
    today = coverage.days[-1]
    assert (today.day, today.sealed_hours, today.level) == (day, 1, "hot")
    assert today.expected_hours == 2  # since the tape began
    paths, width = grid_paths(coverage.days, 11, 3)
    assert re.fullmatch(r"M[\d.]+ \d+v11", paths["hot"])
    assert len("".join(paths.values())) < 2_000  # it is in every page
    coverage.build(snapshot, (), ["MNQ"], OPEN_NS)  # within the hour that is sealed
    assert (coverage.days[-1].sealed_hours, coverage.days[-1].expected_hours) == (1, 1)
    assert width >= 53 * 14


def test_the_trading_day_of_futures_begins_the_evening_before():
    assert datetime.fromtimestamp(day_start_us(OPEN_NS, "cme") / 1e6, UTC).hour == 23
    assert datetime.fromtimestamp(day_start_us(OPEN_NS, "nyse") / 1e6, UTC).hour == 9


def test_the_regime_is_said_by_the_side_of_zero_gamma():
    assert regime_of(25_000.0, 24_900.0) == ("calm", 100.0)
    assert regime_of(24_800.0, 24_900.0) == ("volatile", -100.0)
    assert regime_of(24_800.0, None) == ("unknown", None)


def test_one_giant_order_does_not_flatten_the_ladder():
    assert percentile_cap([10] * 19 + [5_000]) == 10
    assert percentile_cap([]) == 1


def test_equal_beats_are_one_stroke():
    assert runs_of("oooxo") == "3o1x1o"
    assert beat_paths("3o1x1o") == {"o": "M0 5H12M16 5H20", "x": "M12 5H16"}
    assert beat_paths(runs_of("")) == {}
    assert beat_paths("2-1o") == {"-": "M0 5H8", "o": "M8 5H12"}


def test_the_lake_is_told_whole_whatever_table_a_file_is_of(site):
    site.trade("MNQ", 1.0)
    put(site, GAPS, symbol="MNQ", table_name="trades", from_ts=moment(site), gap_id=1, state="open")
    site.store.commit()
    sealer, tape = Sealer(site.settings.lake_url, site.clock), site.house.hub.gatherer.tape
    for table in ("trades", "gaps"):
        slices = tape.after(table, "MNQ", 0)
        sealer.seal(table, "MNQ", [s.batch for s in slices], slices[-1].last_seq)
    site.look()
    storage, view = site.house.hub.gatherer.storage, tape.view()
    assert [view.snapshot(table).rows for table in ("trades", "gaps")] == [1, 1]
    assert (storage.lake_rows, storage.lake_files) == (4, 4)  # with the bars of the trade


def test_of_a_symbol_whose_rows_are_years_old_the_last_bars_are_shown(site):
    site.trade("ES", 4_810.0, age_s=3 * 365 * 86_400)
    site.store.commit()
    sealer, tape = Sealer(site.settings.lake_url, site.clock), site.house.hub.gatherer.tape
    slices = tape.after("trades", "ES", 0)
    sealer.seal("trades", "ES", [s.batch for s in slices], slices[-1].last_seq)
    site.look()
    symbol = site.house.hub.gatherer.market.symbols["ES"]
    assert [bar.close for bar in symbol.bars.minutes.last(9)] == [4_810.0]
    site.trade("ES", 6_000.0)
    site.clock.advance_s(60)
    site.look()
    assert symbol.change() == 0  # not against a close of years ago


def test_before_anything_is_sealed_no_hour_is_missed(site):
    site.trade("MNQ", 1.0)
    site.clock.advance_ns(2 * HOUR_NS)
    site.look()
    sheet = coverage_sheet(site.house.hub.gatherer)
    assert (sheet.t["cov.sum"], sheet.t["cov.percent"]) == ("0 of 0 symbol hours", DASH)


def test_a_count_in_millions_is_told_exactly_beside():
    sheet = Sheet()
    sheet.count("rows", 31_212_345)
    sheet.count("few", 12_345)
    assert sheet.t == {"rows": "31.2 M", "few": "12,345"}
    assert sheet.x == {"rows": "31,212,345"}


def test_a_spark_of_nothing_is_no_path():
    assert spark_path([]) == ""
    assert spark_path([0, 2, 1]) == "M0 19l1 -17 1 9"
