"""Whatever the service does: what is stored is the truth, less what the ledger names."""

from dataclasses import replace

import pytest

from core.errors import DiskFull
from ingest.dxlink_wire import HISTORY, STREAM, TICKER
from tests.fakes.deadline import until
from tests.fakes.dxlink_place import FAST, MNQ, SPY, MemoryPlace, running_feed
from tests.fakes.dxlink_server import DxlinkServer

MADE = {i.streamer_symbol: (i.symbol, i.contract) for i in (MNQ, SPY)}


def miss(server, count=200):
    """Prints that happen and are told to nobody; what fails next is why."""
    server.tape.trade(count)


def lose_connection(feed, server):
    server.close()
    feed.wait_back()


def test_live_prints_are_stored_once_each(feed):
    assert feed.place.gaps() == []


@pytest.mark.parametrize("code", [1000, 1001, 1009, 1011, 1012])
def test_a_closed_connection_is_made_again_and_the_hole_filled(feed, server, code):
    server.faults.refused_upgrades = 3
    miss(server)
    server.close(code)
    feed.wait_back()
    server.trade(100)
    feed.wait_whole()
    assert feed.place.gaps()


def test_a_reset_connection_loses_nothing(feed, server):
    server.do(server._trade, 300, None)
    server.faults.refused_upgrades = 2
    miss(server)
    server.reset()
    feed.wait_back()
    feed.wait_whole()


def test_a_half_open_connection_is_given_up(feed, server, clock):
    server.faults.is_mute = True
    server.trade(100)
    clock.advance_s(60)
    until(lambda: feed.count("dxlink.disconnects"))
    server.faults.is_mute = False
    feed.wait_live()
    feed.wait_whole()


def test_a_stale_feed_is_found_by_history_and_replaced(feed, server, clock):
    server.faults.is_stale = True
    server.trade(100)
    connections = len(server.received)
    clock.advance_s(30)
    until(lambda: len(server.received) > connections)  # it said something since: it is alive
    for _ in range(4):
        server.send("KEEPALIVE")
        clock.advance_s(30)
    until(lambda: feed.count("dxlink.disconnects"))
    server.faults.is_stale = False
    feed.wait_live()
    server.trade(50)
    feed.wait_whole()


def test_a_stale_feed_whose_history_is_stale_too_is_replaced(feed, server, clock):
    server.faults.is_stale, server.faults.history = True, "silent"
    server.trade(100)

    def a_while_passes():
        heard = len(server.received)
        clock.advance_s(21)
        until(lambda: len(server.received) > heard)
        server.send("KEEPALIVE")
        return False

    until(lambda: len(server.snapshots) >= 2 or a_while_passes())
    server.faults.is_stale, server.faults.history = False, "whole"
    until(lambda: feed.count("dxlink.disconnects") or a_while_passes())
    feed.wait_live()
    server.trade(50)
    feed.wait_whole()


def test_a_token_that_expires_costs_one_new_one_and_no_print(feed, server):
    tokens = feed.gate.tokens
    server.revoked.add(f"QT-{tokens}")
    miss(server)
    server.send("AUTH_STATE", state="UNAUTHORIZED")
    feed.wait_back()
    feed.wait_whole()
    assert feed.gate.tokens == tokens + 1
    assert server.auth_count == 2


def test_a_refused_token_is_never_sent_twice(feed, server):
    server.faults.refused_auths = 3
    miss(server)
    lose_connection(feed, server)
    feed.wait_whole()
    sent = [m["token"] for m in server.received if m["type"] == "AUTH"]
    assert len(sent) == len(set(sent)) == 5


def test_logins_that_are_refused_never_follow_each_other_fast(server, clock, tmp_path):
    timing = replace(FAST.timing, logins_s=0.4)
    server.faults.refused_auths = 8
    with running_feed(server, clock, tmp_path, periods=replace(FAST, timing=timing)) as feed:
        feed.wait_live()
    times = server.auth_times
    assert len(times) == 9
    assert min(b - a for a, b in zip(times, times[3:], strict=False)) > 0.35


def test_a_server_that_waits_briefly_is_told_soon_that_somebody_is_there(clock, tmp_path):
    timing = replace(FAST.timing, keepalive_s=30.0)
    with (
        DxlinkServer(keepalive_s=0.5) as server,
        running_feed(server, clock, tmp_path, periods=replace(FAST, timing=timing)),
    ):
        until(lambda: any(m["type"] == "KEEPALIVE" for m in server.received), seconds=4)


def test_a_lost_connection_shows_on_the_board(feed, server):
    server.faults.refused_upgrades = 10_000
    server.close()
    until(lambda: feed.board.snapshot()["parts"]["tastytrade"]["state"] == "degraded")
    server.faults.refused_upgrades = 0
    feed.wait_live()
    feed.wait_whole()


def test_an_outage_of_the_login_is_waited_out(feed, server):
    feed.gate.failures = 5
    miss(server)
    lose_connection(feed, server)
    feed.wait_whole()


def test_repeated_frames_are_stored_once(feed, server):
    server.faults.repeats = 3
    server.trade(100)
    feed.wait_whole()
    until(lambda: feed.count("dxlink.duplicates") >= 200)


def test_rows_out_of_order_are_all_stored(feed, server):
    server.faults.shuffles = True
    server.trade(200)
    miss(server)
    lose_connection(feed, server)
    server.trade(100)
    feed.wait_whole()


@pytest.mark.parametrize("history", ["empty", "snip"])
def test_history_that_proves_nothing_leaves_the_hole_in_the_ledger(feed, server, history):
    server.faults.history = history
    miss(server, 400)
    lose_connection(feed, server)
    server.trade(50)
    feed.wait_told()
    assert "unrepairable" in feed.place.states()


def test_a_snipped_history_narrows_the_hole_to_what_it_did_not_bring(feed, server):
    before = feed.place.last_us("SPY", "SPY")
    server.faults.history = "snip"
    miss(server, 400)
    lose_connection(feed, server)
    feed.wait_told()
    (gap,) = feed.place.gaps("SPY")
    assert before < gap["to_ts"] < feed.place.last_us("SPY", "SPY")
    assert gap["rows"] == server.faults.snip_rows


def test_a_snip_short_of_prints_that_were_on_their_way_leaves_them_in_the_ledger(feed, server):
    miss(server, 30)  # late: what comes next overtakes them
    newest = server.trade(60)[-1]
    until(lambda: feed.place.last_us(*MADE[newest.symbol]) == newest.ms * 1_000)
    server.faults.history, server.faults.snip_rows = "snip", 20
    lose_connection(feed, server)
    feed.wait_told()
    assert feed.place.states() == ["unrepairable", "unrepairable"]


@pytest.mark.parametrize("history", ["silent", "endless"])
def test_history_that_never_ends_is_not_waited_for_forever(feed, server, clock, history):
    server.faults.history = history
    miss(server)
    lose_connection(feed, server)
    server.trade(50)
    for attempt in range(3):
        until(lambda attempt=attempt: len(server.snapshots) >= 2 * (attempt + 1))
        for _ in range(3):
            heard = len(server.received)
            clock.advance_s(21)
            until(lambda heard=heard: len(server.received) > heard)
            server.send("KEEPALIVE")
    feed.wait_told()
    assert "unrepairable" in feed.place.states()


@pytest.mark.parametrize("channel", [TICKER, HISTORY])
def test_a_channel_closed_beside_the_prints_is_opened_again_and_costs_none(feed, server, channel):
    client = server.clients[0]
    server.faults.history = "silent"  # something is asked for, and lost with the channel
    server.send_text("[]")
    until(lambda: len(server.snapshots) == 2)
    del client.channels[channel]
    server.faults.history = "whole"
    server.send("CHANNEL_CLOSED", channel)
    until(lambda: channel in client.channels and client.channels[channel].items)
    if channel == TICKER:
        feed.wait_live()
        server.close()
        until(lambda: feed.count("dxlink.disconnects"))
        feed.wait_live()
    server.trade(50)
    feed.wait_whole()


def test_a_channel_the_server_closes_is_opened_again(feed, server):
    client = server.clients[0]
    del client.channels[STREAM]
    server.tape.trade(50)
    server.send("CHANNEL_CLOSED", STREAM)
    until(lambda: STREAM in client.channels and client.channels[STREAM].items)
    server.trade(50)
    feed.wait_whole()


def test_a_channel_refused_at_first_is_asked_for_again(feed, server):
    server.faults.refuses_channels = 2
    miss(server)
    lose_connection(feed, server)
    feed.wait_whole()
    assert server.auth_count == 2


@pytest.mark.parametrize("rows_per_frame", [1, 400, 5_000, 12_000])  # the last over 1 MiB
def test_bursts_in_frames_of_any_size_are_stored_whole(feed, server, rows_per_frame):
    server.faults.rows_per_frame = rows_per_frame
    server.trade(12_000)
    feed.wait_whole()


@pytest.mark.parametrize("kind", ["CANCEL", "CORRECTION"])
def test_revisions_are_kept_beside_what_they_revise(feed, server, kind):
    old = next(e for e in server.tape.events if e.symbol == "SPY" and e.is_valid)
    server.revise(old, kind=kind, price=None if kind == "CANCEL" else 77.25)
    feed.wait_whole()
    assert feed.place.kinds("SPY").count(kind.lower()) == 1
    stored = [row for row in feed.place.identities("SPY") if row[0] == old.index]
    assert len(stored) == 2


def test_a_revision_made_while_away_comes_with_history(feed, server):
    old = [e for e in server.tape.events if e.symbol == "SPY" and e.is_valid][-1]
    server.tape.revise(old, kind="NEW", price=77.25)
    lose_connection(feed, server)
    feed.wait_whole()
    assert feed.place.kinds("SPY").count("correction") == 1


def test_a_full_disk_is_waited_for(feed, server):
    feed.place.failures = [DiskFull("no room")]
    server.trade(100)
    until(lambda: feed.board.snapshot()["state"] == "down")
    feed.wait_whole()
    until(lambda: feed.board.snapshot()["state"] == "ok")


def test_a_feed_started_again_fills_the_time_it_was_down(server, clock, tmp_path):
    place = MemoryPlace()
    with running_feed(server, clock, tmp_path, place) as feed:
        feed.wait_live()
        server.trade(200)
        feed.wait_whole()
    server.tape.trade(300)
    with running_feed(server, clock, tmp_path, place) as feed:
        feed.wait_live()
        server.trade(50)
        feed.wait_whole()
    assert place.states().count("open") == 2  # nobody listens, and the ledger says so


def test_everything_heard_before_a_disconnect_is_kept_though_history_has_nothing(feed, server):
    server.faults.history = "empty"
    server.trade(5_000)
    server.close()
    until(lambda: feed.count("dxlink.disconnects"))
    feed.wait_told()
    for about in feed.gate.instruments:
        truth = sorted(server.tape.identities(about.streamer_symbol))
        assert sorted(feed.place.identities(about.contract)) == truth


def test_a_session_that_still_blocks_the_login_is_waited_out(feed, server):
    server.faults.blocked_auths = 3
    miss(server)
    server.reset()
    feed.wait_back()
    feed.wait_whole()
    sent = [m["token"] for m in server.received if m["type"] == "AUTH"]
    assert len(sent) == len(set(sent)) == 5


def test_prints_that_go_on_after_the_token_expired_are_kept(feed, server):
    server.send("AUTH_STATE", state="UNAUTHORIZED")
    server.trade(100)
    feed.wait_back()
    server.trade(100)
    feed.wait_whole()
    assert server.auth_count == 2


def test_prints_seconds_late_are_stored_and_are_no_revisions(feed, server):
    late = server.tape.trade(30)
    server.tape.pass_time(4_000)
    server.trade(50)
    server.deliver(late)
    feed.wait_whole()
    assert feed.place.gaps() == []
    assert set(feed.place.kinds("SPY")) == {"new"}


def test_history_between_which_prints_go_on_is_merged_without_a_double(feed, server):
    server.faults.interleaves = True
    miss(server)
    lose_connection(feed, server)
    until(lambda: server.snapshots)
    server.trade(50)
    feed.wait_whole()


def test_fragments_over_a_slow_link_come_together(feed, server):
    server.faults.fragment_chars = 50
    server.trade(300)
    feed.wait_whole()
    assert not feed.count("dxlink.garbled")


def test_blocks_of_one_type_in_one_frame_are_all_read(feed, server):
    server.faults.mixes = True
    server.trade(300)
    feed.wait_whole()
    assert feed.place.gaps() == []


@pytest.mark.parametrize("step_s", [-3_600, 3_600, -86_400])
def test_a_wall_clock_that_jumps_costs_no_print(feed, server, clock, step_s):
    clock.set_wall_ns(clock.now_ns() + step_s * 1_000_000_000)
    server.trade(100)
    miss(server)
    lose_connection(feed, server)
    server.trade(100)
    feed.wait_whole()


def test_faults_together_still_leave_the_truth(feed, server):
    server.faults.repeats = 2
    server.faults.shuffles = True
    server.faults.mixes = True
    server.faults.interleaves = True
    server.faults.refused_upgrades = 2
    server.faults.blocked_auths = 1
    feed.gate.failures = 2
    miss(server)
    server.send_text("[]")
    server.reset()
    feed.wait_back()
    old = next(e for e in server.tape.events if e.symbol == "SPY" and e.is_valid)
    server.revise(old, kind="CANCEL")
    server.trade(100)
    feed.wait_whole()
