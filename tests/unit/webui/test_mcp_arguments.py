import json

import jsonschema
import pytest

from core.errors import BadTicket
from webui.mcp_arguments import Argument, Given, input_schema
from webui.mcp_tools import TOOLS

ARGUMENTS = (
    Argument("symbol", "text", "which", ("MNQ",), is_required=True),
    Argument("start", "time", "from when"),
    Argument("limit", "whole", "how many", (5,), 50, 1, 100),
    Argument("symbols", "words", "which ones", (["MNQ"],)),
    Argument("params", "values", "values", ([1],)),
)


def test_what_is_not_given_has_its_default():
    given = Given(ARGUMENTS, {"symbol": " MNQ "})
    assert given.text("symbol") == "MNQ"
    assert given.text("start") == ""
    assert given.whole("limit") == 50
    assert given.many("params") == []
    assert given.given() == {"symbol": " MNQ ", "limit": 50}


def test_null_is_as_good_as_not_given():
    assert Given(ARGUMENTS, {"symbol": "MNQ", "limit": None, "start": None}).whole("limit") == 50


def test_words_may_come_as_a_list_or_as_one_text():
    for words in (["MNQ", "SPY"], "MNQ, SPY,"):
        assert Given(ARGUMENTS, {"symbol": "x", "symbols": words}).many("symbols") == ["MNQ", "SPY"]


def test_a_time_may_be_text_or_nanoseconds():
    moment = 1_763_649_000_000_000_000
    assert Given(ARGUMENTS, {"symbol": "x", "start": moment}).text("start") == str(moment)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "symbol is missing"),
        ({"symbol": ""}, "symbol"),
        ({"symbol": 7}, "expected text, found 7"),
        ({"symbol": "x" * 70_000}, "65536 characters"),
        ({"symbol": "x", "limit": 0}, "from 1 to 100, found 0"),
        ({"symbol": "x", "limit": 101}, "from 1 to 100"),
        ({"symbol": "x", "limit": "5"}, "whole number"),
        ({"symbol": "x", "limit": True}, "whole number"),
        ({"symbol": "x", "start": 1.5}, "a time"),
        ({"symbol": "x", "start": True}, "a time"),
        ({"symbol": "x", "symbols": [1]}, "a list of texts"),
        ({"symbol": "x", "params": [[1]]}, "a list of texts, numbers"),
        ({"symbol": "x", "params": [1] * 1_001}, "1000 values"),
        ({"symbol": "x", "nope": 1}, "'nope'"),
    ],
)
def test_what_does_not_fit_is_told_with_an_example(given, word):
    with pytest.raises(BadTicket) as caught:
        Given(ARGUMENTS, given)
    assert word in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool_tells_a_model_what_it_needs(tool):
    listed = tool.listed()
    assert json.loads(json.dumps(listed)) == listed
    jsonschema.Draft202012Validator.check_schema(listed["inputSchema"])
    jsonschema.Draft202012Validator.check_schema(listed["outputSchema"])
    assert listed["annotations"]["readOnlyHint"]
    assert len(listed["description"]) > 80
    for name, argument in listed["inputSchema"]["properties"].items():
        assert len(argument["description"]) > 8, name
        assert argument["examples"], name


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_example_is_taken_by_its_own_schema_and_by_us(tool):
    example = {argument.name: argument.examples[0] for argument in tool.arguments}
    jsonschema.validate(example, input_schema(tool.arguments))
    Given(tool.arguments, example)
