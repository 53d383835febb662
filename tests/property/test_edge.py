"""Every exception class through every door of a real server: no traceback and no path leaves."""

import builtins
import json
import logging
import traceback

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import flight

from core import errors
from core.clock import SystemClock
from flight_server.audit import Audit
from flight_server.auth import MIDDLEWARE, CallBook, CallMiddleware, HandshakeHandler
from flight_server.edge import door, guarded_stream, hide_tracebacks
from flight_server.grpc_flags import set_grpc_flags
from flight_server.keys import SCOPES, KeyRequest, KeyRing
from storage.disk import OsDisk

set_grpc_flags(is_client=True)
SCHEMA = pa.schema([("word", pa.dictionary(pa.int16(), pa.utf8())), ("n", pa.int64())])
BATCH = pa.RecordBatch.from_pydict({"word": ["a"], "n": [1]}, schema=SCHEMA)
# One batch of rows, and only then the error.
DOORS = (
    "do_get", "stream_start", "stream_middle", "reader_middle", "get_flight_info", "get_schema",
    "list_flights", "list_actions", "do_action", "do_put", "do_exchange", "handshake",
    "middleware",
)  # fmt: skip
KNOWN_CODES = {
    "bad_ticket", "bad_sql", "unknown_symbol", "outside_retention", "gap_in_range", "too_much",
    "too_slow", "unauthenticated", "forbidden", "unavailable", "internal", "cancelled",
}  # fmt: skip


def exception_classes():
    found = [
        kind
        for module in (builtins, errors, pa.lib, flight)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    ]
    return sorted(set(found), key=lambda kind: kind.__name__)


def made(kind, text):
    """An exception of any class, however it wants to be made."""
    for given_args in (
        (text,),
        ("utf-8", b"\xff", 0, 1, text),
        (text, [ValueError(text)]),
        (text, 1, 2),
        ("utf-8", "x", 0, 1, text),
        ("x", 0, 1, text),
        (),
    ):
        try:
            return kind(*given_args)
        except TypeError:
            continue
    raise AssertionError(kind)


CLASSES = exception_classes()
TEXTS = st.one_of(
    st.just("/srv/main/flight_server/server.py"),
    st.just('Traceback (most recent call last):\n  File "/a/b.py", line 1'),
    st.text(max_size=60),
    st.text(alphabet="\x00\n\ud800é", max_size=2_000),
)


class Broken:
    """Where the next error comes up, and which."""

    door = ""
    error = ValueError()

    def fail_at(self, name):
        if self.door == name:
            raise self.error


BROKEN = Broken()


class BrokenRing(KeyRing):
    def agent(self, text):
        BROKEN.fail_at("middleware")
        BROKEN.fail_at("handshake")
        return super().agent(text)


class Server(flight.FlightServerBase):
    """Doors dressed as the real server's are."""

    @door
    def do_get(self, context, ticket):
        BROKEN.fail_at("do_get")

        def rows():
            BROKEN.fail_at("stream_start")
            yield BATCH
            BROKEN.fail_at("stream_middle")

        def inner_rows():
            yield BATCH
            BROKEN.fail_at("reader_middle")

        if BROKEN.door == "reader_middle":
            reader = pa.RecordBatchReader.from_batches(SCHEMA, inner_rows())
            return guarded_stream(SCHEMA, ([batch] for batch in reader))
        return guarded_stream(SCHEMA, ([batch] for batch in rows()))

    @door
    def get_flight_info(self, context, descriptor):
        BROKEN.fail_at("get_flight_info")

    @door
    def get_schema(self, context, descriptor):
        BROKEN.fail_at("get_schema")

    @door
    def list_flights(self, context, criteria):
        BROKEN.fail_at("list_flights")

    @door
    def list_actions(self, context):
        BROKEN.fail_at("list_actions")

    @door
    def do_action(self, context, action):
        BROKEN.fail_at("do_action")

    @door
    def do_put(self, context, descriptor, reader, writer):
        BROKEN.fail_at("do_put")

    @door
    def do_exchange(self, context, descriptor, reader, writer):
        BROKEN.fail_at("do_exchange")


class NoSink:
    def append_rows(self, table, rows):
        pass


class Handshake(flight.ClientAuthHandler):
    def authenticate(self, outgoing, incoming):
        outgoing.write(b"key")
        incoming.read()

    def get_token(self):
        return b""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Knock at a door of a running server."""
    clock = SystemClock()
    ring = BrokenRing(tmp_path_factory.mktemp("edge") / "keys.json", disk=OsDisk(), clock=clock)
    key = ring.create(KeyRequest("tester", SCOPES, rate=1e6))
    book = CallBook(ring, Audit(NoSink()), clock=clock)
    server = Server(
        "grpc://127.0.0.1:0",
        auth_handler=HandshakeHandler(book),
        middleware={MIDDLEWARE: CallMiddleware(book)},
    )
    client = flight.FlightClient(f"grpc://127.0.0.1:{server.port}")
    bearer = (b"authorization", b"Bearer " + key.encode())
    options = flight.FlightCallOptions(headers=[bearer], timeout=30)
    descriptor = flight.FlightDescriptor.for_command(b"x")

    def put():
        writer, _ = client.do_put(descriptor, SCHEMA, options)
        writer.close()

    def exchange():
        writer, reader = client.do_exchange(descriptor, options)
        writer.done_writing()
        reader.read_chunk()

    def get():
        return client.do_get(flight.Ticket(b"x"), options).read_all()

    knocks = {
        "get_flight_info": lambda: client.get_flight_info(descriptor, options),
        "get_schema": lambda: client.get_schema(descriptor, options),
        "list_flights": lambda: list(client.list_flights(options=options)),
        "list_actions": lambda: client.list_actions(options),
        "do_action": lambda: list(client.do_action("x", options)),
        "do_put": put,
        "do_exchange": exchange,
        "handshake": lambda: client.authenticate(Handshake(), options),
    }
    logging.getLogger("tickflight").setLevel(logging.CRITICAL)
    formatter = traceback.format_exception
    hide_tracebacks()
    yield lambda name: knocks.get(name, get)()
    traceback.format_exception = formatter
    logging.getLogger("tickflight").setLevel(logging.NOTSET)
    client.close()
    server.shutdown()


def check(ask, name, error):
    BROKEN.door, BROKEN.error = name, error
    try:
        with pytest.raises((pa.ArrowException, OSError)) as caught:
            ask(name)
    finally:
        BROKEN.door = ""
    text = str(caught.value)
    assert "Traceback" not in text
    assert ".py" not in text
    assert "/srv" not in text
    if name == "get_schema":  # pyarrow's server drops the class, so the text carries the facts
        found = json.loads(text[text.index('{"code"') : text.rindex("}") + 1])
    elif name == "handshake":  # pyarrow's client drops the extra info
        assert isinstance(caught.value, flight.FlightError), text
        return
    else:
        assert isinstance(caught.value, flight.FlightError), text
        found = json.loads(caught.value.extra_info)
    assert found["code"] in KNOWN_CODES
    assert found["code"] in ("internal", "cancelled") or isinstance(
        error, errors.QueryError | errors.AccessError
    )


@pytest.mark.parametrize("name", DOORS)
def test_every_class_of_exception_leaves_as_an_error_of_ours(ask, name):
    for kind in CLASSES:
        check(ask, name, made(kind, "/srv/main/flight_server/server.py"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(DOORS), st.sampled_from(CLASSES), TEXTS)
def test_whatever_an_exception_says_no_path_leaves(ask, name, kind, text):
    check(ask, name, made(kind, text))


def test_a_stream_that_does_not_break_is_whole(ask):
    BROKEN.door = ""
    assert ask("do_get").num_rows == 1
