"""The statement behind `book:..?at=..`: the whole book just before a moment, from depth rows. Pure.

The rows since the last full snapshot are replayed as one question: of each level the last row
counts, and only whole batches do. What is not known whole is told as not valid.
"""

from core.clock import HOUR_US, NS_PER_US
from flight_server.ticket_kinds import BookAt
from storage.query import Question

LOOK_BACK_US = 2 * HOUR_US  # in which a full snapshot is looked for

BOOK_AT = """
WITH near AS (
  SELECT contract, source, source_seq, command, side, price, size, end_of_batch, ts_event, ts_recv,
    seq
  FROM depth
  WHERE symbol = ? AND ts_event >= make_timestamp(?) AND ts_event < make_timestamp(?)
), who AS (
  SELECT contract, source FROM near ORDER BY ts_event DESC, seq DESC LIMIT 1
), ours AS (
  SELECT near.* FROM near JOIN who ON near.contract = who.contract AND near.source = who.source
), whole AS (
  SELECT ours.* FROM ours
  WHERE source_seq <= (SELECT max(source_seq) FROM ours WHERE end_of_batch)
), cut AS (
  SELECT coalesce(max(source_seq) FILTER (command = 'clear'), -1) AS at_seq,
    coalesce(arg_max(NOT end_of_batch, source_seq) FILTER (command = 'clear'), false) AS is_known
  FROM whole
), levels AS (
  SELECT side, price,
    arg_max(CASE WHEN starts_with(command, 'delete') THEN 0 ELSE size END, source_seq) AS size
  FROM whole, cut WHERE source_seq > at_seq AND side <> 0 GROUP BY side, price
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY side ORDER BY side * price DESC) AS place
  FROM levels WHERE size > 0
), sides AS (
  SELECT list(price ORDER BY place) FILTER (side = 1) AS bid_px,
    list(size ORDER BY place) FILTER (side = 1) AS bid_sz,
    list(price ORDER BY place) FILTER (side = -1) AS ask_px,
    list(size ORDER BY place) FILTER (side = -1) AS ask_sz
  FROM ranked WHERE place <= ?
), newest AS (
  SELECT max(ts_event) AS ts_event, max(ts_recv) AS ts_recv, max(seq) AS seq FROM whole
)
SELECT ? AS symbol, newest.ts_event, newest.ts_recv, newest.seq, who.source, who.contract,
  coalesce(bid_px, []) AS bid_px, coalesce(bid_sz, []) AS bid_sz,
  coalesce(ask_px, []) AS ask_px, coalesce(ask_sz, []) AS ask_sz, cut.is_known AS valid
FROM who, newest, cut, sides WHERE newest.ts_event IS NOT NULL"""


def book_question(ask: BookAt) -> Question:
    """The question to the query worker."""
    at_us = -(-ask.at_ns // NS_PER_US)
    return Question(
        BOOK_AT,
        params=(ask.symbol, at_us - LOOK_BACK_US, at_us, ask.levels, ask.symbol),
        symbols=frozenset({ask.symbol}),
        known_at_us=ask.span.known_at_us,
    )
