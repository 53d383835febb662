"""Faults in any mixture and order: the tape is the truth, less what the ledger names."""

import random

import pytest

from core.clock import NS_PER_S
from core.errors import DiskFull
from ingest.dxlink_wire import HISTORY, STREAM
from tests.fakes.deadline import until

SEEDS = range(24)
STEPS, WAIT_S = 5, 30
REPAIRABLE, UNREPAIRABLE = "whole", "unrepairable"


def break_some(faults, gate, dice):
    """Set knobs that all may be set together; those of openings are used up one by one."""
    faults.repeats = dice.choice([1, 1, 2, 3])
    faults.shuffles = dice.random() < 0.4
    faults.mixes = dice.random() < 0.3
    faults.interleaves = dice.random() < 0.4
    faults.sends_full = dice.random() < 0.2
    faults.fragment_chars = dice.choice([0, 0, 0, 200])
    # Rows one by one, each in slow pieces or as an object, take longer than anybody waits here.
    is_slow = faults.fragment_chars or faults.sends_full
    faults.rows_per_frame = dice.choice([10, 400] if is_slow else [1, 10, 10, 400])
    faults.refused_upgrades = dice.randrange(4)
    faults.refused_auths = dice.randrange(3)
    faults.blocked_auths = dice.randrange(3)
    faults.refuses_channels = dice.randrange(3)
    faults.history = dice.choice([REPAIRABLE, REPAIRABLE, REPAIRABLE, "snip", "empty"])
    gate.failures = dice.randrange(4)


def trade(feed, server, clock, dice):
    server.trade(dice.randrange(1, 300))


def be_late(feed, server, clock, dice):
    late = server.tape.trade(dice.randrange(1, 30))
    server.tape.pass_time(dice.choice([10, 900, 4_000]))
    server.trade(20)
    server.deliver(late)


def revise(feed, server, clock, dice):
    event = dice.choice([e for e in server.tape.latest["SPY"].values() if e.is_valid])
    # Who has corrected a print calls none of its versions new again: that is the original, late.
    kind = dice.choice(["CANCEL", "CORRECTION", *(["NEW"] if event.kind == "NEW" else [])])
    price = None if kind == "CANCEL" else 70 + dice.randrange(40) / 4
    server.revise(event, kind=kind, price=price)


def garble(feed, server, clock, dice):
    server.send_text(dice.choice(["[]", "{", '{"type":"FEED_DATA","channel":1,"data":[1]}']))


def fill_the_disk(feed, server, clock, dice):
    feed.place.failures.append(DiskFull("no room"))
    server.trade(50)


def jump(feed, server, clock, dice):
    clock.set_wall_ns(clock.now_ns() + dice.choice([-3_600, -1, 3_600]) * NS_PER_S)


def close_a_channel(feed, server, clock, dice):
    number = dice.choice([STREAM, HISTORY])
    for client in server.live:
        client.channels.pop(number, None)
    if number == STREAM:  # on an open channel nothing is lost without a word
        server.tape.trade(20)
    server.send("CHANNEL_CLOSED", number)


def hang_up(feed, server, clock, dice):
    server.tape.trade(dice.randrange(1, 200))
    if dice.random() < 0.5:
        server.close(dice.choice([1000, 1001, 1009, 1011, 1012]))
    else:
        server.reset()


def expire(feed, server, clock, dice):
    feed.wait_live()  # to a token that has not been sent nobody says that it expired
    server.revoked.add(f"QT-{feed.gate.tokens}")
    server.send("AUTH_STATE", state="UNAUTHORIZED")
    server.tape.trade(20)  # after the word, for before it nothing is lost


EVENTS = [
    trade,
    be_late,
    revise,
    garble,
    fill_the_disk,
    jump,
    close_a_channel,
    hang_up,
    hang_up,
    expire,
]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_faults_together_leave_the_truth(feed, server, clock, seed):
    dice = random.Random(seed)
    break_some(server.faults, feed.gate, dice)
    happened = [dice.choice(EVENTS) for _ in range(STEPS)]
    for event in happened:
        event(feed, server, clock, dice)
    hang_up(feed, server, clock, dice)
    feed.wait_back()
    server.trade(50)
    allowed = (
        {"backfilled"} if server.faults.history == REPAIRABLE else {"backfilled", UNREPAIRABLE}
    )
    until(lambda: set(feed.place.states()) <= allowed and feed.is_true, seconds=WAIT_S)
    if close_a_channel not in happened:  # else a word may have met the closing on its way
        assert not server.violations
