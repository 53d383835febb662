"""The last price of a symbol, from Redis (REDIS_URL), for any program that speaks it."""

import os

import redis

server = redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
last = server.hgetall("tickflight:latest:MNQ")
print(last["price"], "bid", last["bid"], "ask", last["ask"], "seq", last["seq"])
