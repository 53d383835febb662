"""SQL with parameters over hot and cold rows: volume and price by symbol since a moment."""

import json
import os
from datetime import UTC, datetime, timedelta

import polars as pl
from pyarrow import flight

client = flight.connect(os.environ.get("TICKFLIGHT_URL", "grpc://127.0.0.1:8815"))
key = os.environ["TICKFLIGHT_KEY"].encode()
options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + key)])

sql = """
    SELECT symbol, count(*) AS trades, sum(volume)::BIGINT AS volume,
           sum(price * volume) / nullif(sum(volume), 0) AS vwap
    FROM ticks
    WHERE timestamp >= CAST(? AS TIMESTAMP) AND price > ?
    GROUP BY symbol ORDER BY symbol
"""
since = datetime.now(UTC) - timedelta(minutes=10)
ticket = {"sql": sql, "params": [f"{since:%Y-%m-%d %H:%M:%S}", 0.0]}
reader = client.do_get(flight.Ticket(json.dumps(ticket)), options)
print(pl.from_arrow(reader.read_all()))
