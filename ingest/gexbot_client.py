"""The door to GEXBot's API: one keep-alive client that asks for one thing at a time.

The key goes into one header (or, for the old API, one parameter) and nowhere else: no message, log
line or error of this module holds it.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

import anyio
import httpx

from core.clock import NS_PER_S, Clock
from core.errors import FeedError, FeedGarbled, FeedLost, FeedRefused
from ingest.clock_proof import clock_error_s
from ingest.gex_values import parse_json

LEGACY_HOST: Final = "api.gexbot.com"
PREFIX: Final = "gexbot_custom_"
USER_AGENT: Final = "tickflight"
BODY_BYTES_MAX: Final = 4 * 2**20
FIRST_TIMEOUT_S: Final = 3.0  # a first TLS connection takes long
TIMEOUT_S: Final = 1.0
KEEP_ALIVE_S: Final = 120.0
RETRY_AFTER_S_MAX: Final = 86_400.0


class FeedSlowed(FeedError):
    """The service asks for fewer calls; `wait_s` is how long it wants, None where it says not."""

    code = "feed_slowed"
    retry = True

    def __init__(self, message: str, wait_s: float | None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Access:
    """Where to ask and with which key, in whatever dress it was pasted."""

    base_url: str
    key: str = field(repr=False)

    @property
    def is_legacy(self) -> bool:
        """Whether this is the API of 2025."""
        return httpx.URL(self.base_url).host == LEGACY_HOST

    def headers(self) -> dict[str, str]:
        """What every call sends."""
        bare = {"user-agent": USER_AGENT, "accept": "application/json"}
        return bare if self.is_legacy else bare | {"authorization": f"Bearer {self._secret()}"}

    def params(self) -> dict[str, str]:
        """The old API takes the key as a parameter."""
        return {"key": self._bare()} if self.is_legacy else {}

    def chain_path(self, ticker: str) -> str:
        """Where a ticker's chain of the next expiry is."""
        return f"/{ticker}/classic/{'zero' if self.is_legacy else 'gex_zero'}"

    def _bare(self) -> str:
        bare = self.key.strip()
        return bare[len("bearer ") :].strip() if bare.lower().startswith("bearer ") else bare

    def _secret(self) -> str:
        return PREFIX + self._bare().removeprefix(PREFIX)


@dataclass(frozen=True, slots=True)
class Answer:
    """A body and how long it took to come, in milliseconds; `recv_ns` is wall time at its end.

    `clock_error_s` is what its `Date` proves of our clock, see `ingest.clock_proof`.
    """

    body: bytes = field(repr=False)
    recv_ns: int
    ms: float
    clock_error_s: float | None = None


class Gexbot:
    """Used on one event loop; `open_gexbot` makes and closes it."""

    def __init__(self, http: httpx.AsyncClient, access: Access, clock: Clock) -> None:
        self._http = http
        self._access = access
        self._clock = clock
        self._warm_until_ns = 0  # so long the last connection should still stand
        self.request_count = 0

    async def fetch_chain(self, ticker: str) -> Answer:
        """A ticker's snapshot as it stands now; raise a FeedError."""
        return await self.fetch(self._access.chain_path(ticker))

    async def fetch_tickers(self) -> frozenset[str]:
        """Every ticker there is; raise a FeedError. Warms the connection."""
        found = parse_json((await self.fetch("/tickers")).body)
        groups = found.values() if isinstance(found, Mapping) else ()
        return frozenset(
            name
            for group in groups
            if isinstance(group, list)
            for name in group
            if isinstance(name, str)
        )

    async def fetch(self, path: str) -> Answer:
        """One answer to one GET."""
        began_ns, asked_ns = self._clock.monotonic_ns(), self._clock.now_ns()
        timeout_s = TIMEOUT_S if began_ns < self._warm_until_ns else FIRST_TIMEOUT_S
        self.request_count += 1
        try:
            with anyio.fail_after(timeout_s):  # in all, however slowly something comes
                async with self._http.stream(
                    "GET", path, params=self._access.params(), timeout=timeout_s
                ) as response:
                    body = await _read(response)
        except (TimeoutError, httpx.TimeoutException) as error:
            self._warm_until_ns = 0
            raise FeedLost(f"no answer within {timeout_s:g} s") from error
        except httpx.HTTPError as error:
            self._warm_until_ns = 0
            raise FeedLost(f"the connection broke: {type(error).__name__}") from error
        came_ns = self._clock.monotonic_ns()
        self._warm_until_ns = came_ns + int(KEEP_ALIVE_S * NS_PER_S)
        ms = (came_ns - began_ns) / 1e6
        _check(response, body)
        recv_ns = self._clock.now_ns()
        error_s = clock_error_s(response.headers.get("date"), asked_ns, recv_ns)
        return Answer(body, recv_ns, ms, error_s)


@asynccontextmanager
async def open_gexbot(access: Access, clock: Clock) -> AsyncIterator[Gexbot]:
    """A client with its connections; redirects are not followed, proxies not asked."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it writes whole addresses
    limits = httpx.Limits(max_connections=8, keepalive_expiry=KEEP_ALIVE_S)
    async with httpx.AsyncClient(
        base_url=access.base_url.rstrip("/"),
        headers=access.headers(),
        limits=limits,
        follow_redirects=False,
        trust_env=False,
    ) as http:
        yield Gexbot(http, access, clock)


async def _read(response: httpx.Response) -> bytes:
    parts = bytearray()
    async for part in response.aiter_bytes():
        parts += part
        if len(parts) > BODY_BYTES_MAX:
            raise FeedGarbled(f"expected at most {BODY_BYTES_MAX} bytes, found more")
    return bytes(parts)


def _check(response: httpx.Response, body: bytes) -> None:
    """Raise what a status means."""
    status = response.status_code
    if status == httpx.codes.OK:
        return
    told = f"answered {status}: {_error_text(body)}"
    match status:
        case 429:
            raise FeedSlowed(told, retry_after_s(response.headers))
        case 401:
            raise FeedRefused(told, hint="check GEXBOT_API_KEY")
        case 403:
            raise FeedRefused(told, hint="this key's tier does not have that route")
        case 400 | 404:
            raise FeedRefused(told, hint="check GEXBOT_TICKERS and GEXBOT_BASE_URL")
        case _:
            raise FeedLost(told)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """How long the service asks to wait, at most a day; None where it says not."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) < 10:
        return min(float(text), RETRY_AFTER_S_MAX)
    try:
        moment = parsedate_to_datetime(text)
        sent = parsedate_to_datetime(headers["date"])
    except (ValueError, KeyError):
        return None
    return min(max((moment - sent).total_seconds(), 0.0), RETRY_AFTER_S_MAX)


def _error_text(body: bytes) -> str:
    try:
        found = parse_json(body)
    except ValueError:
        return "no reason given"
    text = found.get("error") if isinstance(found, Mapping) else None
    return text[:200] if isinstance(text, str) and text.isprintable() else "no reason given"
