"""The one door to Redis: a connection, commands, and a transaction that is refused when stale.

One connection, no pool and no hidden retries: whoever uses it knows what was answered. Every
fault leaves as BusLost (try again), BusFull (no memory) or BusRefused (an operator must act).
"""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from core.errors import BusFull, BusLost, BusRefused
from storage.bus_keys import TAPE, LastTrade, NewEntry, TapeState, parse_tape, seq_of

CONNECT_S: Final = 2.0
ANSWER_S: Final = 2.5
# Runs all or nothing: only while the tape's round is the one the caller has seen last. So what a
# lost connection left behind does nothing once somebody else has written. Entries and last trades
# come without the words they share, for Redis looks at every byte that a script is given.
TRANSACTION: Final = b"""
if (redis.call('HGET', KEYS[1], 'round') or '0') ~= ARGV[1] then return 0 end
local at = 5
for _ = 1, tonumber(ARGV[2]) do
  local key, first, last, rows, ipc = unpack(ARGV, at, at + 4)
  redis.call('XADD', key, last .. '-0',
    'first_seq', first, 'last_seq', last, 'rows', rows, 'ipc', ipc)
  at = at + 5
end
for _ = 1, tonumber(ARGV[3]) do
  local key, symbol, seq, ts_event, price, size, bid, ask = unpack(ARGV, at, at + 7)
  redis.call('HSET', key, 'symbol', symbol, 'seq', seq, 'ts_event', ts_event,
    'price', price, 'size', size, 'bid', bid, 'ask', ask)
  at = at + 8
end
local heard = {}
local hears_all = redis.call('PUBSUB', 'NUMPAT') > 0
for _ = 1, tonumber(ARGV[4]) do
  if hears_all or redis.call('PUBSUB', 'NUMSUB', ARGV[at])[2] > 0 then
    heard[#heard + 1] = ARGV[at]
  end
  at = at + 1
end
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + n))
  at = at + n + 1
end
return heard
"""
Command = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a transaction does, in this order. Of `channels` it is only asked who is listening."""

    entries: Sequence[NewEntry] = ()
    lasts: Sequence[LastTrade] = ()
    channels: Sequence[bytes] = ()
    commands: Sequence[Command] = ()


class Bus:
    """One connection; open it before use, and again after any error."""

    def __init__(self, url: str, name: str) -> None:
        self.place = shown(url)
        pool = redis.ConnectionPool.from_url(
            url,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
            protocol=2,
        )
        self._connection: Any = pool.make_connection()

    def open(self) -> None:
        """Connect anew; raise BusLost or BusRefused."""
        self.close()
        with self._translated():
            self._connection.connect()

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()

    def call(self, *command: bytes) -> Any:
        """Send one command and give its answer as Redis has it: bytes, ints, lists, None."""
        return self.calls([command])[0]

    def calls(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together and give their answers; the first error answer is raised."""
        with self._translated():
            packed = b"".join(_packed(command) for command in commands)
            self._connection.send_packed_command([packed], check_health=False)
            answers = [self._answer() for _ in commands]
        return self._checked(answers)

    def at_once(self, commands: Sequence[Command]) -> list[Any]:
        """The same as seen at one instant (MULTI and EXEC)."""
        *_, answers = self.calls([(b"MULTI",), *commands, (b"EXEC",)])
        return self._checked(answers)

    def transact(self, seen_round: int, changes: Changes) -> frozenset[bytes] | None:
        """Make all changes, and give the channels that somebody listens to.

        Or make none: then None, for the tape's round is not `seen_round`.
        """
        entries, lasts, channels = changes.entries, changes.lasts, changes.channels
        counts = (seen_round, len(entries), len(lasts), len(channels))
        command = [b"EVAL", TRANSACTION, b"1", TAPE, *(b"%d" % count for count in counts)]
        for each in chain(entries, lasts):
            command += each
        command += channels
        for other in changes.commands:
            command.append(b"%d" % len(other))
            command += other
        answer = self.call(*command)
        return frozenset(answer) if isinstance(answer, list) else None

    def tape(self) -> TapeState | None:
        """What is said of the tape; None where this Redis has none."""
        return parse_tape(self.call(b"HGETALL", TAPE))

    def top(self, key: bytes) -> int | None:
        """The last seq a stream ever took; None where there is no such stream."""
        if not self.call(b"EXISTS", key):
            return None
        told = self.call(b"XINFO", b"STREAM", key)
        return seq_of(dict(zip(told[::2], told[1::2], strict=True))[b"last-generated-id"])

    def _checked(self, answers: Sequence[Any]) -> list[Any]:
        for answer in answers:
            if isinstance(answer, redis.ResponseError):
                with self._translated():
                    raise answer
        return list(answers)

    def _answer(self) -> Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as error:
            return error  # the answers after it are still to be read

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.AuthenticationError as error:
            raise BusRefused(
                f"Redis at {self.place} does not let us in: {error}",
                hint="correct user and password in REDIS_URL: redis://USER:PASSWORD@HOST:PORT",
            ) from None
        except NoPermissionError as error:
            raise BusRefused(
                f"Redis at {self.place} refused: {error}",
                hint="give its user the rights that docs/redis.md names",
            ) from None
        except redis.OutOfMemoryError:
            raise BusFull(
                f"Redis at {self.place} is out of memory and may not evict",
                hint="raise its maxmemory; an hour needs what docs/redis.md says",
            ) from None
        except (redis.BusyLoadingError, redis.ConnectionError, redis.TimeoutError) as error:
            if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
                raise BusRefused(
                    f"Redis at {self.place} cannot be trusted: {error}",
                    hint="name its authority: rediss://HOST:PORT?ssl_ca_certs=/path/ca.pem",
                ) from None
            raise BusLost(f"Redis at {self.place} does not answer: {error}") from None
        except OSError as error:
            raise BusLost(f"Redis at {self.place} does not answer: {error}") from None
        except redis.RedisError as error:
            raise BusRefused(f"Redis at {self.place} refused: {error}") from None


def shown(url: str) -> str:
    """An address without its secrets."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path


def _packed(command: Command) -> bytes:
    """As it goes over the wire; in one go, which is faster than hiredis for many parts."""
    parts: list[int | bytes] = [0] * (2 * len(command))
    parts[::2] = map(len, command)
    parts[1::2] = command
    return (b"*%d\r\n" % len(command) + b"$%d\r\n%b\r\n" * len(command)) % tuple(parts)
