"""OHLCV bars over a connection that shows its key once, and what a mistake looks like."""

import json
import os

import polars as pl
from pyarrow import flight


class KeyHandler(flight.ClientAuthHandler):
    """Hands the key over in the handshake and repeats the token it gets with every call."""

    def __init__(self, key):
        super().__init__()
        self.key, self.token = key.encode(), b""

    def authenticate(self, outgoing, incoming):
        outgoing.write(self.key)
        self.token = incoming.read()

    def get_token(self):
        return self.token


client = flight.connect(os.environ.get("TICKFLIGHT_URL", "grpc://127.0.0.1:8815"))
client.authenticate(KeyHandler(os.environ["TICKFLIGHT_KEY"]))

bars = client.do_get(flight.Ticket("bars:NQ?every=1m")).read_all()
print(pl.from_arrow(bars).tail())

try:
    client.do_get(flight.Ticket("bars:NQ?every=fortnight")).read_all()
except flight.FlightError as error:
    told = json.loads(error.extra_info)
    print(told["code"], "-", told["message"], "-", told["hint"])
