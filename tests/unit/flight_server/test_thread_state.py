"""The state a gRPC thread keeps during a call: shared by its callbacks, gone with the call."""

import ctypes
import threading

from flight_server.thread_state import (
    hold_thread_state,
    let_thread_state_go,
    take_held_thread,
)
from tests.unit.flight_server.house import flight_house, refused, wait_until

api = ctypes.pythonapi
for name in ("PyInterpreterState_Main", "PyInterpreterState_ThreadHead", "PyThreadState_Next"):
    getattr(api, name).restype = ctypes.c_void_p
api.PyInterpreterState_ThreadHead.argtypes = [ctypes.c_void_p]
api.PyThreadState_Next.argtypes = [ctypes.c_void_p]

CALLERS = 6
CALLS = 40


def thread_states():
    count = 0
    state = api.PyInterpreterState_ThreadHead(api.PyInterpreterState_Main())
    while state:
        count += 1
        state = api.PyThreadState_Next(state)
    return count


def ask_at_once(house):
    def ask(client):
        for _ in range(CALLS):
            assert house.reader("latest:MNQ", client=client).read_all().num_rows == 1

    callers = [threading.Thread(target=ask, args=(house.client(),)) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def test_no_state_outlives_the_calls(tmp_path):
    with flight_house(tmp_path) as house:
        house.trade([1.0])
        before = thread_states()
        for _ in range(3):
            ask_at_once(house)
        for ticket in ("nothing", "SELECT 1", "ticks:MNQ", "tail:MNQ"):
            if ticket in ("nothing", "SELECT 1"):
                refused(house.get, ticket)
            else:
                house.get(ticket)
        refused(house.get, "latest:MNQ", "wrong")
        assert house.act("whoami")["name"] == "tester"
        house.reader("live:MNQ?from_seq=1").cancel()
        wait_until(lambda: thread_states() <= before)


def test_a_state_is_shared_by_the_callbacks_of_one_call(tmp_path):
    seen = threading.local()
    with flight_house(tmp_path) as house:
        house.trade([1.0])
        table = house.server._latest_answers.table
        known = []

        def noting(symbols):
            seen.answered = True
            return table(symbols)

        house.server._latest_answers.table = noting
        house.audit.note = lambda _entry: known.append(hasattr(seen, "answered"))
        house.get("latest:MNQ")
        wait_until(lambda: known == [True])


def test_another_thread_gives_nothing_back():
    assert take_held_thread() is None
    hold_thread_state()
    thread = take_held_thread()
    assert thread == threading.get_ident()
    assert take_held_thread() is None, "one call lets it go"
    other = threading.Thread(target=let_thread_state_go, args=(thread,))
    other.start()
    other.join()
    let_thread_state_go(thread)
