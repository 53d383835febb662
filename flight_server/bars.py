"""The statement behind `bars:`. Pure.

Bars are aligned to the UTC epoch and always whole: a range is widened to the bars it touches, so no
bar is made of half its trades only because the question began in its middle.
"""

from dataclasses import replace

from core.clock import DAY_NS, NS_PER_S, US_PER_S
from flight_server.ticket_kinds import Bars, Span
from storage.query import Question

DEFAULT_SPAN_NS = DAY_NS

_FROM_ROLLUP = """
SELECT symbol, make_timestamp((epoch_us(ts_event) // {width}) * {width}) AS ts_event,
 arg_min(open, ts_event) AS open, max(high) AS high, min(low) AS low,
 arg_max(close, ts_event) AS close, sum(volume)::BIGINT AS volume,
 sum(notional) / nullif(sum(volume), 0) AS vwap, sum("count")::BIGINT AS "count",
 sum(buy_volume)::BIGINT AS buy_volume, sum(sell_volume)::BIGINT AS sell_volume
FROM {table} WHERE symbol = ? AND ts_event >= make_timestamp(?) AND ts_event < make_timestamp(?)
GROUP BY 1, 2 ORDER BY 2"""

_FROM_TRADES = """
SELECT symbol, make_timestamp((epoch_us(ts_event) // {width}) * {width}) AS ts_event,
 arg_min(price, row(ts_event, ts_ns, seq)) AS open, max(price) AS high, min(price) AS low,
 arg_max(price, row(ts_event, ts_ns, seq)) AS close, sum(size)::BIGINT AS volume,
 sum(price * size) / nullif(sum(size), 0) AS vwap, count(*)::BIGINT AS "count",
 sum(CASE WHEN side = 1 THEN size ELSE 0 END)::BIGINT AS buy_volume,
 sum(CASE WHEN side = -1 THEN size ELSE 0 END)::BIGINT AS sell_volume
FROM trades WHERE valid AND symbol = ? AND ts_event >= make_timestamp(?)
 AND ts_event < make_timestamp(?)
GROUP BY 1, 2 ORDER BY 2"""


def bars_question(ask: Bars, now_ns: int) -> tuple[Question, Span]:
    """The question to the query worker, and the range of whole bars it covers."""
    width_ns = ask.every_s * NS_PER_S
    end_ns = now_ns if ask.span.end_ns is None else ask.span.end_ns
    start_ns = end_ns - DEFAULT_SPAN_NS if ask.span.start_ns is None else ask.span.start_ns
    span = replace(
        ask.span,
        start_ns=start_ns // width_ns * width_ns,
        end_ns=-(-max(end_ns, start_ns + 1) // width_ns) * width_ns,
    )
    width_us = ask.every_s * US_PER_S
    if span.known_at_us is not None:
        sql = _FROM_TRADES.format(width=width_us)
    else:
        table = "bars_1m" if ask.every_s % 60 == 0 else "bars_1s"
        sql = _FROM_ROLLUP.format(width=width_us, table=table)
    return Question(
        sql,
        params=(ask.symbol, span.start_us, span.end_us),
        symbols=frozenset({ask.symbol}),
        known_at_us=span.known_at_us,
    ), span
