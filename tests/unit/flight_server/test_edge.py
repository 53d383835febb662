import json

import pyarrow as pa
import pytest
from pyarrow import flight

from core import errors
from flight_server.edge import (
    HINT_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    Cancelled,
    code_of,
    door,
    is_translated,
    to_flight,
)


def told(error):
    return json.loads(error.extra_info)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.BadTicket, flight.FlightServerError, "bad_ticket"),
        (errors.BadSql, flight.FlightServerError, "bad_sql"),
        (errors.UnknownInstrument, flight.FlightServerError, "unknown_symbol"),
        (errors.OutsideRetention, flight.FlightServerError, "outside_retention"),
        (errors.GapInRange, flight.FlightServerError, "gap_in_range"),
        (errors.TooMuch, flight.FlightServerError, "too_much"),
        (errors.TooSlow, flight.FlightTimedOutError, "too_slow"),
        (errors.Unavailable, flight.FlightUnavailableError, "unavailable"),
        (errors.Unauthenticated, flight.FlightUnauthenticatedError, "unauthenticated"),
        (errors.Forbidden, flight.FlightUnauthorizedError, "forbidden"),
        (Cancelled, flight.FlightServerError, "cancelled"),
    ],
)
def test_what_a_caller_can_act_on_keeps_its_code_message_and_hint(error, kind, code):
    dressed = to_flight(error("it is so", hint="do this"))
    assert isinstance(dressed, kind)
    assert told(dressed) == {"code": code, "message": "it is so", "hint": "do this"}
    assert str(dressed).startswith("it is so; do this")
    assert code_of(dressed) == code


@pytest.mark.parametrize(
    "error",
    [
        ValueError("/srv/secret.py"),
        LookupError("x"),
        pa.ArrowInvalid("x"),
        flight.FlightServerError("raw", b"raw"),
        errors.WalCorrupt("segment 3 of /data/hot"),
        errors.PartitionCorrupt("file"),
        errors.SettingsError("HOST"),
        SystemExit("leaving now"),
        AssertionError("broken"),
    ],
)
def test_everything_else_leaves_as_an_id_and_is_written_down(error, caplog):
    dressed = to_flight(error)
    assert isinstance(dressed, flight.FlightInternalError)
    number = told(dressed)["message"].removeprefix("internal error ")
    assert len(number) == 8
    assert code_of(dressed) == "internal"
    assert number in caplog.text
    assert type(error).__name__ in caplog.text
    assert str(error) not in str(dressed) or str(error) == "x"


def test_paths_and_unprintable_bytes_are_taken_out():
    dressed = to_flight(
        errors.BadSql("cannot open /srv/main/data/x.parquet\x00\n\x1b[31m or C:\\data\\x", hint="")
    )
    assert "srv" not in str(dressed)
    assert "C:\\" not in str(dressed)
    assert told(dressed)["message"].isprintable()


def test_division_in_a_message_survives():
    assert "a/b" in str(to_flight(errors.BadSql("cannot divide a/b")))


def test_a_message_with_a_traceback_in_it_is_not_passed_on(caplog):
    error = errors.BadSql('Traceback (most recent call last): File "worker.py", line 3')
    assert told(to_flight(error))["code"] == "internal"
    assert caplog.records


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600", '"', "\\"])
def test_a_long_message_is_cut_so_that_it_fits_into_the_headers(letter):
    dressed = to_flight(errors.BadTicket(letter * 100_000, hint=letter * 100_000))
    assert len(dressed.extra_info) <= 2 * (MESSAGE_BYTES_MAX + HINT_BYTES_MAX) + 100
    assert told(dressed)["code"] == "bad_ticket"


def test_an_error_goes_through_the_edge_once():
    dressed = to_flight(errors.BadTicket("a", hint="b"))
    assert is_translated(dressed)
    assert to_flight(dressed) is dressed


def test_a_door_hides_where_an_error_came_from():
    @door
    def fail():
        raise errors.BadTicket("a")

    with pytest.raises(flight.FlightServerError) as caught:
        fail()
    assert caught.value.__suppress_context__


def test_no_error_is_ok():
    assert code_of(None) == "ok"
    assert code_of(ValueError()) == "internal"
