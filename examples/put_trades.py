"""Rows of your own into the tape, and what the writer said of each batch."""

import json
import os
from datetime import UTC, datetime

import pyarrow as pa
from pyarrow import flight

client = flight.connect(os.environ.get("TICKFLIGHT_URL", "grpc://127.0.0.1:8815"))
key = os.environ["TICKFLIGHT_KEY"].encode()
options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + key)])

now = datetime.now(UTC)
rows = pa.table(
    {
        "symbol": ["MINE", "MINE"],
        "ts_event": pa.array([now, now], pa.timestamp("us", "UTC")),
        "price": [101.25, -1.0],  # no price is below zero: this row becomes a reject
        "size": [3, 1],
    }
)
where = flight.FlightDescriptor.for_path("trades")
writer, answers = client.do_put(where, rows.schema, options)
with writer:
    writer.write_table(rows)
    print(json.loads(answers.read().to_pybytes()))  # stored, rejected, duplicates
    writer.done_writing()
