"""Posts made from the grammar of every known sender, and anything else JSON can say."""

import json
from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from core.schema import TABLES
from core.session import NEW_YORK
from core.symbol import GEX_TICKERS
from ingest.gex_columns import flat_columns
from ingest.gex_frames import Ignored, Parsed, Refused, Unknown, read_post
from ingest.gex_ladder import WINDOWS
from ingest.gex_mould import Moulds
from ingest.gex_snapshot import gex_batch, gex_columns
from storage.prepared import prepare
from tests.fakes import gexbot_made as made

NOW_NS = (made.CLOSE_S + 60) * 10**9
VALUE = st.floats(-1e9, 1e9).map(lambda x: round(x, 3)) | st.integers(-(10**9), 10**9)
TICKERS = st.sampled_from(["NQ_NDX", "ES_SPX", "SPX", "NDX", "SPY", "MNQ", "ES"])
SPELLINGS = {
    "spot": ["spot", "spot_price"],
    "sum_gex_vol": ["sum_gex_vol", "net_gex", "net_gex_vol"],
    "sum_gex_oi": ["sum_gex_oi", "net_gex_oi"],
    "major_pos_vol": ["major_pos_vol", "mpos_vol"],
    "major_neg_oi": ["major_neg_oi", "mneg_oi"],
    "zero_gamma": ["zero_gamma"],
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6)
    ),
    max_leaves=20,
)


@st.composite
def times(draw):
    """One moment in a spelling, and the nanoseconds it means."""
    second = draw(st.integers(made.OPEN_S, made.CLOSE_S))
    ns = second * 10**9
    micro = draw(st.integers(0, 999_999))
    spelling = draw(st.sampled_from(["s", "ms", "us", "ns", "text", "iso", "zone"]))
    given, of = {
        "s": (second, 0),
        "ms": (second * 1000 + micro // 1000, micro // 1000 * 10**6),
        "us": (second * 10**6 + micro, micro * 1000),
        "ns": (ns + micro, micro),
        "text": (str(second * 1000), 0),
        "iso": (
            f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{micro:06d}Z",
            micro * 1000,
        ),
        "zone": (datetime.fromtimestamp(second, NEW_YORK).isoformat(), 0),
    }[spelling]
    return given, ns + of


@st.composite
def ladders(draw):
    """Rows in one of their forms, and the rows they mean."""
    rows, meant = [], []
    for strike in draw(st.lists(st.integers(1, 80_000), max_size=5)):
        volume, interest = draw(VALUE | st.none()), draw(VALUE | st.none())
        priors = draw(st.none() | st.lists(VALUE | st.none(), max_size=5))
        form = draw(st.sampled_from(["list", "dict", "short"]))
        if form == "short":
            interest = priors = None
            rows.append([strike, volume])
        elif form == "dict":
            rows.append({"strike": strike, "gamma": volume, "oi_gamma": interest, "priors": priors})
        else:
            rows.append([strike, volume, interest, priors])
        meant.append({"strike": strike, "gex_vol": volume, "gex_oi": interest, "priors": priors})
    return rows, meant


@st.composite
def snapshots(draw):
    """A pushed snapshot, and the columns it must fill."""
    stamp, ns = draw(times())
    name = draw(TICKERS)
    found = {"ticker": name, "timestamp": stamp}
    meant = {"symbol": GEX_TICKERS.get(name, name), "ts_event": ns // 1000, "ts_ns": ns % 1000}
    for column, spellings in SPELLINGS.items():
        value = draw(st.floats(1, 9e4) if column == "spot" else VALUE | st.none())
        found[draw(st.sampled_from(spellings))] = value
        meant[column] = value
    rows, meant["strikes"] = draw(ladders())
    found["strikes"] = rows
    pairs = draw(st.dictionaries(st.sampled_from(list(WINDOWS)), st.tuples(VALUE, VALUE)))
    found[draw(st.sampled_from(["change_windows", "maxchange", "max_change"]))] = pairs
    meant["change_windows"] = sorted(
        [{"minutes": WINDOWS[n], "strike": s, "value": v} for n, (s, v) in pairs.items()],
        key=lambda w: w["minutes"],
    )
    return found, meant


def wrapped(found, form):
    """A snapshot in one of the covers it may come in."""
    match form:
        case "phoenix":
            return made.phoenix("gex:SPY", found)
        case "official":
            return ["gex:SPY", found]
        case "envelope":
            return {"topic": "gex", "event_type": "snapshot", "payload": found}
        case "data":
            return {"type": "gex_snapshot", "data": found}
        case _:
            return found


@settings(deadline=None)
@given(snapshots(), st.sampled_from(["bare", "phoenix", "official", "envelope", "data"]))
def test_every_spelling_of_a_snapshot_becomes_the_row_it_means(snapshot, form):
    found, meant = snapshot
    (item,) = read_post(json.loads(json.dumps(wrapped(found, form))), NOW_NS)
    assert isinstance(item, Parsed), item
    (row,) = gex_batch([item.row]).to_pylist()
    assert item.row["ts_event"] == meant.pop("ts_event")
    assert row["net_gex"] == row["sum_gex_vol"]
    for column, value in meant.items():
        assert row[column] == value, column


@settings(deadline=None)
@given(snapshots())
def test_a_mould_gives_the_bytes_arrow_gives(snapshot):
    (item,) = read_post(json.loads(json.dumps(snapshot[0])), NOW_NS)
    moulds = Moulds()
    for time in (0, 1, 2):
        row = item.row | {"ts_recv": item.row["ts_recv"] + time}
        assert moulds.ready(row) == prepare("gex", gex_columns([row]))


@given(st.lists(JSON, max_size=4) | JSON)
@settings(max_examples=300, deadline=None)
def test_any_json_is_accounted_for_and_nothing_raises(found):
    items = read_post(found, NOW_NS)
    assert all(isinstance(item, Parsed | Ignored | Unknown | Refused) for item in items)
    assert items or found == []


@settings(deadline=None)
@given(st.data())
def test_one_spoilt_value_is_refused_where_it_stands_and_the_frame_is_kept(data):
    makers = [made.chain, made.majors, made.orderflow, made.option_trade, made.market_agg]
    found = data.draw(st.sampled_from(makers))()
    name = data.draw(st.sampled_from(sorted(found)))
    found[name] = data.draw(st.sampled_from([True, {"a": 1}, "\x00odd", [[["deep"]]]]))
    (item,) = read_post(found, NOW_NS)
    if isinstance(item, Refused):
        assert item.faults[0].path.startswith(name) or name in ("ticker", "timestamp")
        assert json.loads(item.raw) == found
    elif isinstance(item, Unknown):
        assert json.loads(item.raw) == found
    else:
        assert name in (item.row["extra"] or "") or found[name] in (True, {"a": 1}), name


@settings(deadline=None)
@given(st.lists(st.sampled_from(["chain", "trade", "agg", "beat", "odd"]), max_size=12))
def test_a_batch_holds_what_its_items_hold_one_by_one(kinds):
    makers = {
        "chain": lambda i: made.chain(made.OPEN_S + i),
        "trade": lambda i: made.phoenix("option_trades_super_algo:NDX", made.option_trade(i)),
        "agg": lambda i: [
            "3",
            "9",
            "market_agg_socket",
            "market-state",
            {"data": made.market_agg()},
        ],
        "beat": lambda i: [None, str(i), "phoenix", "phx_reply", {"status": "ok", "response": {}}],
        "odd": lambda i: {"weather": i},
    }
    parts = [makers[kind](place) for place, kind in enumerate(kinds)]
    items = read_post(parts, NOW_NS)
    assert items == [item for part in parts for item in read_post(part, NOW_NS)]
    for item in items:
        if isinstance(item, Parsed) and item.table != "gex":
            columns = flat_columns(item.table, [item.row])
            schema = TABLES[item.table].unnumbered_schema
            pa.RecordBatch.from_arrays(columns, schema=schema).validate(full=True)
