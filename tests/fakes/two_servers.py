"""Two whole servers side by side: a client of either, and whether they answer alike."""

import json

import pyarrow as pa
from pyarrow import flight

from core.clock import NS_PER_S
from storage.intake import IntakeClient
from storage.paths import Paths
from tests.conftest import tickflight
from tests.fakes.deadline import until

SYMBOLS = ("MES", "MNQ", "NQ", "SPY", "QQQ", "VIX")
LATE_NS = 2 * NS_PER_S
SCOPES = [word for s in ("read", "sql", "live", "admin") for word in ("--scope", s)]


def client_of(server):
    """A client of a server that is no demo, with a key of its own."""
    key = tickflight(server.data_dir.parent, "key", "create", "reader", *SCOPES).split()[-1]
    return Client(server.flight_url, key)


def seal(server):
    """Seal every trade now, as an import does."""
    intake = IntakeClient(Paths(server.data_dir))
    try:
        return intake.seal(list(SYMBOLS))
    finally:
        intake.close()


class Client:
    """Asks one server."""

    def __init__(self, url, key):
        self._client = flight.connect(url)
        headers = [(b"authorization", b"Bearer " + key.encode())]
        self._options = flight.FlightCallOptions(headers=headers)

    def ask(self, ticket):
        return self._client.do_get(flight.Ticket(ticket.encode()), self._options).read_all()

    def act(self, name):
        (answer,) = self._client.do_action(flight.Action(name, b""), self._options)
        return json.loads(answer.body.to_pybytes())

    def seq(self, table):
        return self.act("status")["watermarks"][table]["visible_seq"]

    def board(self, process):
        return next(b for b in self.act("status")["processes"] if b["process"] == process)

    def close(self):
        self._client.close()


def moment_both_have(first, second):
    """An epoch time in ns before which every trade is on both servers."""
    until(lambda: first.ask("latest:*").num_rows == len(SYMBOLS), 60)
    start_seq = first.seq("trades")
    until(lambda: first.seq("trades") > start_seq + 1_000, 60)
    newest = {table: first.seq(table) for table in ("trades", "quotes", "depth", "gex", "book")}
    # What happened before that was told by now, however late.
    moment_ns = first.ask("latest:MNQ")["ts_event"][0].value * 1_000 - LATE_NS
    until(lambda: all(second.seq(table) >= seq for table, seq in newest.items()), 60)
    return moment_ns


def rows_of(table):
    """Plain text in place of dictionaries: each server numbers words in its own order."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields)).replace_schema_metadata().combine_chunks()


def check_answers_alike(first, second):
    """Hold every ticket of one server against the other's."""
    end_ns = moment_both_have(first, second)
    span = f"start={end_ns - 3_600 * NS_PER_S}&end={end_ns}"
    tickets = [f"{verb}:{symbol}?{span}" for verb in ("ticks", "depth") for symbol in SYMBOLS]
    tickets += [f"gex:MNQ?{span}", f"book:MNQ?{span}", f"bars:MNQ?every=1s&{span}"]
    cut = f"epoch_ms({end_ns // 1_000_000})"
    tickets.append(f"SELECT * FROM ticks WHERE timestamp < {cut} ORDER BY ALL")
    tickets.append(f"SELECT * FROM bars_1m WHERE ts_event < {cut} - INTERVAL 1 MINUTE ORDER BY ALL")
    for ticket in tickets:
        ours, theirs = rows_of(second.ask(ticket)), rows_of(first.ask(ticket))
        assert ours.equals(theirs), (ticket, ours.num_rows, theirs.num_rows)
    assert rows_of(first.ask(f"ticks:MNQ?{span}")).num_rows > 500
