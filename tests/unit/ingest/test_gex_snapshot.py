import json

import pytest

from ingest.gex_frames import Ignored, Parsed, Refused, Unknown, read_post
from ingest.gex_ladder import STRIKES_MAX
from ingest.gex_snapshot import About, gex_batch, kind_of, parse_snapshot
from ingest.gex_values import Faulty, parse_json, time_ns
from tests.fakes import gexbot_made as made

NOW_NS = (made.OPEN_S + 30) * 10**9
SECOND_NS = 10**9


def parsed(found, **about):
    kind = kind_of(found)
    assert kind is not None
    return parse_snapshot(kind, found, About("uw", NOW_NS, **about))


def faults(found, **about):
    with pytest.raises(Faulty) as caught:
        parsed(found, **about)
    return {fault.path: fault.msg for fault in caught.value.faults}


def stamped(value):
    return time_ns("timestamp", value, NOW_NS)


def test_a_chain_fills_every_column_it_has():
    found = made.chain()
    row = parsed(found)
    (stored,) = gex_batch([row]).to_pylist()
    assert (row["symbol"], row["ticker"]) == ("NQ_NDX", "NQ_NDX")
    assert (row["package"], row["category"]) == ("classic", "gex_zero")
    assert row["source"] == "gexbot"
    assert row["ts_event"] == made.OPEN_S * 10**6
    for name in ("spot", "zero_gamma", "major_pos_oi", "sum_gex_vol", "min_dte", "sec_min_dte"):
        assert stored[name] == found[name]
    assert [list(s.values()) for s in stored["strikes"]] == found["strikes"]
    assert [[w["strike"], w["value"]] for w in stored["change_windows"]] == found["max_priors"]
    assert [w["minutes"] for w in stored["change_windows"]] == [0, 1, 5, 10, 15, 30]
    assert json.loads(stored["extra"]) == {"defaulted": ["package", "category"]}


@pytest.mark.parametrize(
    ("make", "kind", "series"),
    [
        (made.chain, "gex_chain", ("classic", "gex_zero")),
        (made.majors, "gex_majors", ("classic", "gex_zero/majors")),
        (made.maxchange, "gex_maxchange", ("classic", "gex_zero/maxchange")),
        (made.orderflow, "gex_orderflow", ("orderflow", "orderflow")),
        (made.uw_exposures, "uw_gex", ("uw", "exposures")),
    ],
)
def test_each_kind_is_known_by_its_fields_and_kept_as_a_series_of_its_own(make, kind, series):
    found = make()
    assert kind_of(found) == kind
    row = parsed(found)
    assert (row["package"], row["category"]) == series


def test_nothing_of_orderflow_or_greeks_is_lost():
    found = made.orderflow()
    extra = json.loads(parsed(found)["extra"])
    assert extra == {name: found[name] for name in list(found)[3:]}
    profile = made.greeks()
    row = parsed(profile, category="gamma_zero")
    assert (row["package"], row["category"]) == ("state", "gamma_zero")
    assert json.loads(row["extra"])["mini_contracts"] == profile["mini_contracts"]
    row = parsed(profile)
    assert (row["package"], row["category"]) == ("state", "greeks")
    assert json.loads(row["extra"])["defaulted"] == ["category"]


def test_a_snapshot_says_its_series_in_several_ways():
    for more, series in [
        ({"endpoint": "gex_full"}, ("classic", "gex_full")),
        ({"category": "one"}, ("classic", "gex_one")),
        ({"gex_type": "state/gex_zero"}, ("state", "gex_zero")),
        ({"package": "state", "category": "full"}, ("state", "gex_full")),
    ]:
        row = parsed(made.chain() | more)
        assert (row["package"], row["category"]) == series
    assert set(faults(made.chain() | {"package": "x", "category": "y"})) == {"package", "category"}


def test_in_state_a_zero_means_not_applicable_and_elsewhere_it_is_a_zero():
    zeros = {"zero_gamma": 0, "major_pos_oi": 0, "sum_gex_vol": 0}
    row = parsed(made.chain() | zeros, package="state", category="gex_zero")
    assert (row["zero_gamma"], row["major_pos_oi"], row["sum_gex_vol"]) == (None, None, 0.0)
    row = parsed(made.chain() | zeros)
    assert (row["zero_gamma"], row["major_pos_oi"], row["sum_gex_vol"]) == (0.0, 0.0, 0.0)


def test_the_first_spelling_present_counts_even_where_it_is_zero():
    found = {"ticker": "SPY", "timestamp": made.OPEN_S, "spot": 683.1}
    row = parsed(found | {"sum_gex_vol": 0, "net_gex": 5.0})
    assert row["net_gex"] == row["sum_gex_vol"] == 0.0


def test_seconds_are_not_taken_for_milliseconds_nor_the_other_way_round():
    for value in (made.OPEN_S, made.OPEN_S * 10**3, made.OPEN_S * 10**6, made.OPEN_S * 10**9):
        assert stamped(value) == made.OPEN_S * SECOND_NS
        assert stamped(str(value)) == made.OPEN_S * SECOND_NS
    assert stamped(made.OPEN_S + 0.5) == made.OPEN_S * SECOND_NS + SECOND_NS // 2
    assert stamped("2026-11-20T14:30:00Z") == made.OPEN_S * SECOND_NS
    assert stamped("2026-11-20T09:30:00.123456789-05:00") == made.OPEN_S * SECOND_NS + 123_456_789


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "now", True, 0, -1, 2**70, "1e400", []),
        *("2026-11-20T14:30:00", "2026-02-30T00:00:00Z", 1_500_000_000, made.OPEN_S + 3_600),
    ],
)
def test_a_time_that_cannot_be_is_refused_and_never_becomes_now(value):
    assert "timestamp" in faults(made.chain() | {"timestamp": value})


def test_everything_wrong_is_told_at_once_with_its_place():
    found = made.chain() | {"ticker": "../etc", "spot": -1, "sum_gex_vol": "many"}
    found["strikes"] = [[1, 2, 3, []], [None, 2]]
    assert set(faults(found)) == {"ticker", "spot", "sum_gex_vol", "strikes[1][0]"}


@pytest.mark.parametrize("spot", [None, 0, "NaN", "inf", True])
def test_a_chain_needs_a_spot(spot):
    assert "spot" in faults(made.chain() | {"spot": spot})


def test_a_ladder_has_an_end():
    ladder = [[strike, 1.0, 1.0, []] for strike in range(STRIKES_MAX + 1)]
    assert "strikes" in faults(made.chain() | {"strikes": ladder})
    assert len(parsed(made.chain() | {"strikes": ladder[1:]})["strikes"].strike) == STRIKES_MAX


def test_whole_numbers_beyond_float64_are_rounded_and_not_refused():
    row = parsed(made.chain() | {"strikes": [[1, 2**60 + 1, 3, [2**55 + 1]]]})
    (stored,) = gex_batch([row]).to_pylist()
    assert stored["strikes"][0]["gex_vol"] == float(2**60)


def test_a_root_is_kept_under_its_ticker_and_an_index_under_itself():
    for sent, kept in [("MNQ", "NQ_NDX"), ("es", "ES_SPX"), ("NDX", "NDX"), ("SPX", "SPX")]:
        row = parsed(made.chain(ticker=sent))
        assert (row["symbol"], row["ticker"]) == (kept, kept)
    assert json.loads(parsed(made.chain(ticker="MNQ"))["extra"])["sent_ticker"] == "MNQ"


@pytest.mark.parametrize("text", [b"NaN", b'{"a": Infinity}', b"{", b"\xff", b"", b"1e999"])
def test_json_is_strict(text):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text)


def test_an_option_trade_frame_fills_its_row():
    (item,) = read_post(made.phoenix("option_trades_super_algo:NDX", made.option_trade()), 2**62)
    assert isinstance(item, Parsed)
    row = item.row
    assert (row["symbol"], row["strike"], row["option_kind"]) == ("NDX", 25_200.0, "call")
    assert (row["price"], row["premium"], row["size"]) == (41.2, 206_000.0, 50)
    assert (row["channel"], row["exchange"]) == ("option_trades_super_algo", "XCBO")
    assert row["ts_event"] == 1_795_188_600_287_000
    assert row["tags"] == "ask_side,bullish"
    assert json.loads(row["extra"]) == {"ask_vol": 749, "report_flags": [], "is_agg": False}


def test_an_official_frame_and_a_list_of_trades_are_read_too():
    trades = [made.option_trade(1), made.option_trade(2)]
    items = read_post(["option_trades", trades], 2**62)
    assert [item.row["trade_id"][-1] for item in items] == ["1", "2"]


def test_a_topic_says_whose_snapshot_it_is_where_the_snapshot_does_not():
    nameless = {name: value for name, value in made.chain().items() if name != "ticker"}
    (item,) = read_post({"topic": "GEX|spy", "payload": nameless}, 2**62)
    assert item.row["ticker"] == "SPY"
    (item,) = read_post(["gex:NDX", made.chain()], 2**62)
    assert item.row["ticker"] == "NQ_NDX", "its own word counts"


def test_market_totals_fill_their_row_and_arrive_when_they_arrive():
    (item,) = read_post(
        made.phoenix("market_agg_socket", made.market_agg(), "market-state"), NOW_NS
    )
    assert isinstance(item, Parsed)
    assert item.row["symbol"] == "MARKET"
    assert (item.row["call_volume"], item.row["put_call_ratio"]) == (118_234, 0.824)
    assert item.row["ts_event"] == NOW_NS // 1000


@pytest.mark.parametrize(
    "frame",
    [
        [None, "7", "phoenix", "phx_reply", {"status": "ok", "response": {}}],
        [None, None, "option_trades", "tick", {"data": {}}],
        ["gex:SPY", {"response": {}, "status": "ok"}],
        {"topic": "heartbeat", "data": {}},
    ],
)
def test_heartbeats_and_join_replies_are_ignored(frame):
    (item,) = read_post(frame, NOW_NS)
    assert isinstance(item, Ignored)


@pytest.mark.parametrize("found", [{"weather": 3}, ["news", {"headline": "x"}], [[1], [2]], {}])
def test_an_unknown_shape_is_kept_as_it_came(found):
    items = read_post(found, NOW_NS)
    assert all(isinstance(item, Unknown) for item in items)
    kept = [json.loads(item.raw) for item in items]
    assert kept == (found if found == [[1], [2]] else [found])


def test_a_batch_has_an_end_and_what_is_no_object_is_refused():
    (item,) = read_post([made.majors()] * 501, NOW_NS)
    assert isinstance(item, Refused)
    assert "500" in item.faults[0].msg
    for found in (3, "text", None):
        (item,) = read_post(found, NOW_NS)
        assert isinstance(item, Refused)
