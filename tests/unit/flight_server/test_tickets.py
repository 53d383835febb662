import pytest

from core.clock import DAY_NS, MINUTE_NS, NS_PER_S
from core.errors import BadSql, BadTicket
from flight_server.ticket_kinds import Bars, Latest, Live, Range, Span, Sql, State, Tail
from flight_server.tickets import TICKET_BYTES_MAX, format_range, parse_ticket
from tests.fakes.manual_clock import OPEN_NS

DAY_0_NS = OPEN_NS // DAY_NS * DAY_NS  # 2026-11-20T00:00:00Z


def parse(text):
    return parse_ticket(text if isinstance(text, bytes) else text.encode(), now_ns=OPEN_NS)


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        ("latest:MNQ", Latest(("MNQ",))),
        ("latest:mnq, NQ,MNQ", Latest(("MNQ", "NQ"))),
        ("latest:*", Latest(None)),
        ("tail:MNQ", Tail("MNQ", 1_000)),
        ("tail:MNQ?n=5", Tail("MNQ", 5)),
        ("ticks:MNQ", Range("ticks", "MNQ", Span())),
        ("depth:SPY?start=2026-11-20", Range("depth", "SPY", Span(start_ns=DAY_0_NS))),
        ("ticks:BRK.B?strict=1", Range("ticks", "BRK.B", Span(is_strict=True))),
        ("bars:MNQ", Bars("MNQ", 60, Span())),
        ("bars:MNQ?every=90s", Bars("MNQ", 90, Span())),
        ("bars:MNQ?every=1D", Bars("MNQ", 86_400, Span())),
        ("gex:NQ_NDX", State("gex", "NQ_NDX", Span())),
        ("book:MNQ", State("book", "MNQ", Span())),
        ("live:MNQ,NQ?from_seq=7", Live(("MNQ", "NQ"), "trades", 7)),
        ("live:MNQ?table=quotes", Live(("MNQ",), "quotes", None)),
        ("SELECT 1", Sql("SELECT 1")),
        ("  from ticks", Sql("from ticks")),
        ("(select 1)", Sql("(select 1)")),
        ("-- why\nWITH a AS (SELECT 1) FROM a", Sql("-- why\nWITH a AS (SELECT 1) FROM a")),
        ("/* a */ select 1", Sql("/* a */ select 1")),
        (
            '{"sql": "select ?", "params": [1, "a", null, true]}',
            Sql("select ?", (1, "a", None, True)),
        ),
        ('{"database": "ticks", "sql_query": "select 1", "query_type": "sql"}', Sql("select 1")),
        ('{"ticket": "tail:NQ?n=3"}', Tail("NQ", 3)),
        (
            '{"ticket": "ticks:NQ", "known_at": "2026-11-20", "strict": true}',
            Range("ticks", "NQ", Span(known_at_ns=DAY_0_NS, is_strict=True)),
        ),
        ('{"sql": "select 1", "known_at": "2026-11-20"}', Sql("select 1", (), DAY_0_NS)),
    ],
)
def test_every_form_is_read(text, ask):
    assert parse(text) == ask


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-11-20T14:30:00Z", OPEN_NS),
        ("2026-11-20T14:30", OPEN_NS),
        ("2026-11-20 14:30:00", OPEN_NS),
        ("2026-11-20T14:30:00.123456789Z", OPEN_NS + 123_456_789),
        ("2026-11-20T09:30:00-05:00", OPEN_NS),
        ("2026-11-20T15:30:00+01:00", OPEN_NS),
        ("2026-11-20T15:30:00%2B0100", OPEN_NS),
        ("2026-11-20", DAY_0_NS),
        (str(OPEN_NS), OPEN_NS),
    ],
)
def test_times_are_iso_or_epoch_ns_and_utc_without_zone(text, ns):
    assert parse(f"ticks:MNQ?start={text}").span.start_ns == ns


@pytest.mark.parametrize("unit", [1, 10**3, 10**6])
def test_an_epoch_in_another_unit_is_named_and_the_right_number_offered(unit):
    value = OPEN_NS // NS_PER_S * unit
    with pytest.raises(BadTicket) as caught:
        parse(f"ticks:MNQ?start={value}")
    assert "looks like" in caught.value.message
    assert str(OPEN_NS) in caught.value.hint


BAD = {
    "empty ticket": "",
    "blank": "  ",
    "unknown word": "hello",
    "unknown kind": "last:MNQ",
    "empty symbol": "latest:",
    "empty symbol in list": "latest:MNQ,,NQ",
    "two symbols": "ticks:MNQ,NQ",
    "odd symbol": "ticks:M'Q",
    "star": "ticks:*",
    "too many symbols": "latest:" + ",".join(f"S{n}" for n in range(65)),
    "range upside down": "ticks:MNQ?start=2026-11-20&end=2026-11-19",
    "empty range": "ticks:MNQ?start=2026-11-20&end=2026-11-20",
    "future range": f"ticks:MNQ?start={OPEN_NS + 6 * MINUTE_NS}",
    "bad time": "ticks:MNQ?start=yesterday",
    "bad month": "ticks:MNQ?start=2026-13-01",
    "bad zone": "ticks:MNQ?start=2026-11-20T00:00:00 Europe/Berlin",
    "year 1": "ticks:MNQ?start=0001-01-01",
    "unknown parameter": "ticks:MNQ?begin=2026-11-20",
    "parameter twice": "ticks:MNQ?start=2026-11-20&start=2026-11-19",
    "no value": "ticks:MNQ?start=",
    "no equals": "ticks:MNQ?strict",
    "strict is no number": "ticks:MNQ?strict=yes",
    "n zero": "tail:MNQ?n=0",
    "n negative": "tail:MNQ?n=-1",
    "n huge": "tail:MNQ?n=99999999999999999999999",
    "n in other digits": "tail:MNQ?n=\u0661",
    "every none": "bars:MNQ?every=0s",
    "every odd": "bars:MNQ?every=1w",
    "live table": "live:MNQ?table=gex",
    "from_seq zero": "live:MNQ?from_seq=0",
    "json broken": '{"sql": ',
    "json deep": '{"sql":' + "[" * 60_000,
    "json nothing": "{}",
    "json both": '{"sql": "select 1", "ticket": "latest:MNQ"}',
    "json unknown": '{"sql": "select 1", "colour": 1}',
    "json sql is no text": '{"sql": 1}',
    "json params no list": '{"sql": "select 1", "params": {"a": 1}}',
    "json params nested": '{"sql": "select ?", "params": [[1]]}',
    "json known_at": '{"ticket": "ticks:MNQ", "known_at": true}',
    "json known_at on latest": '{"ticket": "latest:MNQ", "known_at": "2026-11-20"}',
    "json known_at twice": '{"ticket": "ticks:MNQ?known_at=2026-11-20", "known_at": "2026-11-21"}',
    "json empty": '{"sql": ""}',
    "json strict": '{"ticket": "ticks:MNQ", "strict": 2}',
    "influxql": '{"sql_query": "select 1", "query_type": "influxql"}',
    "json in json": '{"ticket": "{}"}',
    "garbage": b"\xff\xfe\x00\x01",
    "nul": b"ticks:M\x00Q",
    "flight sql": b"\n\x3atype.googleapis.com/arrow.flight.protocol.sql.CommandGetTables",
    "10 MB": b"SELECT '" + b"x" * 10_000_000 + b"'",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_bad_ticket_says_what_was_found_and_what_to_do(text):
    with pytest.raises(BadTicket) as caught:
        parse(text)
    assert caught.value.code == "bad_ticket"
    assert caught.value.message
    assert caught.value.hint
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "text",
    ["DROP TABLE trades", "insert into x values (1)", "PRAGMA x", "copy a to 'b'", "SET x=1"],
)
def test_other_statements_are_bad_sql(text):
    with pytest.raises(BadSql) as caught:
        parse(text)
    assert "SELECT" in caught.value.message


def test_the_longest_ticket_is_still_read():
    text = "SELECT '" + "x" * (TICKET_BYTES_MAX - 9) + "'"
    assert parse(text) == Sql(text)


def test_a_range_may_end_in_the_future_and_start_a_little_there():
    ask = parse(f"ticks:MNQ?start={OPEN_NS + 4 * MINUTE_NS}&end={OPEN_NS + DAY_NS}")
    assert ask.span.end_ns == OPEN_NS + DAY_NS


def test_a_formatted_range_reads_back():
    span = Span(OPEN_NS - 7, OPEN_NS + 1, OPEN_NS, is_strict=True)
    assert parse(format_range("depth", "MNQ", span)) == Range("depth", "MNQ", span)
    assert parse(format_range("ticks", "MNQ", Span())) == Range("ticks", "MNQ", Span())


def test_ranges_side_by_side_stay_side_by_side_in_microseconds():
    first, second = Span(OPEN_NS, OPEN_NS + 1_999), Span(OPEN_NS + 1_999, OPEN_NS + 5_000)
    assert first.end_us == second.start_us
