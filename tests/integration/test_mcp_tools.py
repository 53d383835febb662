"""What each tool tells a model, and what it says of bad input."""

import json

import pytest

from tests.fakes.mcp_desk import START_US, McpDesk, filled, snapshot
from webui.mcp_table import iso
from webui.mcp_tools import TOOLS

SPY_KINDS = [
    {**snapshot(START_US, 1.0), "symbol": "SPY", "ticker": "SPY", "category": category}
    for category in ("gex_zero", "gex_one")
]
LONG_AGO = {"start": "2001-01-01", "end": "2001-01-02"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    desk = filled(McpDesk(tmp_path_factory.mktemp("mcp")))
    yield desk
    desk.close()


@pytest.fixture
def own(tmp_path):
    """For tests that write."""
    own = McpDesk(tmp_path)
    yield own
    own.close()


def test_describe_tells_what_there_is_in_short_and_one_table_in_full(desk):
    told = desk.call("describe")
    trades = next(table for table in told["tables"] if table["name"] == "trades")
    assert trades["coverage"]["MNQ"]["from"] == "2025-11-20T14:00:00.000000Z"
    assert "price" in trades["columns"]
    assert told["symbols"] == ["MNQ", "NQ", "SPY", "VIX"]
    assert told["flight_url"].startswith("grpc://127.0.0.1:")
    assert "table gex" in told["text"]
    table = desk.call("describe", table="trades")["table"]
    price = next(column for column in table["columns"] if column["name"] == "price")
    assert (price["meaning"], price["unit"]) == ("trade price", "points")
    assert desk.call("describe", table="nope")["code"] == "bad_ticket"


def test_every_example_a_description_shows_is_answered(desk):
    shown = {tool.name: tool.description.partition("Example: ")[2] for tool in TOOLS}
    read = json.JSONDecoder().raw_decode
    examples = {name: read(text)[0] for name, text in shown.items() if text}
    assert set(examples) == {"latest", "bars", "ticks", "gex", "sql"}
    for name, arguments in examples.items():
        assert "rows" in desk.call(name, **arguments), name


def test_latest_tells_the_last_trade_of_each_symbol(desk):
    told = desk.call("latest")
    rows = {row[0]: row for row in told["rows"]}
    assert set(rows) == {"MNQ", "NQ", "SPY"}
    assert rows["MNQ"][2] == 109.0
    assert told["columns"][2]["unit"] == "points"
    assert told["gaps"] is None
    assert told["visible_seq"] == 16
    assert [row[0] for row in desk.call("latest", symbols=["NQ", "MNQ"])["rows"]] == ["NQ", "MNQ"]
    assert desk.call("latest", symbols="SPY")["row_count"] == 1
    assert desk.call("latest", symbols=["NOPE"])["code"] == "unknown_symbol"


def test_ticks_without_a_start_are_the_newest(desk):
    told = desk.call("ticks", symbol="MNQ", limit=3)
    assert [row[1] for row in told["rows"]] == [107.0, 108.0, 109.0]
    assert told["flight_ticket"] == "tail:MNQ?n=3"
    assert not told["is_cut"]


def test_where_the_newest_do_not_fit_it_is_the_older_ones_that_are_left_out(own):
    own.house.trade([float(n) for n in range(1_000)], symbol="VIX", start_us=START_US)
    told = own.call("ticks", symbol="VIX", limit=1_000)
    assert told["is_cut"]
    assert told["next_arguments"] is None
    assert told["rows"][-1][1] == 999.0
    assert len(told["text"]) < 64 * 1024
    assert "give start and end" in told["text"]


def test_ticks_come_page_by_page_without_loss_or_repeat(desk):
    arguments = {"symbol": "MNQ", "start": "2025-11-20T14:00:00Z", "limit": 4}
    prices = []
    while arguments:
        told = desk.call("ticks", **arguments)
        prices += [row[1] for row in told["rows"]]
        assert told["is_cut"] == (told["next_arguments"] is not None)
        assert ("CUT" in told["text"]) == told["is_cut"]
        arguments = told["next_arguments"]
    assert prices == [float(n) for n in range(100, 110)]


def test_a_page_does_not_end_within_one_moment(desk):
    start = {"symbol": "NQ", "start": "2025-11-20T14:00:00Z"}
    told = desk.call("ticks", **start, limit=3)
    assert (told["row_count"], told["next_arguments"]["start"]) == (3, "2025-11-20T14:01:01Z")
    told = desk.call("ticks", **start, limit=2)
    assert (told["row_count"], told["is_cut"], told["next_arguments"]) == (2, True, None)
    assert "one and the same time" in told["text"]


def test_a_range_names_its_gaps_and_how_far_was_looked(desk):
    told = desk.call("ticks", symbol="MNQ", start="2025-11-20T14:00:00Z")
    assert [gap["symbol"] for gap in told["gaps"]] == ["MNQ", "*"]
    assert "GAPS" in told["text"]
    assert "line lost" in told["text"]
    assert told["visible_seq"] == 16
    quiet = desk.call("ticks", symbol="MNQ", start="2025-11-20T13", end="2025-11-20T14:00:00.5Z")
    assert quiet["code"] == "bad_ticket"
    quiet = desk.call("ticks", symbol="MNQ", start="2025-11-20", end="2025-11-20T14:00:00.5Z")
    assert (quiet["gaps"], quiet["row_count"]) == ([], 1)
    assert "gaps: none known" in quiet["text"]


def test_known_at_hides_what_came_later(desk):
    known_at = iso(START_US + 1_600_000)
    start = {"symbol": "MNQ", "start": "2025-11-20T14:00:00Z", "known_at": known_at}
    assert desk.call("ticks", **start)["row_count"] == 4
    (bar,) = desk.call("bars", **start)["rows"]
    assert bar[4] == 103.0
    gex = desk.call("gex", symbol="MNQ", known_at=known_at)
    assert [row[4] for row in gex["rows"]] == [101.0]
    (row,) = desk.call("sql", sql="SELECT count(*) FROM trades", known_at=known_at)["rows"]
    assert row == [4]


def test_known_at_or_end_alone_is_told_to_need_a_start(desk):
    for name in ("known_at", "end"):
        error = desk.call("ticks", symbol="MNQ", **{name: "2025-11-20T14:00:00Z"})
        assert error["code"] == "bad_ticket"
        assert "start" in error["hint"]


def test_bars_are_whole_and_carry_their_meanings(desk):
    told = desk.call("bars", symbol="MNQ", start="2025-11-20T14:00:00Z", end="2025-11-20T15:00:00Z")
    (row,) = told["rows"]
    names = [column["name"] for column in told["columns"]]
    bar = dict(zip(names, row, strict=True))
    assert bar["ts_event"] == "2025-11-20T14:00:00Z"
    assert [bar[name] for name in ("open", "high", "low", "close")] == [100.0, 109.0, 100.0, 109.0]
    assert (bar["volume"], bar["count"]) == (10, 10)
    assert all(column["meaning"] for column in told["columns"])


def test_bars_without_a_start_are_the_newest_and_lead_back_in_time(desk):
    end = "2025-11-20T14:00:05Z"
    told = desk.call("bars", symbol="MNQ", every="1s", limit=2, end=end)
    assert [row[0] for row in told["rows"]] == ["2025-11-20T14:00:03Z", "2025-11-20T14:00:04Z"]
    assert told["is_cut"]
    older = desk.call("bars", **told["next_arguments"])
    assert [row[0] for row in older["rows"]] == ["2025-11-20T14:00:01Z", "2025-11-20T14:00:02Z"]


def test_gex_finds_the_ticker_of_a_root_and_the_strikes_near_spot(desk):
    told = desk.call("gex", symbol="MNQ", strikes=2)
    (row,) = told["rows"]
    names = [column["name"] for column in told["columns"]]
    shown = dict(zip(names, row, strict=True))
    assert (shown["ticker"], shown["spot"]) == ("NQ_NDX", 102.0)
    assert shown["strikes"] == [[100.0, 10.0, -10.0], [110.0, 11.0, -11.0]]
    assert "strikes" not in [c["name"] for c in desk.call("gex", symbol="MNQ")["columns"]]


def test_of_the_newest_gex_more_kinds_than_the_limit_are_told_to_be_cut(own):
    own.house.store.append_rows("gex", SPY_KINDS)
    told = own.call("gex", symbol="SPY", limit=1)
    assert (told["row_count"], told["is_cut"], told["next_arguments"]) == (1, True, None)
    assert own.call("gex", symbol="SPY")["row_count"] == 2


def test_a_range_of_gex_comes_in_pages(desk):
    told = desk.call("gex", symbol="NQ_NDX", start="2025-11-20T14:00:00Z", limit=2)
    assert [row[4] for row in told["rows"]] == [100.0, 101.0]
    assert desk.call("gex", **told["next_arguments"])["rows"][0][4] == 102.0


def test_sql_answers_rows_and_says_when_they_are_cut(desk):
    told = desk.call(
        "sql", sql="SELECT symbol, count(*) AS n FROM ticks WHERE price > ? GROUP BY 1 ORDER BY 1",
        params=[6.5],
    )  # fmt: skip
    assert told["rows"] == [["MNQ", 10], ["NQ", 4]]
    assert [column["name"] for column in told["columns"]] == ["symbol", "n"]
    cut = desk.call("sql", sql="SELECT * FROM trades ORDER BY seq", limit=5)
    assert (cut["row_count"], cut["is_cut"], cut["next_arguments"]) == (5, True, None)
    assert "LIMIT" in cut["text"]
    assert json.loads(cut["flight_ticket"])["sql"] == "SELECT * FROM trades ORDER BY seq"


def test_gaps_are_found_by_symbol_table_and_time(desk):
    rows = desk.call("gaps")["rows"]
    assert [row[1] for row in rows] == ["*", "MNQ"]  # newest first, backfilled ones left out
    assert rows[0][3] is None
    assert [row[1] for row in desk.call("gaps", symbol="spy")["rows"]] == ["*"]
    assert desk.call("gaps", symbol="MNQ", end="2025-11-20T14:00:05Z")["row_count"] == 1
    assert desk.call("gaps", symbol="MNQ", start="2025-11-20T14:00:05Z")["row_count"] == 1
    assert desk.call("gaps", table="depth")["row_count"] == 0
    assert desk.call("gaps", limit=1)["is_cut"]
    assert desk.call("gaps", table="nope")["code"] == "bad_ticket"


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("ticks", {}, "bad_ticket"),
        ("ticks", {"symbol": "MNQ", "limit": 0}, "bad_ticket"),
        ("ticks", {"symbol": "MNQ?n=1&x=2", "start": "2025-11-20"}, "bad_ticket"),
        ("ticks", {"symbol": "MNQ", "start": "yesterday"}, "bad_ticket"),
        ("ticks", {"symbol": "MNQ", "start": "2025-11-20&strict=1"}, "bad_ticket"),
        ("ticks", {"symbol": "MNQ", **LONG_AGO}, "outside_retention"),
        ("bars", {"symbol": "MNQ", "every": "1x"}, "bad_ticket"),
        ("bars", {"symbol": "MNQ", "end": "1990"}, "bad_ticket"),
        ("bars", {"symbol": "NOPE"}, "unknown_symbol"),
        ("gex", {"symbol": "NOPE"}, "unknown_symbol"),
        ("gex", {"symbol": "MNQ", "strikes": 1_000}, "bad_ticket"),
        ("sql", {"sql": "DROP TABLE trades"}, "bad_sql"),
        ("sql", {"sql": "SELECT nonsense FROM trades"}, "bad_sql"),
        ("sql", {"sql": "latest:MNQ"}, "bad_sql"),
        ("sql", {"sql": "SELECT * FROM read_csv('/etc/passwd')"}, "forbidden"),
        ("sql", {"sql": "SELECT ?", "params": [[1]]}, "bad_ticket"),
        ("latest", {"symbol": "MNQ"}, "bad_ticket"),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_with_code_message_and_hint(desk, tool, arguments, code):
    error = desk.call(tool, **arguments)
    assert set(error) == {"code", "message", "hint"}
    assert error["code"] == code
    assert error["message"]
    text = json.dumps(error)
    assert "Traceback" not in text
    assert ".py" not in text
