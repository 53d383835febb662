"""Fetches one file we were handed a link to, onto this disk, within limits and from one host only.

No redirect is followed, no proxy asked, no credential sent but the link's own. What the server says
of its file (length, type, encoding) is believed only where it makes us stop sooner.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import httpx

from core.clock import NS_PER_S, Clock
from core.errors import DiskFull, FeedError, FeedGarbled, FeedLost, FeedRefused
from ingest.gex_inflate import Limits
from ingest.gexbot_client import USER_AGENT, FeedSlowed, retry_after_s

CONNECT_S: Final = 10.0
IDLE_S: Final = 30.0
TOTAL_S: Final = 900.0
FREE_BYTES_MIN: Final = 4 * 2**30
_GONE: Final = frozenset({403, 404, 410})


class LinkExpired(FeedError):
    """A signed link is no longer good, or what it leads to is not there."""

    code = "link_expired"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """How files are fetched; `verify` is for tests on this machine."""

    limits: Limits
    clock: Clock
    is_stopping: Callable[[], bool]
    only_public: bool = True
    verify: "bool | object" = True

    def __call__(self, url: str, target: Path, headers: Mapping[str, str] | None = None) -> Fetched:
        """Fetch into a file; raise a FeedError that names neither the link nor a header."""
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if shutil.disk_usage(target.parent).free < FREE_BYTES_MIN:
            raise DiskFull(f"expected {FREE_BYTES_MIN:,} bytes free to fetch a file, found fewer")
        timeout = httpx.Timeout(IDLE_S, connect=CONNECT_S)
        sent = {"user-agent": USER_AGENT, "accept-encoding": "gzip, identity", **(headers or {})}
        try:
            with (
                httpx.Client(
                    timeout=timeout,
                    follow_redirects=False,
                    trust_env=False,
                    verify=self.verify,  # type: ignore[arg-type]
                ) as client,
                client.stream("GET", url, headers=sent) as response,
            ):
                self._check_peer(response)
                _check_status(response)
                return self._save(response, target)
        except httpx.TimeoutException as error:
            raise FeedLost("the file did not come in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FeedLost(f"the connection broke: {type(error).__name__}") from error

    def _check_peer(self, response: httpx.Response) -> None:
        """A name on the list must not lead into this machine's own networks."""
        if not self.only_public:
            return
        address = response.extensions["network_stream"].get_extra_info("server_addr")
        if not address or not ip_address(address[0]).is_global:
            raise FeedRefused("expected a public address behind the host, found another")

    def _save(self, response: httpx.Response, target: Path) -> Fetched:
        limit = self.limits.compressed_bytes
        said = response.headers.get("content-length", "")
        if said.isdecimal() and int(said) > limit:
            raise FeedGarbled(f"expected a file of at most {limit:,} bytes, found {int(said):,}")
        end_ns = self.clock.monotonic_ns() + int(TOTAL_S * NS_PER_S)
        digest = hashlib.sha256()
        size = 0
        with target.open("wb") as sink:
            for piece in response.iter_raw():
                size += len(piece)
                if size > limit:
                    raise FeedGarbled(f"expected a file of at most {limit:,} bytes, found more")
                if self.clock.monotonic_ns() > end_ns:
                    raise FeedLost(f"the file did not come within {TOTAL_S:.0f} s")
                if self.is_stopping():
                    raise FeedLost("stopped in the middle of a file")
                digest.update(piece)
                sink.write(piece)
        return Fetched(target, size, digest.hexdigest())


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    if status in _GONE:
        raise LinkExpired(
            f"the host answered {status}: the link expired or the file is not there",
            hint="post a fresh link",
        )
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise FeedSlowed("the host answered 429", retry_after_s(response.headers))
    if status >= 500:
        raise FeedLost(f"the host answered {status}")
    raise FeedRefused(f"expected a file, the host answered {status}; redirects are not followed")
