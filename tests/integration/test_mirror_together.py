"""Redis, mirror and follower failing in any order: every row is on Redis once, and in the copy."""

import random
from contextlib import ExitStack

import pytest

from tests.fakes.deadline import until
from tests.fakes.redis_server import running_redis
from tests.fakes.shared_tape import check_dense, following, marks_of, plain_rows, shared_tape

SEEDS = range(10)
STEPS, WAIT_S = 8, 60
SYMBOLS = ("MNQ", "NQ", "SPY")


class House:
    """The tape, its mirror and a follower, each of which can be started anew."""

    def __init__(self, tape, server, folder):
        self.tape, self.server, self.folder = tape, server, folder
        self.mirror, self.copy = ExitStack(), ExitStack()
        self.start_mirror()
        self.start_follower()

    def start_mirror(self):
        self.mirror.close()
        self.mirror.enter_context(self.tape.mirroring())

    def start_follower(self):
        self.copy.close()
        self.follower = self.copy.enter_context(following(self.folder / "copy", self.tape))

    def close(self):
        self.copy.close()
        self.mirror.close()


def trade(house, dice):
    house.tape.trade(dice.choice([1, 7, 300, 3_000]), dice.choice(SYMBOLS))


def commit(house, dice):
    trade(house, dice)
    house.tape.store.commit()


def kill_redis(house, dice):
    house.server.kill()
    trade(house, dice)
    house.server.start()


def pause_redis(house, dice):
    house.server.pause()
    commit(house, dice)
    house.server.resume()


def flush_redis(house, dice):
    with house.server.client() as client:
        client.flushall()


def restart_mirror(house, dice):
    commit(house, dice)
    house.start_mirror()


def restart_follower(house, dice):
    trade(house, dice)
    house.start_follower()


EVENTS = [
    trade,
    commit,
    kill_redis,
    pause_redis,
    flush_redis,
    restart_mirror,
    restart_follower,
]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_failures_together_lose_and_double_nothing(tmp_path, seed):
    dice = random.Random(seed)
    options = ("--appendonly", "yes") if dice.random() < 0.5 else ()
    with (
        running_redis(tmp_path / "redis", *options) as server,
        shared_tape(tmp_path / "data", server.url) as tape,
    ):
        house = House(tape, server, tmp_path)
        try:
            for event in [dice.choice(EVENTS) for _ in range(STEPS)]:
                event(house, dice)
            trade(house, dice)
            check_all(house)
        finally:
            house.close()


def check_all(house):
    tape, follower = house.tape, house.follower
    with house.server.client() as client:
        tape.wait_mirrored(client, seconds=WAIT_S)
        assert len(check_dense(client)) == tape.durable_seq
        until(lambda: follower.seq() == marks_of(client, "trades")["last_seq"], WAIT_S)
    for symbol in SYMBOLS:
        assert follower.rows("trades", symbol).equals(plain_rows(tape.views, "trades", symbol))
