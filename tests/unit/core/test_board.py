import json
import threading

import pytest

from core.board import STALE_S, STATES, Board, read_boards, worst
from core.clock import NS_PER_S
from tests.fakes.manual_clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def board(clock):
    return Board("ingest", clock)


def publish(board, folder):
    board.publish(folder / f"{board.process}.status.json")


def test_counters_add_up_and_gauges_are_replaced(board):
    board.count("rows")
    board.count("rows", 41)
    board.gauge("lag_ms", 3.0)
    board.gauge("lag_ms", 2.5)
    assert board.snapshot()["counters"] == {"rows": 42}
    assert board.snapshot()["gauges"] == {"lag_ms": 2.5}


def test_a_counter_cannot_go_down(board):
    with pytest.raises(AssertionError):
        board.count("rows", -1)


def test_a_state_keeps_the_moment_it_began_while_it_is_said_again(board, clock):
    began_ns = clock.now_ns()
    board.state("sealer", "ok")
    clock.advance_s(3)
    board.state("sealer", "ok", "sealed 14:00")
    part = board.snapshot()["parts"]["sealer"]
    assert part["since_ns"] == began_ns
    assert part["seen_ns"] == clock.now_ns()
    assert part["detail"] == "sealed 14:00"


def test_a_changed_state_begins_anew(board, clock):
    board.state("sealer", "ok")
    clock.advance_s(3)
    board.state("sealer", "degraded", "seal failed, trying again")
    assert board.snapshot()["parts"]["sealer"]["since_ns"] == clock.now_ns()
    assert board.snapshot()["state"] == "degraded"


def test_an_ok_that_is_not_repeated_within_its_limit_is_late(board, clock):
    board.state("dxlink", "ok", limit_s=2)
    clock.advance_s(2)
    assert board.snapshot()["parts"]["dxlink"]["state"] == "ok"
    clock.advance_s(1)
    part = board.snapshot()["parts"]["dxlink"]
    assert part["state"] == "late"
    assert part["detail"] == "3 s since last, limit 2 s"
    assert board.snapshot()["state"] == "late"


@pytest.mark.parametrize("state", ["off", "closed", "down", "degraded"])
def test_only_an_ok_can_be_late(board, clock, state):
    board.state("dxlink", state, limit_s=2)
    clock.advance_s(60)
    assert board.snapshot()["parts"]["dxlink"]["state"] == state


def test_a_published_board_reads_back_as_its_snapshot(board, clock, tmp_path):
    board.count("rows", 7)
    board.gauge("lag_ms", 1.5)
    board.state("sealer", "ok", "sealed 14:00", limit_s=3_900)
    publish(board, tmp_path)
    assert read_boards(tmp_path, clock.now_ns()) == [board.snapshot()]
    assert [path.name for path in tmp_path.iterdir()] == ["ingest.status.json"]


def test_a_board_left_alone_is_down_with_all_its_parts(board, clock, tmp_path):
    board.state("sealer", "ok")
    board.state("gexbot", "off")
    publish(board, tmp_path)
    clock.advance_s(STALE_S)
    assert read_boards(tmp_path, clock.now_ns())[0]["state"] == "ok"
    clock.advance_s(1)
    (read,) = read_boards(tmp_path, clock.now_ns())
    assert read["state"] == "down"
    assert read["age_s"] == STALE_S + 1
    assert {part["state"] for part in read["parts"].values()} == {"down"}
    assert read["parts"]["sealer"]["detail"] == "process silent for 6 s, limit 5 s"


def test_a_reader_judges_parts_by_its_own_time(board, clock, tmp_path):
    board.state("dxlink", "ok", limit_s=2)
    publish(board, tmp_path)
    (read,) = read_boards(tmp_path, clock.now_ns() + 3 * NS_PER_S)
    assert read["parts"]["dxlink"]["state"] == "late"


def test_a_clock_stepped_back_makes_no_negative_age(board, clock, tmp_path):
    board.state("dxlink", "ok", limit_s=2)
    publish(board, tmp_path)
    (read,) = read_boards(tmp_path, clock.now_ns() - 3_600 * NS_PER_S)
    assert read["age_s"] == 0
    assert read["parts"]["dxlink"]["age_s"] == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"stamp_ns": 1, "parts": []}'])
def test_a_board_that_cannot_be_read_is_down(text, tmp_path):
    (tmp_path / "flight.status.json").write_text(text)
    (read,) = read_boards(tmp_path, 0)
    assert read["process"] == "flight"
    assert read["state"] == "down"


def test_boards_come_by_name_and_other_files_are_left_alone(clock, tmp_path):
    for name in ("web", "flight", "ingest"):
        publish(Board(name, clock), tmp_path)
    (tmp_path / "intake.sock").write_text("")
    (tmp_path / "web.status.json.1.2.new").write_text("half")
    names = [board["process"] for board in read_boards(tmp_path, clock.now_ns())]
    assert names == ["flight", "ingest", "web"]


def test_a_withdrawn_board_is_nobody_s_fault(board, clock, tmp_path):
    publish(board, tmp_path)
    board.withdraw(tmp_path / "ingest.status.json")
    board.withdraw(tmp_path / "ingest.status.json")
    assert read_boards(tmp_path, clock.now_ns()) == []


def test_no_folder_is_no_board(tmp_path):
    assert read_boards(tmp_path / "run", 0) == []


def test_the_gravest_state_speaks_for_all():
    assert worst(STATES) == "down"
    assert worst(["ok", "late", "degraded"]) == "degraded"
    assert worst(["ok", "off", "closed"]) == "ok"
    assert worst(["closed", "off"]) == "closed"
    assert worst([]) == "ok"


def test_a_snapshot_is_plain_json(board):
    board.state("sealer", "ok", limit_s=1)
    assert json.loads(json.dumps(board.snapshot())) == board.snapshot()


def test_counts_from_many_threads_are_all_kept(board):
    def work():
        for _ in range(1_000):
            board.count("rows")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert board.snapshot()["counters"]["rows"] == 8_000
