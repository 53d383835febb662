"""Tickets from their grammar, from JSON, and from raw bytes: parsed or refused, nothing else."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.clock import MINUTE_NS
from core.errors import BadSql, BadTicket
from flight_server.ticket_kinds import Bars, Range, Span, Sql, Tail
from flight_server.ticket_words import EPOCH_NS_MIN, parse_time_ns
from flight_server.tickets import format_range, parse_ticket
from tests.fakes.manual_clock import OPEN_NS

KINDS = st.sampled_from(["latest", "tail", "ticks", "bars", "gex", "book", "depth", "live", "x"])
SYMBOLS = st.from_regex(r"[A-Z0-9][A-Z0-9._$-]{0,31}", fullmatch=True)
NAMES = st.sampled_from(["n", "start", "end", "known_at", "strict", "every", "table", "from_seq"])
VALUES = st.one_of(
    st.integers().map(str),
    st.datetimes().map(str),
    st.sampled_from(["1m", "trades", "1", "0", "2026-11-20T14:30:00Z"]),
    st.text(max_size=20),
)
WORDS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
MOMENTS = st.integers(EPOCH_NS_MIN, OPEN_NS + 5 * MINUTE_NS)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30))
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["sql", "sql_query", "ticket", "params", "known_at", "strict", "database", "query_type", "zz"]
)


def parse_or_refuse(raw):
    try:
        return parse_ticket(raw, now_ns=OPEN_NS)
    except (BadTicket, BadSql) as error:
        refusal = error
    assert refusal.message
    assert refusal.hint
    return None


@given(KINDS, st.one_of(SYMBOLS, st.text(max_size=40)), WORDS)
def test_whatever_the_grammar_gives_is_parsed_or_refused_with_a_reason(kind, symbol, words):
    query = "&".join(f"{name}={value}" for name, value in words)
    text = f"{kind}:{symbol}?{query}" if query else f"{kind}:{symbol}"
    parse_or_refuse(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(raw):
    parse_or_refuse(raw)


@given(st.dictionaries(FIELDS, JSON, max_size=5))
def test_any_json_object_is_parsed_or_refused(found):
    parse_or_refuse(json.dumps(found).encode())


@given(
    st.sampled_from(["ticks", "depth"]),
    SYMBOLS,
    MOMENTS,
    st.integers(1, 10**18),
    MOMENTS,
    st.booleans(),
)
def test_a_range_survives_being_written_and_read(kind, symbol, start_ns, length_ns, known, strict):
    end_ns = min(start_ns + length_ns, OPEN_NS * 2)
    span = Span(start_ns, end_ns, known, strict)
    assert parse_ticket(format_range(kind, symbol, span), now_ns=OPEN_NS) == Range(
        kind, symbol, span
    )


@given(SYMBOLS, st.integers(1, 1_000_000))
def test_tail_takes_any_count_in_its_limits(symbol, rows):
    assert parse_ticket(f"tail:{symbol}?n={rows}".encode(), now_ns=OPEN_NS) == Tail(symbol, rows)


@given(SYMBOLS, st.integers(1, 366 * 86_400))
def test_bars_take_any_number_of_seconds(symbol, seconds):
    ask = parse_ticket(f"bars:{symbol}?every={seconds}s".encode(), now_ns=OPEN_NS)
    assert ask == Bars(symbol, seconds, Span())


@given(st.text(max_size=200).filter(lambda text: "\x00" not in text))
def test_sql_is_passed_on_as_it_came(tail):
    text = f"SELECT {tail}"
    raw = text.encode("utf-8", "replace")
    assert parse_ticket(raw, now_ns=OPEN_NS) == Sql(raw.decode().strip())


@given(st.integers(EPOCH_NS_MIN, 4_102_444_799 * 10**9))
def test_an_instant_reads_the_same_as_number_and_as_text(ns):
    seconds, rest = divmod(ns, 10**9)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    assert parse_time_ns("start", text) == parse_time_ns("start", str(ns)) == ns
