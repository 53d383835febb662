"""The views over a request's rows: standing trades (`ticks`), bars merged exactly, the bars macro.

A correction or cancel takes the place of every earlier row with the same symbol, source and source
number, wherever that row is. Bars are the sealed rollups merged with bars of the rows not yet in
them; where such a row revises a trade, or `known_at` is given, they are computed from trades.
"""
# ruff: noqa: S608 - SQL is put together from names of ours and numbers; a client's text never is.

from collections.abc import Mapping
from dataclasses import replace

from core.clock import US_PER_S
from core.schema import BARS_1S
from storage.query_prune import EVERYTHING, Bounds
from storage.query_tables import TICKS_HEAD, TICKS_REST, Builder, Moment, Scope, Tape
from storage.superseded import MARK, NEAR_US, PATTERN

WIDTHS_US = {"bars_1s": US_PER_S, "bars_1m": 60 * US_PER_S}
# (time in ns, seq) as one number that sorts the same.
KEY_STEP = 1 << 60

BARS_OF = f"""
SELECT symbol, make_timestamp(bucket) AS ts_event, arg_min(price, key) AS open,
    max(price) AS high, min(price) AS low, arg_max(price, key) AS close,
    sum(size)::BIGINT AS volume, sum(price * size) / nullif(sum(size), 0) AS vwap,
    count(*) AS count, coalesce(sum(size) FILTER (side > 0), 0)::BIGINT AS buy_volume,
    coalesce(sum(size) FILTER (side < 0), 0)::BIGINT AS sell_volume,
    sum(price * size) AS notional, (min(key) // {KEY_STEP})::BIGINT AS first_ns,
    (min(key) % {KEY_STEP})::BIGINT AS first_seq, (max(key) // {KEY_STEP})::BIGINT AS last_ns,
    (max(key) % {KEY_STEP})::BIGINT AS last_seq
FROM (SELECT symbol, price, size, side, epoch_us(ts_event) // {{width}} * {{width}} AS bucket,
    (epoch_us(ts_event) * 1000 + ts_ns)::HUGEINT * {KEY_STEP} + seq AS key FROM ({{rows}}))
GROUP BY symbol, bucket"""

MERGED = f"""
SELECT symbol, ts_event, arg_min(open, first_key) AS open, max(high) AS high, min(low) AS low,
    arg_max(close, last_key) AS close, sum(volume)::BIGINT AS volume,
    sum(notional) / nullif(sum(volume), 0) AS vwap, sum(count)::BIGINT AS count,
    sum(buy_volume)::BIGINT AS buy_volume, sum(sell_volume)::BIGINT AS sell_volume,
    sum(notional) AS notional, (min(first_key) // {KEY_STEP})::BIGINT AS first_ns,
    (min(first_key) % {KEY_STEP})::BIGINT AS first_seq,
    (max(last_key) // {KEY_STEP})::BIGINT AS last_ns,
    (max(last_key) % {KEY_STEP})::BIGINT AS last_seq
FROM (SELECT *, first_ns::HUGEINT * {KEY_STEP} + first_seq AS first_key,
    last_ns::HUGEINT * {KEY_STEP} + last_seq AS last_key FROM ({{rows}}))
GROUP BY symbol, ts_event"""

BARS_MACRO = """
CREATE TEMP MACRO bars(sym, width, t0, t1) AS TABLE
SELECT symbol, time_bucket(width, ts_event) AS ts_event, arg_min(open, ts_event) AS open,
    max(high) AS high, min(low) AS low, arg_max(close, ts_event) AS close,
    sum(volume)::BIGINT AS volume, sum(notional) / nullif(sum(volume), 0) AS vwap,
    sum(count)::BIGINT AS count
FROM bars_1s
WHERE symbol = sym AND ts_event >= t0::TIMESTAMP AND ts_event < t1::TIMESTAMP
GROUP BY ALL ORDER BY 2"""
TICKS_VIEW = f"CREATE VIEW ticks AS SELECT {TICKS_HEAD}, {TICKS_REST} FROM trades WHERE valid"
BAR_COLUMNS = ", ".join(column.name for column in BARS_1S.columns)


class Views:
    """Builds the views of one request and remembers what they read."""

    def __init__(self, tape: Tape, builder: Builder, scope: Scope) -> None:
        self._tape = tape
        self._builder = builder
        self._scope = scope
        self.moments: list[Moment] = []

    def build(self, name: str, bounds: Mapping[str, Bounds]) -> None:
        """Make one of the tables a client may name."""
        if name == "partitions":
            rows = self._builder.register(self._tape.partitions(self._scope))
            self._builder.view(name, f"FROM {rows}")
        elif name == "services":
            rows = self._builder.register(self._tape.services(self._scope.known_at_us))
            self._builder.view(name, f"FROM {rows}")
        elif name == "ticks":
            rows = self._standing(bounds.get("trades", EVERYTHING), self._scope)
            self._builder.view(name, f"SELECT {TICKS_HEAD}, {TICKS_REST} FROM ({rows})")
        elif name == "gex":
            self._builder.view(name, self._snapshots(bounds.get(name, EVERYTHING)))
        elif name == "gaps":
            self._builder.view(name, self._gaps(bounds.get(name, EVERYTHING)))
        elif name in WIDTHS_US:
            self._builder.view(name, self._bars(name, bounds.get(name, EVERYTHING)))
        else:
            moment = self._moment(name, bounds.get(name, EVERYTHING), self._scope)
            self._builder.view(name, self._builder.rows(moment, self._scope))

    def _moment(
        self,
        table: str,
        bounds: Bounds,
        scope: Scope,
        after: Mapping[str, int] | None = None,
    ) -> Moment:
        moment = self._tape.moment(table, scope, bounds, after)
        self.moments.append(moment)
        return moment

    def _standing(self, bounds: Bounds, scope: Scope) -> str:
        """Trades that count."""
        moment = self._moment("trades", bounds, scope)
        rows = self._builder.rows(moment, scope)
        # A revision may have any time, so those of all times are looked at.
        every = self._moment("trades", replace(bounds, start_us=None, end_us=None), scope)
        revised = [part for part in every.parts if part.has_revisions]
        if not revised:
            return f"SELECT * FROM ({rows}) WHERE valid"
        for part in revised:
            part.files[:] = [file for file in part.files if file.has_revisions]
        revisions = self._builder.rows(replace(every, parts=revised), scope)
        return f"""
            SELECT t.* FROM ({rows}) t WHERE valid AND kind <> 'cancel' AND NOT EXISTS (
                FROM (SELECT symbol AS s, contract AS c, source AS o, source_seq AS n,
                    max(seq) AS newest
                    FROM ({revisions}) WHERE kind <> 'new' AND source_seq <> 0 GROUP BY ALL)
                WHERE s = t.symbol AND c = t.contract AND o = t.source AND n = t.source_seq
                    AND newest > t.seq)"""

    def _gaps(self, bounds: Bounds) -> str:
        """Each gap as it stands: of the rows that tell its life the last one that is known."""
        ever = Bounds(bounds.symbols, None, None)
        rows = self._builder.rows(self._moment("gaps", ever, self._scope), self._scope)
        return f"""
            SELECT * FROM ({rows})
            QUALIFY seq = max(seq) OVER (PARTITION BY table_name, gap_id)"""

    def _snapshots(self, bounds: Bounds) -> str:
        """Snapshots that no better source's row supersedes."""
        rows = self._builder.rows(self._moment("gex", bounds, self._scope), self._scope)
        near = Bounds(
            bounds.symbols,
            None if bounds.start_us is None else bounds.start_us - NEAR_US,
            None if bounds.end_us is None else bounds.end_us + NEAR_US,
        )
        marks = self._builder.rows(self._moment("gex", near, self._scope), self._scope)
        return f"""
            SELECT * FROM ({rows}) WHERE seq NOT IN (
                SELECT regexp_extract(extra, '{PATTERN}', 1)::BIGINT
                FROM ({marks}) WHERE starts_with(extra, '{MARK}'))"""

    def _bars(self, name: str, bounds: Bounds) -> str:
        width = WIDTHS_US[name]
        near = Bounds(
            bounds.symbols,
            None if bounds.start_us is None else bounds.start_us // width * width,
            None if bounds.end_us is None else bounds.end_us + width,
        )
        if self._scope.known_at_us is not None:
            return BARS_OF.format(width=width, rows=self._standing(near, self._scope))
        # The bars' snapshot first: trades are sealed before their bars, so trades are never behind.
        sealed = self._moment(name, bounds, self._scope)
        after = {part.symbol: part.sealed_seq for part in sealed.parts}
        fresh = self._moment("trades", near, self._scope, after)
        redone = frozenset(part.symbol for part in fresh.parts if part.has_revisions)
        merged = replace(fresh, parts=[p for p in fresh.parts if p.symbol not in redone])
        kept = replace(sealed, parts=[p for p in sealed.parts if p.symbol not in redone])
        texts = [self._merged(kept, merged, after, width)]
        if redone:
            scope = replace(self._scope, symbols=redone)
            texts.append(BARS_OF.format(width=width, rows=self._standing(near, scope)))
        return " UNION ALL ".join(texts)

    def _merged(self, sealed: Moment, fresh: Moment, after: Mapping[str, int], width: int) -> str:
        bars = f"SELECT {BAR_COLUMNS} FROM ({self._builder.rows(sealed, self._scope)})"
        times = [bounds for part in fresh.parts for bounds in part.times()]
        if not times:
            return bars
        low = min(start for start, _ in times) // width * width
        high = max(end for _, end in times)
        within = f"ts_event BETWEEN make_timestamp({low:d}) AND make_timestamp({high:d})"
        rows = self._builder.rows(fresh, self._scope, after)
        live = BARS_OF.format(width=width, rows=f"SELECT * FROM ({rows}) WHERE valid")
        both = f"{bars} WHERE {within} UNION ALL ({live})"
        return (
            f"{bars} WHERE NOT ({within}) UNION ALL "
            f"SELECT {BAR_COLUMNS} FROM ({MERGED.format(rows=both)})"
        )
