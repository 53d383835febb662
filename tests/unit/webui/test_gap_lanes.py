"""Gaps over time, and asking for their rows."""

import pytest

from core.errors import BadTicket
from storage.intake import IntakeServer
from tests.unit.webui.site import FROM_US
from webui.backfill import hindrance_of
from webui.gap_lanes import LANES_MAX, WIDTH, gaps_of_day, is_hole, lanes_of
from webui.ledger import GapRow

DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
NOW_US = 1_795_600_000_000_000


def gap(number=1, *, symbol="MNQ", table="trades", ago_h=2.0, hours=1.0, state="open", **more):
    from_us = NOW_US - int(ago_h * HOUR_US)
    to_us = None if hours is None else from_us + int(hours * HOUR_US)
    told = {"reason": "connection lost", "rows": None, "seq": number, "source": "dxlink", **more}
    return GapRow(number, table, symbol, from_us, to_us, state=state, **told)


def test_a_mark_lies_where_its_gap_lies_in_time():
    (lane,) = lanes_of([gap(ago_h=12, hours=6)], NOW_US, "day").lanes
    (mark,) = lane.marks
    assert (mark.x, mark.width, mark.look) == (WIDTH / 2, WIDTH / 4, "open")
    assert "MNQ trades" in mark.words
    assert "connection lost" in mark.words


def test_a_day_names_what_is_missing_of_its_trades():
    start_us = NOW_US - DAY_US
    gaps = [
        gap(1, ago_h=30, hours=7),
        gap(2, ago_h=30, hours=6),  # ends where the day begins
        gap(3, ago_h=1, hours=None),
        gap(4, state="backfilled"),
        gap(5, table="quotes"),
        gap(6, ago_h=-1),
    ]
    found = gaps_of_day(gaps, start_us, NOW_US)
    assert [key for key, _ in found] == ["trades.1", "trades.3"]
    assert found[1][1].startswith("open: MNQ trades from ")
    assert not is_hole(gaps[0], start_us + HOUR_US, NOW_US)


def test_what_lasts_reaches_to_now_and_what_began_before_the_span_is_cut():
    (lane,) = lanes_of([gap(ago_h=100, hours=None)], NOW_US, "day").lanes
    assert [(m.x, m.width) for m in lane.marks] == [(0, WIDTH)]
    assert "lasts" in lane.marks[0].words


def test_each_symbol_table_and_source_has_a_lane_open_ones_first():
    gaps = [
        gap(1, state="backfilled"),
        gap(2, symbol="SPY"),
        gap(3, symbol="SPY", source="scid"),
        gap(4, symbol="SPY", table="quotes"),
        gap(5, symbol="SPY", state="unrepairable"),
    ]
    lanes = lanes_of(gaps, NOW_US, "week").lanes
    assert [(lane.symbol, lane.table, lane.source) for lane in lanes] == [
        ("SPY", "trades", "dxlink"), ("SPY", "trades", "scid"), ("SPY", "quotes", "dxlink"),
        ("MNQ", "trades", "dxlink"),
    ]  # fmt: skip
    assert [mark.look for mark in lanes[0].marks] == ["open", "lost"]


def test_what_is_not_drawn_is_counted():
    old = gap(1, ago_h=24 * 9)
    many = [gap(n, symbol=f"S{n}") for n in range(2, LANES_MAX + 7)]
    found = lanes_of([old, *many], NOW_US, "week")
    assert len(found.lanes) == LANES_MAX
    assert found.hidden == 1 + len(many) - LANES_MAX


@pytest.mark.parametrize("span", ["day", "week", "month", "", "decade"])
def test_every_span_has_a_scale_and_shades_the_closed_hours(span):
    found = lanes_of([gap()], NOW_US, span)
    assert 3 <= len(found.ticks) <= 8
    assert all(0 <= x < 100 for x, _ in found.ticks)
    assert found.closed.startswith("M")  # each day has its break


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ({"table": "quotes"}, "no history of quotes"),
        ({"table": "book"}, "full snapshot"),
        ({"table": "gex"}, "after the close"),
        ({"symbol": "*"}, "all symbols"),
        ({}, "no feed that keeps history"),
    ],
)
def test_where_nobody_can_be_asked_it_is_said_why(about, word):
    assert word in hindrance_of(gap(**about), [])


def put_gap(site, state="open"):
    """One gap in the ledger; what the page calls it."""
    now_us = site.clock.now_ns() // 1_000
    row = {"symbol": "MNQ", "ts_event": now_us, "ts_recv": now_us, "source": "dxlink",
           "table_name": "trades", "from_ts": now_us - HOUR_US, "to_ts": now_us,
           "reason": "MNQZ26: connection lost", "state": state, "closed_at": None, "rows": None,
           "gap_id": 42}  # fmt: skip
    site.store.append_rows("gaps", [row])
    site.look()
    return "trades.42"


def ask(site, name, **more):
    return site.ask("/ui/gaps/backfill", method="POST", json={"gap": name}, headers=FROM_US, **more)


def test_the_page_draws_a_gap_tells_it_in_a_table_and_why_it_cannot_be_filled(site):
    name = put_gap(site)
    page = site.ask("/data").text
    assert f'href="#gap-{name}"' in page
    assert f'id="gap-{name}"' in page
    assert "no feed that keeps history runs here" in page
    assert "data-backfill" not in page
    refused = ask(site, name)
    assert refused.status_code == 400
    assert "no feed that keeps history" in refused.json()["message"]


def test_the_writer_is_asked_once_and_what_it_does_is_told(site):
    name, heard = put_gap(site, "unrepairable"), []

    def answer(header, body):
        heard.append(header)
        return {"told": "history of MNQZ26 is asked once more"}

    site.boards["ingest"].state("tastytrade", "ok")
    site.publish()
    site.look()
    assert f'data-backfill="{name}"' in site.ask("/data").text
    assert ask(site, name).status_code == 503  # nobody writes here
    writer = IntakeServer(site.paths, answer)
    writer.start()
    try:
        answered = ask(site, name)
    finally:
        writer.stop()
    assert answered.status_code == 202
    assert answered.json() == {"told": "history of MNQZ26 is asked once more"}
    assert heard == [{"op": "backfill", "table": "trades", "symbol": "MNQ", "gap_id": 42}]
    assert "asked to fill a gap in trades of MNQ" in site.ask("/events").text


def test_a_feed_that_cannot_says_why(site):
    name = put_gap(site)
    site.boards["ingest"].state("tastytrade", "ok")
    site.publish()
    site.look()

    def answer(header, body):
        raise BadTicket("MNQZ26 is not listened to", hint="import files")

    writer = IntakeServer(site.paths, answer)
    writer.start()
    try:
        refused = ask(site, name)
    finally:
        writer.stop()
    assert refused.status_code == 400
    assert "MNQZ26 is not listened to; import files" in refused.json()["message"]


def test_only_an_administrators_own_page_asks_for_rows(site):
    name = put_gap(site)
    assert ask(site, "trades.43").status_code == 400
    foreign = site.ask("/ui/gaps/backfill", method="POST", json={"gap": name},
                       headers={"origin": "http://127.0.0.1:1"})  # fmt: skip
    assert foreign.status_code == 403
    bearer = {"authorization": f"Bearer {site.key('eye', 'ui')}"}
    eye = site.ask("/ui/gaps/backfill", method="POST", json={"gap": name}, headers=bearer)
    assert eye.status_code == 403


def test_a_gap_that_is_filled_has_no_button(site):
    name = put_gap(site, "backfilled")
    site.boards["ingest"].state("tastytrade", "ok")
    site.publish()
    site.look()
    assert "data-backfill" not in site.ask("/data").text
    assert ask(site, name).status_code == 400
