import pytest

from core.board import Board
from tests.fakes.manual_clock import ManualClock
from webui.services import KINDS, headline, kind_of, services_of


@pytest.fixture
def boards():
    """Boards of a running house, by process; parts are put on them by the test."""
    clock = ManualClock()
    return {name: Board(name, clock) for name in ("ingest", "flight", "web")}


def found(boards):
    return {s.key: s for s in services_of([board.snapshot() for board in boards.values()])}


def test_every_place_of_the_grid_is_there_even_when_nothing_runs():
    services = services_of([])
    assert [service.key for service in services] == [kind.key for kind in KINDS]
    assert {service.state for service in services} == {"off", "down"}
    assert headline(services)[:2] == ("down", "Nothing is running")


def test_a_process_that_is_not_heard_of_yet_is_no_fault_while_all_are_starting():
    services = services_of([], is_starting=True)
    assert {service.state for service in services} == {"off", "unknown"}
    assert {s.detail for s in services if s.state == "unknown"} == {"starting"}


def test_a_service_without_any_part_is_off_and_no_fault(boards):
    services = found(boards)
    assert services["mirror"].state == "off"
    assert services["mirror"].detail == "not configured"
    assert headline(list(services.values()))[0] == "ok"


def test_a_part_fills_its_place_and_keeps_its_words(boards):
    boards["ingest"].state("tastytrade", "degraded", "not connected: refused", limit_s=30)
    service = found(boards)["dxlink"]
    assert (service.state, service.detail) == ("degraded", "not connected: refused")
    assert service.limit_s == 30


def test_the_gravest_of_several_parts_is_shown(boards):
    boards["ingest"].state("sierra scid", "ok")
    boards["ingest"].state("sierra depth", "down", "folder is gone")
    service = found(boards)["sierra"]
    assert (service.state, service.detail) == ("down", "folder is gone")
    assert set(service.parts) == {"sierra scid", "sierra depth"}


def test_of_two_parts_of_one_name_the_graver_counts(boards):
    boards["flight"].state("spot check", "ok")
    boards["ingest"].state("spot check", "late")
    boards["web"].state("spot check", "off")
    assert found(boards)["spot"].state == "late"


def test_a_feed_that_is_silent_in_a_closed_market_is_closed_and_not_late(boards):
    boards["ingest"].state("tastytrade", "late", "90 s since last, limit 60 s")
    boards["ingest"].state("sealer", "late", "9 s since last, limit 5 s")
    snapshots = [board.snapshot() for board in boards.values()]
    services = {s.key: s for s in services_of(snapshots, is_closed=True)}
    assert services["dxlink"].state == "closed"
    assert services["sealer"].state == "late"
    assert found(boards)["dxlink"].state == "late"


def test_a_part_that_is_off_does_not_hide_one_that_works(boards):
    boards["ingest"].state("tastytrade", "off", "no credentials")
    boards["ingest"].state("demo market", "ok", "1000 ticks/s")
    service = found(boards)["dxlink"]
    assert (service.state, service.title) == ("ok", "Demo market")


def test_a_made_up_market_feeds_gamma_and_depth_too(boards):
    boards["ingest"].state("demo market", "ok")
    services = found(boards)
    assert services["gexbot"].title == "Demo gamma"
    assert services["sierra"].title == "Demo depth"


def test_idle_history_links_do_not_make_polling_look_alive(boards):
    boards["ingest"].state("demo market", "ok")
    boards["ingest"].state("gex history", "ok", "nothing queued")
    services = found(boards)
    assert services["gexbot"].title == "Demo gamma"
    assert "gex history" in services["webhooks"].parts


def test_an_unknown_part_gets_a_tile_of_its_own(boards):
    boards["ingest"].state("moon phase", "late", "3 s since last")
    service = found(boards)["moon_phase"]
    assert (service.title, service.state) == ("Moon phase", "late")


def test_what_a_process_always_has_is_down_with_it(boards):
    del boards["ingest"]
    services = found(boards)
    assert services["hot"].state == "down"
    assert "tickflight up" in services["hot"].detail


def test_a_process_that_hangs_is_said_to_hang_and_not_to_be_missing(boards):
    hung = {**boards["ingest"].snapshot(), "is_alive": False, "age_s": 9.0}
    (store,) = (s for s in services_of([hung]) if s.key == "hot")
    assert (store.state, store.detail) == ("down", "process ingest silent for 9 s")


def test_a_second_witness_is_part_of_the_spot_check(boards):
    boards["ingest"].state("second witness", "off")
    services = found(boards)
    assert "second_witness" not in services
    assert "second witness" in services["spot"].parts


def test_the_headline_counts_troubles_and_names_the_first(boards):
    boards["ingest"].state("sealer", "down", "disk full")
    boards["ingest"].state("tastytrade", "late")
    state, words, first = headline(list(found(boards).values()))
    assert (state, words, first) == ("down", "1 down, 1 late", "sealer")


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ("gexbot", "gexbot"),
        ("gex webhook", "webhooks"),
        ("uw", "webhooks"),
        ("spot check", "spot"),
        ("redis", "mirror"),
        ("flight sql", "flight"),
        ("unheard of", ""),
    ],
)
def test_parts_find_their_place_by_how_they_begin(part, place):
    assert kind_of(part) == place
