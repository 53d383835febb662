"""Trades with the gamma exposure that was known when they happened, without looking ahead."""

import os

import polars as pl
from pyarrow import flight

# What came live was known when it reached us; rows of history files came later, so for them the
# source's second counts and the two seconds after which the vendor publishes it.
SQL = """
WITH known AS (
    SELECT zero_gamma, net_gex, ts_event AS gex_second, CASE WHEN via IN ('api', 'uw')
        THEN ts_recv ELSE ts_event + INTERVAL 2 SECONDS END AS known_at
    FROM gex
    WHERE ticker = 'NQ_NDX' AND package = 'classic' AND category = 'gex_zero'
)
SELECT t.timestamp, t.price, t.volume, known.gex_second, known.zero_gamma, known.net_gex,
    t.price > known.zero_gamma AS is_above_zero_gamma
FROM (SELECT * FROM ticks WHERE symbol = 'MNQ' ORDER BY timestamp DESC LIMIT 1000) AS t
ASOF JOIN known ON t.timestamp >= known.known_at
ORDER BY t.timestamp
"""

client = flight.connect(os.environ.get("TICKFLIGHT_URL", "grpc://127.0.0.1:8815"))
options = flight.FlightCallOptions(
    headers=[(b"authorization", b"Bearer " + os.environ["TICKFLIGHT_KEY"].encode())]
)
table = client.do_get(flight.Ticket(SQL), options).read_all()
print(pl.from_arrow(table).tail(10))
