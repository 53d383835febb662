"""Nothing a client sends and nothing a table holds makes a tool break: only answers and faults."""

import json

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadTicket
from webui.mcp_arguments import Given
from webui.mcp_protocol import Fault, Message, complete, parse_message
from webui.mcp_table import TEXT_BYTES_MAX, show
from webui.mcp_tools import TOOLS

words = st.text('aZ9é?&=:%/*"\\ \n\x00', max_size=12)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
versions = st.sampled_from(["2026-07-28", "2025-11-25", "2025-03-26", "1.0", ""])
metas = st.fixed_dictionaries(
    {},
    optional={
        "io.modelcontextprotocol/protocolVersion": versions | values,
        "io.modelcontextprotocol/clientCapabilities": st.just({}) | values,
    },
)
methods = st.sampled_from(["initialize", "tools/list", "tools/call", "ping", "server/discover"])
params = st.fixed_dictionaries(
    {},
    optional={
        "_meta": metas | values,
        "name": st.sampled_from(["latest", "sql"]) | values,
        "arguments": values,
    },
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | values,
        "id": st.integers(0, 9) | values,
        "method": methods | values,
        "params": params | values,
    },
)
headers = st.lists(
    st.tuples(
        st.sampled_from(["mcp-protocol-version", "mcp-method", "mcp-name", "accept"]),
        versions | methods | st.sampled_from(["latest", "=?base64?bGF0ZXN0?=", "=?base64?x?="]),
    ),
    max_size=4,
)


@given(st.binary(max_size=60) | messages.map(lambda found: json.dumps(found).encode()), headers)
@settings(max_examples=150, deadline=None)
def test_every_post_is_a_message_or_a_fault(body, told):
    found = parse_message(body, told)
    if isinstance(found, Fault):
        assert 400 <= found.status < 500
        orjson.dumps(found.answer())
        return
    assert isinstance(found, Message)
    assert isinstance(found.params, dict)
    orjson.dumps(complete(found, {}, {}))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_arguments_are_taken_or_refused_in_words(data):
    tool = data.draw(st.sampled_from(TOOLS))
    names = st.sampled_from([argument.name for argument in tool.arguments]) | words
    asked = data.draw(st.dictionaries(names, values, max_size=4))
    try:
        taken = Given(tool.arguments, asked)
    except BadTicket as error:
        refused = (error.message, error.hint)
    else:
        refused = ()
    if refused:
        assert all(refused)
        return
    for argument in tool.arguments:
        match argument.kind:
            case "whole":
                assert argument.low <= taken.whole(argument.name) <= argument.high
            case "words" | "values":
                assert isinstance(taken.many(argument.name), list)
            case _:
                assert isinstance(taken.text(argument.name), str)


columns = st.sampled_from(
    [
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.uint64(), st.integers(0, 2**64 - 1)),
        (pa.float64(), st.floats()),
        (pa.utf8(), st.text(st.characters(exclude_categories=["Cs"]), max_size=600)),
        (pa.binary(), st.binary(max_size=600)),
        (pa.timestamp("us"), st.integers(-(2**62), 2**62)),
        (pa.timestamp("ns", "UTC"), st.integers(-(2**62), 2**62)),
        (pa.date32(), st.dates()),
        (pa.duration("us"), st.integers(-(10**9), 10**9)),
        (pa.list_(pa.float64()), st.lists(st.floats(), max_size=5)),
        (pa.struct([("a", pa.int64())]), st.fixed_dictionaries({"a": st.integers(0, 2**60)})),
    ]
)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_table_can_be_shown_within_the_limit(data):
    rows = data.draw(st.integers(0, 4))
    arrays = []
    for kind, cells in data.draw(st.lists(columns, min_size=1, max_size=5)):
        held = data.draw(st.lists(st.none() | cells, min_size=rows, max_size=rows))
        arrays.append(pa.array(held, kind))
    shown = show(pa.table(arrays, [f"c{n}" for n in range(len(arrays))]), None)
    text = orjson.dumps([shown.columns, shown.rows])
    assert b"NaN" not in text
    assert len(shown.rows) == rows
    assert len(shown.csv.encode()) <= TEXT_BYTES_MAX
