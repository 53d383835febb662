import socket

import pytest
import trustme

from core.errors import (
    AccessError,
    BadSql,
    BadTicket,
    Forbidden,
    GapInRange,
    OutsideRetention,
    PipelineError,
    QueryError,
    TooMuch,
    TooSlow,
    Unauthenticated,
    Unavailable,
    UnknownInstrument,
)
from flight_server.edge import Cancelled, to_flight
from flight_server.relay import Relay, from_flight
from flight_server.server import Place
from tests.unit.flight_server.house import flight, flight_house


@pytest.fixture
def house(tmp_path):
    with flight_house(tmp_path) as house:
        house.trade([float(n) for n in range(10)])
        yield house


def bearer(house):
    return [(b"authorization", b"Bearer " + house.key.encode())]


def family(base):
    return {base} | {found for child in base.__subclasses__() for found in family(child)}


def test_an_error_comes_back_as_it_went_out():
    codes = set()
    for kind in (
        BadTicket, BadSql, UnknownInstrument, OutsideRetention, GapInRange, TooMuch, TooSlow,
        Unavailable, Cancelled, Unauthenticated, Forbidden,
    ):  # fmt: skip
        found = from_flight(to_flight(kind("what", hint="do this")))
        assert (type(found), found.message, found.hint) == (kind, "what", "do this")
        codes.add(found.code)
    assert codes == {kind.code for base in (QueryError, AccessError) for kind in family(base)}


def test_a_fault_of_the_server_comes_back_with_its_id_alone():
    found = from_flight(to_flight(ValueError("/secret/path.py")))
    assert (type(found), found.code) == (PipelineError, "internal")
    assert "secret" not in found.message


def test_what_the_transport_says_is_slow_or_unavailable():
    assert isinstance(from_flight(flight.FlightTimedOutError("late", b"")), TooSlow)
    for error in (flight.FlightUnavailableError("gone", b""), OSError(), ValueError()):
        assert isinstance(from_flight(error), Unavailable)


def test_the_first_rows_come_and_the_rest_is_called_off(house):
    relay = Relay(lambda: house.url, 30)
    found = relay.first(bearer(house), b"ticks:MNQ", 3)
    assert found.table["price"].to_pylist() == [0.0, 1.0, 2.0]
    assert found.is_cut
    assert found.metadata[b"visible_seq"] == b"10"
    whole = relay.first(bearer(house), b"ticks:MNQ", 10)
    assert (whole.table.num_rows, whole.is_cut) == (10, False)


def test_the_last_rows_come_from_an_answer_read_to_its_end(house):
    relay = Relay(lambda: house.url, 30)
    found = relay.last(bearer(house), b"ticks:MNQ", 3)
    assert found.table["price"].to_pylist() == [7.0, 8.0, 9.0]
    assert found.is_cut
    assert not relay.last(bearer(house), b"ticks:MNQ", 10).is_cut
    with pytest.raises(TooMuch):
        Relay(lambda: house.url, 30, read_rows_max=9).last(bearer(house), b"ticks:MNQ", 3)


def test_each_call_has_the_key_it_was_given(house):
    relay = Relay(lambda: house.url, 30)
    assert relay.act(bearer(house), "whoami")["name"] == "tester"
    for nobody in ([], [(b"authorization", b"Bearer tf_x")]):
        with pytest.raises(Unauthenticated):
            relay.act(nobody, "whoami")
        with pytest.raises(Unauthenticated):
            relay.first(nobody, b"latest:MNQ", 1)


def test_a_server_that_moved_is_found_again(house):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = [f"grpc://127.0.0.1:{silent.getsockname()[1]}"]
        silent.close()
        relay = Relay(lambda: urls[0], 30)
        with pytest.raises(Unavailable):
            relay.act(bearer(house), "whoami")
    urls[0] = house.url
    assert relay.act(bearer(house), "whoami")["name"] == "tester"


def test_a_server_that_says_nothing_is_given_up(house):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        relay = Relay(lambda: f"grpc://127.0.0.1:{silent.getsockname()[1]}", 0.2)
        with pytest.raises((TooSlow, Unavailable)):
            relay.act(bearer(house), "whoami")


def test_over_tls_the_certificate_need_not_name_the_address(tmp_path):
    certificate = trustme.CA().issue_cert("tape.example")
    tls = (certificate.cert_chain_pems[0].bytes(), certificate.private_key_pem.bytes())
    with flight_house(tmp_path, place=Place("127.0.0.1", 0, tls)) as house:
        relay = Relay(lambda: f"grpc+tls://127.0.0.1:{house.server.port}", 30)
        assert relay.act(bearer(house), "whoami")["name"] == "tester"
