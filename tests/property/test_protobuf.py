"""Protocol buffers: what is written reads back; garbage is a BadTicket and nothing else."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadTicket, PipelineError
from flight_server.flight_sql import PREFIX, is_command, packed_numbers, parse_command
from flight_server.protobuf import format_field, parse_fields
from flight_server.ticket_kinds import Catalog, Sql
from flight_server.tickets import parse_ticket

FIELDS = st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300)), max_size=8)
NAMES = st.sampled_from(
    [
        "CommandStatementQuery",
        "CommandPreparedStatementQuery",
        "CommandGetTables",
        "CommandGetDbSchemas",
        "CommandGetSqlInfo",
        "CommandGetCatalogs",
        "CommandStatementUpdate",
        "CommandOfSomeOtherTime",
    ]
)


def varint(value):
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def packed(name, body):
    return format_field(1, PREFIX + name.encode()) + format_field(2, body)


@given(FIELDS)
def test_fields_read_back_as_they_were_written(fields):
    raw = b"".join(format_field(number, value) for number, value in fields)
    found = parse_fields(raw)
    assert [(n, v) for n in found for v in found[n]] == sorted(
        fields, key=lambda field: list(dict.fromkeys(n for n, _ in fields)).index(field[0])
    )


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_packed_numbers_read_back(numbers):
    assert packed_numbers(b"".join(varint(number) for number in numbers)) == numbers


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_ticket_or_a_message(raw):
    with suppress(BadTicket):
        assert isinstance(parse_fields(raw), dict)


@given(
    NAMES,
    st.one_of(
        st.binary(max_size=80),
        FIELDS.map(lambda fields: b"".join(format_field(n % 7 + 1, v) for n, v in fields)),
    ),
)
def test_a_command_with_any_body_is_a_ticket_or_an_error_of_ours(name, body):
    raw = packed(name, body)
    assert is_command(raw)
    with suppress(PipelineError):
        assert isinstance(parse_ticket(raw, now_ns=0), Sql | Catalog)


@given(st.integers(0, 200))
def test_a_command_cut_short_is_refused(size):
    raw = packed("CommandStatementQuery", format_field(1, b"SELECT " + b"1" * 150))
    cut = raw[: min(size, len(raw) - 1)]
    if is_command(cut):
        with pytest.raises(PipelineError):
            parse_ticket(cut, now_ns=0)


def test_a_message_nested_in_a_handle_is_not_followed():
    inner = packed("CommandStatementQuery", format_field(1, b"SELECT 1"))
    raw = packed("CommandPreparedStatementQuery", format_field(1, inner))
    with pytest.raises(BadTicket):
        parse_command(raw, lambda handle: parse_ticket(b"{" + handle, now_ns=0))
    with pytest.raises(BadTicket):
        parse_ticket(raw, now_ns=0)
