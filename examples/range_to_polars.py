"""Five minutes of trades as a polars frame, fetched endpoint by endpoint, with the gaps in it."""

import json
import os
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
from pyarrow import flight

client = flight.connect(os.environ.get("TICKFLIGHT_URL", "grpc://127.0.0.1:8815"))
key = os.environ["TICKFLIGHT_KEY"].encode()
options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + key)])

start = datetime.now(UTC) - timedelta(minutes=5)
ticket = f"ticks:MNQ?start={start:%Y-%m-%dT%H:%M:%SZ}"
info = client.get_flight_info(flight.FlightDescriptor.for_command(ticket), options)
print(f"at most {info.total_records:,} rows in {len(info.endpoints)} endpoints")

# Endpoints are in time order; each may be fetched by a thread of its own.
parts = [client.do_get(endpoint.ticket, options).read_all() for endpoint in info.endpoints]
trades = pl.from_arrow(pa.concat_tables(parts).unify_dictionaries())
print(trades.select("ts_event", "price", "size", "side", "seq").tail())
for part in parts:
    told = part.schema.metadata
    print("durable up to seq", told[b"durable_seq"].decode(), "gaps", json.loads(told[b"gaps"]))
