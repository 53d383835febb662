"""The last 500 trades of a symbol as a pandas frame, and what the aggressors did."""

import os

from pyarrow import flight

client = flight.connect(os.environ.get("TICKFLIGHT_URL", "grpc://127.0.0.1:8815"))
key = os.environ["TICKFLIGHT_KEY"].encode()
options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + key)])

trades = client.do_get(flight.Ticket("tail:MNQ?n=500"), options).read_pandas()
print(trades[["ts_event", "price", "size", "side"]].tail())
signed = trades["size"] * trades["side"]
print(f"{len(trades)} trades, bought minus sold: {signed.sum():+,}")
