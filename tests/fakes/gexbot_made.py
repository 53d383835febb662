"""Made-up payloads with the real names and types of GEXBot and Unusual Whales."""

import math

OPEN_S = 1_795_185_000  # 2026-11-20 14:30 UTC, the open in New York
CLOSE_S = OPEN_S + 23_400


def chain(ts=OPEN_S, ticker="NQ_NDX", strikes=4, spot=25_231.6):
    """A chain snapshot as `/TICKER/classic/gex_zero` gives it; another second, another value."""
    middle = round(spot / 25) * 25 + 12.35
    ladder = [_strike(ts, middle + (k - strikes // 2) * 25.0, k) for k in range(strikes)]
    priors = [[row[0], round(row[1] / 3, 2)] for row in (ladder * 6)[:6]]
    return {
        "timestamp": ts,
        "ticker": ticker,
        "min_dte": 0,
        "sec_min_dte": 3,
        "spot": round(spot + math.sin(ts) * 5, 2),
        "zero_gamma": 25_188.42,
        "major_pos_vol": 25_262.35,
        "major_pos_oi": 25_312.35,
        "major_neg_vol": 25_162.35,
        "major_neg_oi": 25_012.35,
        "strikes": ladder,
        "sum_gex_vol": round(sum(row[1] for row in ladder), 3),
        "sum_gex_oi": round(sum(row[2] for row in ladder), 3),
        "delta_risk_reversal": 0.104,
        "max_priors": priors,
    }


def _strike(ts, strike, k):
    value = round(math.sin(ts / 900 + k) * 400, 2)
    return [strike, value, round(value / 3, 2), [value, round(value * 0.9, 2), value, 1.5, 0]]


def majors(ts=OPEN_S, ticker="NQ_NDX"):
    full = chain(ts, ticker)
    short = {"mpos_vol": "major_pos_vol", "mpos_oi": "major_pos_oi"}
    short |= {"mneg_vol": "major_neg_vol", "mneg_oi": "major_neg_oi", "zero_gamma": "zero_gamma"}
    short |= {"net_gex_vol": "sum_gex_vol", "net_gex_oi": "sum_gex_oi"}
    head = {name: full[name] for name in ("timestamp", "ticker", "spot")}
    return head | {name: full[of] for name, of in short.items()}


def maxchange(ts=OPEN_S, ticker="NQ_NDX"):
    names = ("current", "one", "five", "ten", "fifteen", "thirty")
    pairs = dict(zip(names, chain(ts, ticker)["max_priors"], strict=True))
    return {"timestamp": ts, "ticker": ticker, **pairs}


def greeks(ts=OPEN_S, ticker="SPX"):
    head = {"timestamp": ts, "ticker": ticker, "spot": 6841.2, "min_dte": 0, "sec_min_dte": 3}
    head |= {"major_positive": 6850, "major_negative": 6825}
    head |= {"major_long_gamma": 6850, "major_short_gamma": 6835}
    return head | {"mini_contracts": [[6840, 0.118, 0.121, 215.4, [214.9, 201.3], None, None]]}


def orderflow(ts=OPEN_S, ticker="ES_SPX"):
    names = [f"{when}_{side}gamma" for when in "zo" for side in ("ml", "ms")]
    names += [f"{when}_m{side}" for when in ("zero", "one") for side in ("call", "put")]
    names += [f"{when}{of}" for of in ("cvr", "gr", "vanna", "charm") for when in "zo"]
    for one in ("", "one_"):
        names += [f"{one}{of}_{side}dex" for of in ("agg", "net") for side in ("", "call_", "put_")]
        names += [f"{one}{of}oflow" for of in ("dex", "gex", "cvr")]
    assert len(names) == 34
    head = {"timestamp": ts, "ticker": ticker, "spot": 6852.95}
    return head | {name: place - 12 for place, name in enumerate(names)}


def uw_exposures(ts=OPEN_S, ticker="SPY"):
    greeks_of = [
        f"{g}_per_one_percent_move_{of}" for g in ("gamma", "charm") for of in ("oi", "vol")
    ]
    return {"ticker": ticker, "timestamp": ts * 1000, "price": "683.06"} | dict.fromkeys(
        greeks_of, "6933079028.42"
    )


def option_trade(number=1, ts="2026-11-20T15:30:00.287Z"):
    return {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "executed_at": ts,
        "option_chain_id": "NDX261120C25200000",
        "price": "41.20",
        "premium": "206000.00",
        "size": 50,
        "volume": 863,
        "open_interest": 227,
        "underlying_price": "25119.25",
        "delta": "0.422",
        "gamma": "0.0021",
        "theta": "-8.207",
        "vega": "3.071",
        "rho": "0.011",
        "theo": "41.050",
        "implied_volatility": "0.185",
        "ewma_nbbo_ask": "41.60",
        "ewma_nbbo_bid": "40.80",
        "ask_vol": 749,
        "tags": ["ask_side", "bullish"],
        "report_flags": [],
        "exchange": "XCBO",
        "upstream_condition_detail": "AUTO",
        "is_agg": False,
    }


def market_agg():
    return {
        "date": "2026-11-20",
        "call_premium": "1834567.89",
        "put_premium": "1476543.21",
        "call_volume": 118234,
        "put_volume": 97451,
        "put_call_ratio": "0.824",
    }


def phoenix(topic, data, event="new_msg"):
    """A frame of the Unusual Whales website."""
    return [None, None, topic, event, {"data": data}]
