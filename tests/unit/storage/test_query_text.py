"""Values on their way into SQL, messages on their way out."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import duckdb
import pytest

from core.errors import BadSql
from storage.query_text import candidates, first_line, literal, redacted

VALUES = [
    None,
    True,
    False,
    0,
    -7,
    2**62,
    1.5,
    -0.1,
    float("inf"),
    "plain",
    "it's; DROP TABLE trades --",
    "",
    "日本\n",
    b"\x00\xff'",
    Decimal("12.345"),
    date(2026, 11, 20),
    time(14, 30, 1),
    datetime.fromisoformat("2026-11-20T14:30:00.123456"),
    timedelta(seconds=90),
    [1, 2, 3],
    ["a'b", None],
    {"a": 1, "b'": "x"},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_it_went_in(value):
    assert duckdb.execute(f"SELECT {literal(value)}").fetchall() == [(value,)]


def test_zoned_times_become_utc():
    zone = timezone(timedelta(hours=-5))
    assert literal(datetime(2026, 1, 1, 9, tzinfo=zone)) == "TIMESTAMP '2026-01-01 14:00:00'"
    assert literal(datetime(2026, 1, 1, tzinfo=UTC)) == "TIMESTAMP '2026-01-01 00:00:00'"


def test_what_cannot_be_sent_is_said():
    with pytest.raises(BadSql, match="object"):
        literal(object())
    with pytest.raises(BadSql, match="zero byte"):
        literal("a\0b")


def test_messages_leave_without_paths_and_inner_names():
    text = redacted('IO Error: "/data/lake/trades/symbol=MNQ/a.parquet" in tape_0a1b.hot_trades_1')
    assert text == 'IO Error: "(path)" in (tape)'
    assert redacted("price/size and 1 / 2, MNQ") == "price/size and 1 / 2, MNQ"


def test_only_the_first_line_is_told_and_candidates_become_the_hint():
    error = ValueError('Binder Error: no "x"\nCandidate bindings: "price"\nLINE 1: SELECT x')
    assert first_line(error) == 'Binder Error: no "x"'
    assert candidates(error) == 'Candidate bindings: "price"'
    assert candidates(ValueError("one line")) == ""
    several = ValueError("no\n\tCandidate macros:\n\tbars(sym)\n\tbars(sym, width)\n\nLINE 1: x")
    assert candidates(several) == "Candidate macros: bars(sym) bars(sym, width)"
