"""What is done when Redis fails again and again."""

import logging

from core.board import Board
from core.errors import BusLost, BusRefused
from core.log import Log
from storage.bus_patience import FIRST_S, LOST_S_MAX, MUST_ACT_S, Patience
from tests.fakes.manual_clock import ManualClock


class Pauses:
    """Stands for the event that ends a process; keeps how long it was waited for."""

    def __init__(self):
        self.waited_s = []

    def wait(self, seconds):
        self.waited_s.append(seconds)


def test_pauses_grow_to_a_bound_and_never_two_are_alike(caplog):
    board, pauses = Board("mirror", ManualClock()), Pauses()
    patience = Patience(Log("mirror"), board, "redis")
    for _ in range(12):
        patience.failed(BusLost("away"), pauses)
    longest_s = [min(FIRST_S * 2**n, LOST_S_MAX) for n in range(12)]
    for waited_s, most_s in zip(pauses.waited_s, longest_s, strict=True):
        assert most_s / 2 <= waited_s <= most_s
    assert len(set(pauses.waited_s)) == 12
    patience.succeeded()
    patience.failed(BusLost("away"), pauses)
    assert pauses.waited_s[-1] <= FIRST_S


def test_a_fault_is_logged_once_until_it_changes_or_was_over(caplog):
    caplog.set_level(logging.INFO)
    board, pauses = Board("mirror", ManualClock()), Pauses()
    patience = Patience(Log("mirror"), board, "redis")
    wrong = BusRefused("wrong password", hint="correct it")
    for error in (wrong, wrong, wrong, BusLost("away"), wrong):
        patience.failed(error, pauses)
    assert caplog.text.count("wrong password") == 2
    assert board.snapshot()["parts"]["redis"]["state"] == "down"
    assert board.snapshot()["parts"]["redis"]["detail"] == "wrong password; correct it"
    assert board.snapshot()["counters"]["failures"] == 5
    assert max(pauses.waited_s[:3]) > LOST_S_MAX
    assert max(pauses.waited_s) <= MUST_ACT_S
    patience.succeeded()
    assert board.snapshot()["parts"]["redis"]["state"] == "ok"
    patience.failed(wrong, pauses)
    assert caplog.text.count("wrong password") == 3
