"""What is lost without a word on a living connection, and what a token is not given at all."""

from dataclasses import replace

from ingest.dxlink_grade import GRADES
from tests.fakes.deadline import until
from tests.fakes.dxlink_place import FAST, lies, running_feed

SPY_ALONE = ("SPY",)


def trade(feed, server, count=5, symbols=SPY_ALONE):
    """Prints, and the wait until everything was heard that the venue says of them."""
    server.trade(count, symbols)
    settle(feed, server)


def settle(feed, server):
    until(lambda: all(feed.count(f"dxlink.rows.{e}") == n for e, n in server.sent.items()))


def lose(feed, server):
    """Prints that are sent, and swallowed on the way."""
    server.faults.frames_lost = 1
    trade(feed, server)
    server.faults.frames_lost = 0


def wait(feed, server, clock, seconds=11):
    """Time passes when all is heard, and everybody is still there."""
    settle(feed, server)
    clock.advance_s(seconds)
    heard = len(server.received)
    server.send("KEEPALIVE")
    until(lambda: len(server.received) > heard)


def wait_for(feed, server, clock, is_so):
    """Time passes by the second until something is so."""

    def a_second_passes():
        wait(feed, server, clock, 1)
        return False

    until(lambda: is_so() or a_second_passes())


def checks(feed, witness, outcome):
    return feed.count(f"dxlink.checks.{witness}.{outcome}")


def test_a_swallowed_frame_is_missed_by_the_days_volume_and_fetched(feed, server, clock):
    wait(feed, server, clock)
    lose(feed, server)
    trade(feed, server)
    wait(feed, server, clock)
    wait_for(feed, server, clock, lambda: checks(feed, "day_volume", "mismatch"))
    until(lambda: "backfilled" in feed.place.states())
    feed.wait_whole()
    (gap,) = feed.place.gaps("SPY")
    assert (gap["rows"], "day volume" in gap["reason"]) == (5, True)
    assert not feed.count("dxlink.disconnects")


def test_a_swallowed_frame_is_missed_by_its_minute(feed, server, clock):
    server.tape.pass_time(60_000)
    trade(feed, server, 20)
    lose(feed, server)
    server.faults.silent_types = frozenset({"Trade"})
    server.tape.pass_time(60_000)
    server.trade(20, SPY_ALONE)
    until(lambda: feed.count("dxlink.rows.Candle"))
    wait(feed, server, clock, 6)
    wait_for(feed, server, clock, lambda: checks(feed, "candle", "mismatch"))
    feed.wait_whole()
    (gap,) = feed.place.gaps("SPY")
    assert "candle" in gap["reason"]
    (check,) = [c for c in feed.place.checks if c["outcome"] == "mismatch"]
    assert check["matched"] < check["rows"]


def test_whole_minutes_match_their_candles_and_are_written_down_as_spot_checks(feed, server, clock):
    for _ in range(4):
        server.tape.pass_time(60_000)
        server.trade(30)
        feed.wait_whole()
        wait(feed, server, clock, 6)
    wait_for(feed, server, clock, lambda: checks(feed, "candle", "match") >= 4)
    assert {check["outcome"] for check in feed.place.checks} == {"match"}
    assert all(check["rows"] == check["matched"] for check in feed.place.checks)
    assert feed.place.gaps() == []


def test_a_server_that_drops_the_oldest_of_a_burst_is_found_out(feed, server, clock):
    wait(feed, server, clock)
    server.faults.frames_lost = 20
    trade(feed, server, 3_000)
    assert server.faults.frames_lost == 0
    trade(feed, server)
    wait(feed, server, clock)
    wait_for(feed, server, clock, lambda: checks(feed, "day_volume", "mismatch"))
    feed.wait_whole()
    (gap,) = feed.place.gaps("SPY")
    assert gap["rows"] == 20 * server.faults.rows_per_frame


def test_what_history_does_not_have_either_stays_in_the_ledger(feed, server, clock):
    wait(feed, server, clock)
    server.faults.history = "empty"
    lose(feed, server)
    trade(feed, server)
    wait(feed, server, clock)
    wait_for(feed, server, clock, lambda: checks(feed, "day_volume", "mismatch"))
    feed.wait_told()
    assert feed.place.states() == ["unrepairable"]


def test_a_witness_that_history_proves_wrong_is_no_longer_acted_on(feed, server, clock):
    for turn in range(8):
        server.faults.day_volume = 1e6 + turn * 777
        trade(feed, server)
        until(lambda: feed.is_true)
        wait(feed, server, clock)
        wait_for(feed, server, clock, lambda t=turn: checks(feed, "day_volume", "mismatch") >= t)
        feed.wait_whole()
    feed.wait_whole()
    assert len(feed.place.gaps("SPY")) == 3
    assert all(gap["rows"] == 0 for gap in feed.place.gaps("SPY"))


def test_a_new_day_with_no_volume_yet_is_no_loss(feed, server, clock):
    wait(feed, server, clock)
    server.trade(5)
    server.faults.day_volume = "NaN"
    server.trade(5)
    wait(feed, server, clock)
    server.faults.day_volume = None
    for symbol in server.tape.symbols:
        server.tape.told[symbol].volume = 0.0
    server.trade(50)
    wait(feed, server, clock)
    server.trade(50)
    wait(feed, server, clock)
    wait_for(feed, server, clock, lambda: checks(feed, "day_volume", "match"))
    assert not checks(feed, "day_volume", "mismatch")
    assert feed.place.gaps() == []


def test_one_silent_symbol_costs_the_connection_that_did_not_bring_it(feed, server, clock):
    server.faults.silent_symbols = frozenset({"SPY"})
    server.trade(100)
    until(lambda: len(feed.place.identities("MNQZ26")) == len(server.tape.latest["/MNQZ26:XCME"]))
    for _ in range(5):
        wait(feed, server, clock, 30)
    until(lambda: feed.count("dxlink.disconnects"))
    server.faults.silent_symbols = frozenset()
    feed.wait_live()
    server.trade(50)
    feed.wait_whole()


# -- what the token is given -------------------------------------------------------------------

PROBING = replace(FAST, patience=replace(FAST.patience, probe_s=10.0))


def grade_of(feed, contract):
    gauge = feed.board.snapshot()["gauges"].get(f"dxlink.grade.{contract}", 0)
    return GRADES[int(gauge)]


def trade_until(feed, server, clock, is_so):
    """Trades go on, one at a time, until something comes of it."""
    for _ in range(50):
        server.trade(4)
        wait(feed, server, clock, 3)
        if is_so():
            return
    raise AssertionError("nothing came of it")


def grades_stored(feed, contract):
    batches = feed.place.trades(contract)
    return {word for batch in batches for word in batch.columns.get("grade", ["tns"])}


def open_gap(feed, contract):
    return [gap["reason"] for gap in feed.place.gaps(contract) if gap["state"] == "open"]


def test_prints_prove_the_best_grade(feed):
    until(lambda: grade_of(feed, "SPY") == "tns")
    assert grades_stored(feed, "SPY") == {"tns"}


def test_without_prints_candles_of_one_trade_are_taken_and_told_as_such(server, clock, tmp_path):
    server.faults.silent_types = frozenset({"TimeAndSale"})
    with running_feed(server, clock, tmp_path, periods=PROBING) as feed:
        feed.wait_live()
        trade_until(feed, server, clock, lambda: grade_of(feed, "SPY") == "tick-candle")
        until(lambda: open_gap(feed, "SPY"))
        assert "tick-candle" in open_gap(feed, "SPY")[0]
        assert grades_stored(feed, "SPY") == {"tick-candle"}
        stored = {row[:2] for row in feed.place.identities("SPY")}
        assert stored <= {(e.index, e.price) for e in server.tape.latest["SPY"].values()}


def test_without_those_last_values_are_taken_and_never_called_whole(server, clock, tmp_path):
    server.faults.silent_types = frozenset({"TimeAndSale", "Candle"})
    with running_feed(server, clock, tmp_path, periods=PROBING) as feed:
        feed.wait_live()
        trade_until(feed, server, clock, lambda: grade_of(feed, "SPY") == "conflated")
        until(lambda: feed.place.trades("SPY"))
        assert grades_stored(feed, "SPY") == {"conflated"}
        assert "conflated" in open_gap(feed, "SPY")[0]
        # The entitlement comes: from here on the tape is whole, and the hole has an end.
        server.faults.silent_types = frozenset()
        told = len(server.tape.events)
        trade_until(feed, server, clock, lambda: grade_of(feed, "SPY") == "tns")
        until(lambda: not open_gap(feed, "SPY"))
        assert feed.place.states() == ["unrepairable", "unrepairable"]
        fresh = {e.index for e in server.tape.events[told:] if e.symbol == "SPY"}
        until(lambda: fresh <= {row[0] for row in feed.place.identities("SPY")})


def test_quotes_are_never_called_gap_free(feed):
    assert {gap["state"] for gap in feed.place.quote_gap_rows} == {"open"}
    assert all("conflated" in gap["reason"] for gap in feed.place.quote_gap_rows)
    assert not lies(feed.place, feed.server.tape)
