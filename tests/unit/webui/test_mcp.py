import pytest

from core.board import Board
from core.errors import Unavailable
from tests.fakes.manual_clock import ManualClock
from webui.drill import address_of
from webui.mcp import flight_port
from webui.words import DASH


@pytest.fixture
def clock():
    return ManualClock()


def publish(folder, clock, **gauges):
    board = Board("flight", clock)
    for name, value in gauges.items():
        board.gauge(name, value)
    board.publish(folder / "flight.status.json")


def test_the_flight_server_is_found_by_what_it_says_on_its_board(tmp_path, clock):
    Board("web", clock).publish(tmp_path / "web.status.json")
    publish(tmp_path, clock, port=8815)
    assert flight_port(tmp_path, clock) == 8815
    publish(tmp_path, clock, port=40_001)  # it came back elsewhere
    assert flight_port(tmp_path, clock) == 40_001


def test_a_flight_server_that_is_not_there_yet_is_unavailable(tmp_path, clock):
    with pytest.raises(Unavailable):
        flight_port(tmp_path, clock)
    publish(tmp_path, clock)
    with pytest.raises(Unavailable):
        flight_port(tmp_path, clock)
    (tmp_path / "flight.status.json").write_text("{")
    with pytest.raises(Unavailable):
        flight_port(tmp_path, clock)


def test_a_flight_server_that_went_silent_is_unavailable(tmp_path, clock):
    publish(tmp_path, clock, port=8815)
    clock.advance_s(6)
    with pytest.raises(Unavailable) as caught:
        flight_port(tmp_path, clock)
    assert caught.value.retry


def test_the_keys_page_shows_a_callers_address_and_whom_it_asks_for():
    assert address_of("ipv4:192.0.2.7:5000") == "192.0.2.7"
    assert address_of("ipv4:127.0.0.1:5000 for mcp ::1") == "127.0.0.1 for mcp ::1"
    assert address_of("") == DASH
