"""Who may post to the webhooks: host, origin, rate and token, in this order.

Browsers let any page post here whatever CORS says, so a page that is not on the list is refused by
its Origin; without a token only this machine is served, under its own names.
"""

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from core.clock import NS_PER_S, Clock
from core.settings import LOOPBACK_HOSTS
from webui.edge import error_answer

POSTS_PER_S: Final = 500.0
BURST: Final = 1_000.0
SOURCES_MAX: Final = 1_024
PREFLIGHT_S: Final = 600
HEADERS_ALLOWED: Final = "authorization, content-type, x-webhook-token"


@dataclass(frozen=True, slots=True)
class GuardRules:
    """Names the server goes by, origins whose pages may post, and the secret ("" for none)."""

    names: frozenset[str]
    origins: frozenset[str]
    token: str = ""
    posts_per_s: float = POSTS_PER_S
    burst: float = BURST


class Guard:
    """Refuses what may not post; knows how much each address has posted lately."""

    def __init__(self, rules: GuardRules, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def refusal(self, request: Request) -> Response | None:
        """The answer to a post that is refused, None where it may go on."""
        source = request.client.host if request.client else ""
        if not self._rules.token and not self._is_ours(request, source):
            return error_answer(
                403, "forbidden", "without WEBHOOK_TOKEN only this machine may post; set it"
            )
        if not self._origin_is_fine(request):
            return error_answer(403, "forbidden", "pages of this origin may not post")
        wait_s = self._wait_s(source)
        if wait_s > 0:
            answer = error_answer(429, "too_many", "too many posts a second from this address")
            answer.headers["retry-after"] = str(int(wait_s) + 1)
            return answer
        if self._rules.token and not self._has_token(request):
            answer = error_answer(401, "unauthenticated", "expected the token of WEBHOOK_TOKEN")
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        return None

    def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks whether a page may post."""
        if "origin" not in request.headers or not self._origin_is_fine(request):
            return error_answer(403, "forbidden", "pages of this origin may not post")
        answer = Response(status_code=204)
        answer.headers["access-control-allow-methods"] = "POST"
        answer.headers["access-control-allow-headers"] = HEADERS_ALLOWED
        answer.headers["access-control-max-age"] = str(PREFLIGHT_S)
        if "access-control-request-private-network" in request.headers:
            answer.headers["access-control-allow-private-network"] = "true"
        return self.for_page(request, answer)

    def for_page(self, request: Request, answer: Response) -> Response:
        """Let a page of a listed origin read the answer."""
        origin = request.headers.get("origin")
        answer.headers["vary"] = "Origin"
        if origin and self._origin_is_fine(request):
            answer.headers["access-control-allow-origin"] = origin
            answer.headers["cross-origin-resource-policy"] = "cross-origin"
        return answer

    def _is_ours(self, request: Request, source: str) -> bool:
        is_near = source in LOOPBACK_HOSTS or source.startswith("127.")
        return is_near and request.headers.get("host", "").lower() in self._rules.names

    def _origin_is_fine(self, request: Request) -> bool:
        origin = request.headers.get("origin")
        if origin is None or origin in self._rules.origins:
            return True
        try:
            return urlsplit(origin).netloc.lower() in self._rules.names
        except ValueError:
            return False

    def _has_token(self, request: Request) -> bool:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = (
            request.headers.get("x-webhook-token"),
            bearer.strip() if scheme.lower() == "bearer" else None,
            request.query_params.get("token"),
        )
        token = self._rules.token.encode()
        matches = [hmac.compare_digest(one.encode(), token) for one in given if one is not None]
        return any(matches)

    def _wait_s(self, source: str) -> float:
        """Take a post from an address's allowance; how long to wait where it is used up."""
        now_ns = self._clock.monotonic_ns()
        left, then_ns = self._buckets.pop(source, (self._rules.burst, now_ns))
        left += (now_ns - then_ns) / NS_PER_S * self._rules.posts_per_s
        left = min(left, self._rules.burst)
        is_allowed = left >= 1
        self._buckets[source] = (left - is_allowed, now_ns)
        if len(self._buckets) > SOURCES_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - left) / self._rules.posts_per_s
