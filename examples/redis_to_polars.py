"""Follow a stream on Redis (REDIS_URL) into polars, from the hot hour's start, no row twice."""

import os
import time

import polars as pl
import redis

KEY, SECONDS = "tickflight:trades:MNQ", 3.0
server = redis.Redis.from_url(os.environ["REDIS_URL"])

last_id, frames = "0", []
until = time.monotonic() + SECONDS
while time.monotonic() < until:
    for _, entries in server.xread({KEY: last_id}, count=1_000, block=500):
        frames += [pl.read_ipc_stream(fields[b"ipc"]) for _, fields in entries]
        last_id = entries[-1][0]  # keep it, and go on after it the next time

trades = pl.concat(frames)
print(trades.select("ts_event", "price", "size", "seq").tail(5))
bars = trades.sort("ts_event").group_by_dynamic("ts_event", every="1s")
print(bars.agg(pl.col("price").last(), pl.col("size").sum()).tail(3))
