"""The last trade of every symbol, and how old it is."""

import os

from pyarrow import flight

client = flight.connect(os.environ.get("TICKFLIGHT_URL", "grpc://127.0.0.1:8815"))
key = os.environ["TICKFLIGHT_KEY"].encode()
options = flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + key)])

answer = client.do_get(flight.Ticket("latest:*"), options).read_all()
print(f"{'symbol':8}{'price':>12}{'size':>8}{'age':>12}")
for row in answer.to_pylist():
    print(f"{row['symbol']:8}{row['price']:12,.2f}{row['size']:8,}{row['age_ms']:9.1f} ms")
