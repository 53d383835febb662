"""Who may ask what: each way to hand over a key, scopes, symbols, rates, the record of calls."""

import numpy as np
import pytest
from pyarrow import flight

from core.clock import NS_PER_S
from flight_server.keys import SCOPES, TAPE_SCOPES, KeyRequest
from tests.unit.flight_server.house import flight_house, refused, wait_until


@pytest.fixture
def house(tmp_path):
    with flight_house(tmp_path) as house:
        house.trade([1.0, 2.0])
        house.trade([5.0], symbol="NQ")
        yield house


class Handshake(flight.ClientAuthHandler):
    """The key as the handler's bytes, the token as the server gave it."""

    def __init__(self, key):
        super().__init__()
        self._key = key.encode()
        self._token = b""

    def authenticate(self, outgoing, incoming):
        outgoing.write(self._key)
        self._token = incoming.read()

    def get_token(self):
        return self._token


def ask(client, *headers):
    options = flight.FlightCallOptions(headers=list(headers), timeout=30)
    return client.do_get(flight.Ticket(b"latest:MNQ"), options).read_all().num_rows


def test_the_handshake_gives_a_token_that_is_looked_up_on_every_call(house):
    client = house.client()
    client.authenticate(Handshake(house.key))
    assert ask(client) == 1
    house.ring.revoke("tester")
    error, told = refused(ask, client)
    assert isinstance(error, flight.FlightUnauthenticatedError)
    assert "revoked" in told["message"]


@pytest.mark.parametrize("key", ["", "nonsense", "tf_aaaaaaaa_" + "A" * 43, "x" * 5_000])
def test_a_handshake_with_a_wrong_key_is_refused(house, key):
    with pytest.raises(flight.FlightUnauthenticatedError):
        house.client().authenticate(Handshake(key))


def test_basic_user_and_password_with_the_key_as_password(house):
    client = house.client()
    header = client.authenticate_basic_token(b"anybody", house.key.encode())
    assert ask(client, header) == 1


def test_basic_with_a_wrong_password_is_refused(house):
    with pytest.raises(flight.FlightUnauthenticatedError):
        house.client().authenticate_basic_token(b"anybody", b"wrong")


def test_bearer_and_x_api_key_on_each_call(house):
    client, key = house.client(), house.key.encode()
    assert ask(client, (b"authorization", b"Bearer " + key)) == 1
    assert ask(client, (b"authorization", b"bearer  " + key)) == 1
    assert ask(client, (b"x-api-key", key)) == 1


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer "),
        (b"authorization", b"Digest abc"),
        (b"authorization", b"Basic !!!"),
        (b"authorization", b""),
        (b"x-api-key", b"tf_"),
        (b"x-other", b"1"),
    ],
)
def test_other_headers_are_refused(house, header):
    error, told = refused(ask, house.client(), header)
    assert isinstance(error, flight.FlightUnauthenticatedError)
    assert told["code"] == "unauthenticated"


def test_wrong_revoked_and_expired_keys_each_say_so(house):
    revoked = house.ring.create(KeyRequest("gone"))
    expired = house.ring.create(KeyRequest("old", expires_ns=house.clock.now_ns() + NS_PER_S // 2))
    assert house.get("latest:MNQ", revoked).num_rows == 1
    house.ring.revoke("gone")
    wrong = house.key[:-3] + "AAA"
    deadline_ns = house.clock.now_ns() + NS_PER_S // 2
    wait_until(lambda: house.clock.now_ns() > deadline_ns)
    for key, word in ((wrong, "wrong"), (revoked, "revoked"), (expired, "expired"), ("", "no key")):
        error, told = refused(house.get, "latest:MNQ", key)
        assert isinstance(error, flight.FlightUnauthenticatedError)
        assert told["code"] == "unauthenticated"
        assert word in told["message"]
        assert told["hint"]


NEEDS = {
    "latest:MNQ": "read",
    "tail:MNQ": "read",
    "ticks:MNQ": "read",
    "bars:MNQ": "read",
    "gex:MNQ": "read",
    "book:MNQ": "read",
    "depth:MNQ": "read",
    "live:MNQ": "live",
    "SELECT 1": "sql",
    '{"sql": "select 1"}': "sql",
}


@pytest.mark.parametrize(("ticket", "scope"), NEEDS.items())
def test_every_ticket_needs_its_scope_in_do_get_and_in_get_flight_info(house, ticket, scope):
    others = tuple(name for name in SCOPES if name != scope)
    key = house.ring.create(KeyRequest("other", others))
    for door in (house.get, house.info):
        error, told = refused(door, ticket, key)
        assert isinstance(error, flight.FlightUnauthorizedError)
        assert told["code"] == "forbidden"
        assert scope in told["message"]


def test_do_put_needs_write_and_a_writer(house):
    def put(key):
        descriptor = flight.FlightDescriptor.for_path("trades")
        table = house.get("latest:MNQ")
        writer, _ = house.client().do_put(descriptor, table.schema, house.options(key))
        with writer:
            writer.write_table(table)

    reader = house.ring.create(KeyRequest("reader", ("read",)))
    assert refused(put, reader)[1]["code"] == "forbidden"
    assert refused(put, house.key)[1]["code"] == "unavailable"


@pytest.mark.parametrize(
    "kind", ["latest", "tail", "ticks", "bars", "gex", "book", "depth", "live"]
)
def test_a_key_for_one_symbol_gets_no_other(house, kind):
    key = house.ring.create(KeyRequest("narrow", TAPE_SCOPES, ("MNQ",)))
    for door in (house.get, house.info):
        _, told = refused(door, f"{kind}:SPY", key)
        assert told["code"] == "forbidden"
        assert "SPY" in told["message"]


def test_a_key_for_one_symbol_sees_only_that_one_in_lists(house):
    key = house.ring.create(KeyRequest("narrow", TAPE_SCOPES, ("MNQ",)))
    assert house.get("latest:*", key)["symbol"].to_pylist() == ["MNQ"]
    assert refused(house.get, "latest:MNQ,NQ", key)[1]["code"] == "forbidden"
    told = house.act("describe", key=key)
    assert told["symbols"] == ["MNQ"]
    assert set(next(t for t in told["tables"] if t["name"] == "trades")["coverage"]) == {"MNQ"}
    flights = house.client().list_flights(options=house.options(key))
    assert next(f for f in flights if f.descriptor.path == [b"trades"]).total_records == 2


def test_a_key_for_one_symbol_hears_of_no_other_symbols_name(house):
    key = house.ring.create(KeyRequest("narrow", TAPE_SCOPES, ("VIX",)))
    for ticket in ("ticks:MNQ", "ticks:QQQQ"):
        error, told = refused(house.get, ticket, key)
        assert told["code"] == "forbidden"
        assert "SPY" not in str(error)


def test_a_rate_is_kept_and_the_error_says_when_to_ask_again(house):
    key = house.ring.create(KeyRequest("slow", rate=2.0))
    client = house.client()
    assert [house.reader("latest:MNQ", key, client).read_all().num_rows for _ in range(2)] == [1, 1]
    _, told = refused(house.reader, "latest:MNQ", key, client)
    assert told["code"] == "too_much"
    assert "ms" in told["hint"]
    assert house.get("latest:MNQ").num_rows == 1  # another key does not suffer


def test_every_call_is_written_down_and_no_key_with_it(house):
    house.get("tail:MNQ?n=2")
    refused(house.get, "nothing")
    refused(house.get, "latest:MNQ", "wrong")
    refused(house.get, f"SELECT '{house.key}'")
    refused(house.get, b"x" * 100_000)
    house.act("whoami")
    house.info("latest:MNQ")
    wait_until(lambda: house.audit.noted_count >= 7)
    calls = house.calls()
    assert [(c["key_name"], c["method"], c["outcome"]) for c in calls] == [
        ("tester", "do_get", "ok"),
        ("tester", "do_get", "bad_ticket"),
        ("", "do_get", "unauthenticated"),
        ("tester", "do_get", "unavailable"),
        ("tester", "do_get", "bad_ticket"),
        ("tester", "do_action", "ok"),
        ("tester", "get_flight_info", "ok"),
    ]
    assert (calls[0]["ticket"], calls[0]["rows"]) == ("tail:MNQ?n=2", 2)
    assert calls[0]["bytes"] > 100
    assert calls[0]["ms"] > 0
    assert "127.0.0.1" in calls[0]["peer"]
    assert len(calls[4]["ticket"]) == 4_096
    assert house.key not in str(calls)
    assert "tf_***" in calls[3]["ticket"]
    assert np.all(np.diff([c["seq"] for c in calls]) == 1)


def test_a_running_call_is_cancelled_by_its_own_key_only(house):
    other = house.ring.create(KeyRequest("other", ("read",)))
    reader = house.reader("live:MNQ?from_seq=1")
    assert reader.read_chunk().data.num_rows == 2
    number = reader.schema.metadata[b"call"]
    assert refused(house.act, "cancel", number, other)[1]["code"] == "forbidden"
    assert house.act("cancel", number) == {"cancelled": int(number)}
    with pytest.raises(StopIteration):
        reader.read_chunk()
    assert refused(house.act, "cancel", number)[1]["code"] == "bad_ticket"
