import json

import pytest

from core.errors import Unavailable
from flight_server.audit import ROWS_WAITING_MAX, Audit, CallEntry, to_batch
from tests.unit.flight_server.house import wait_until


class Sink:
    """Keeps rows; `is_down` makes it refuse them."""

    def __init__(self):
        self.batches = []
        self.is_down = False

    def append_rows(self, table, rows):
        assert table == "queries"
        if self.is_down:
            raise Unavailable("down")
        self.batches.append(rows)

    @property
    def tickets(self):
        return [t for batch in self.batches for t in batch.column("ticket").to_pylist()]


def entry(ticket=b"latest:MNQ", **changed):
    plain = CallEntry(10, 12, "bot", "do_get", ticket, 1, 80, 0.5, "ok", "ipv4:127.0.0.1:1")
    return plain._replace(**changed)


def test_calls_are_written_in_the_order_they_ended():
    sink = Sink()
    audit = Audit(sink)
    for number in range(10):
        audit.note(entry(b"%d" % number))
    audit.flush()
    assert sink.tickets == [str(number) for number in range(10)]
    assert len(sink.batches) == 1


def test_a_call_is_written_within_a_second_without_being_asked():
    sink = Sink()
    audit = Audit(sink)
    audit.start()
    audit.note(entry())
    wait_until(lambda: sink.batches, deadline_s=1.0)
    audit.stop()


def test_stopping_writes_what_is_waiting():
    sink = Sink()
    audit = Audit(sink)
    audit.start()
    for _ in range(5_000):
        audit.note(entry())
    audit.stop()
    assert len(sink.tickets) == 5_000


def test_a_store_that_is_down_for_a_while_loses_nothing():
    sink = Sink()
    audit = Audit(sink)
    sink.is_down = True
    audit.note(entry(b"a"))
    with pytest.raises(Unavailable):
        audit.flush()
    audit.note(entry(b"b"))
    sink.is_down = False
    audit.flush()
    assert sink.tickets == ["a", "b"]
    assert (audit.noted_count, audit.written_count, audit.lost_count) == (2, 2, 0)


def test_what_does_not_fit_is_counted():
    audit = Audit(Sink())
    for _ in range(ROWS_WAITING_MAX + 7):
        audit.note(entry())
    assert audit.lost_count == 7
    assert audit.noted_count == ROWS_WAITING_MAX + 7


def test_no_key_survives_in_a_ticket_wherever_it_lies():
    key = "tf_abcdefgh_" + "Z" * 43
    for before in (0, 4_000, 4_080, 4_090, 4_095):
        raw = ("x" * before + key + " tail").encode()
        text = to_batch([entry(raw)]).column("ticket")[0].as_py()
        assert "ZZZ" not in text
        assert len(text) <= 4_096


def test_garbage_in_a_ticket_becomes_text():
    text = to_batch([entry(b"\xff\x00\xfe")]).column("ticket")[0].as_py()
    assert json.dumps(text)
    assert "\x00" not in text
