"""The only door to the tastytrade SDK: quote tokens and futures contracts, nothing else.

The SDK is heavy and is imported when first used. Data never go through it: it drops valid rows and
loses its backlog on a disconnect. Its log is held down, for at DEBUG it writes every message.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.clock import NS_PER_S
from core.errors import FeedLost, FeedRefused
from core.log import Log
from ingest.rolls import Listed

log = Log("tastytrade")
# How an error names itself, alone or in a body the SDK could not read.
_CODE = re.compile(r"(?:^|error_code['\"]: ['\"])([a-z][a-z_.]{2,60})(?::|['\"])")
_REFUSALS = ("invalid_grant", "invalid_client", "token_invalid", "unauthorized", "not_found")


@dataclass(frozen=True, slots=True)
class QuoteToken:
    """Where to connect, and what lets us in for a day."""

    url: str
    token: str = field(repr=False)
    level: str

    @property
    def is_delayed(self) -> bool:
        """Whether the prices are not live."""
        return self.level != "api" or "delayed" in self.url


class Tastytrade:
    """One login. Used on one event loop; `async with` closes its connections."""

    def __init__(self, api_url: str, client_secret: str, refresh_token: str) -> None:
        from tastytrade import Session

        # Importing it sets DEBUG, at which it writes every message it sees.
        logging.getLogger("tastytrade").setLevel(logging.WARNING)
        self._session: Any = Session(client_secret, refresh_token)
        self._session._client.base_url = api_url  # noqa: SLF001  the SDK has no public way

    async def __aenter__(self) -> "Tastytrade":
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.__aexit__(*error)

    async def fetch_quote_token(self) -> QuoteToken:
        """Mint a fresh token; raise FeedRefused for bad credentials, FeedLost otherwise."""
        data = await _asked(self._session._get("/api-quote-tokens"))  # noqa: SLF001
        told: dict[str, Any] = data if isinstance(data, dict) else {}
        url, word = told.get("dxlink-url"), told.get("token")
        if not (isinstance(url, str) and isinstance(word, str)):
            raise FeedLost("tastytrade gave no quote token, or no address to use it at")
        token = QuoteToken(url, word, str(told.get("level", "")))
        if token.is_delayed:
            log.warning("quotes.delayed", url=token.url, level=token.level)
        return token

    async def fetch_futures(self, roots: Sequence[str]) -> list[Listed]:
        """The living contracts of some roots; raise FeedRefused or FeedLost."""
        from tastytrade.instruments import Future

        found = await _asked(Future.get(self._session, product_codes=list(roots)))
        return [_listed(future) for future in found if future.streamer_symbol]


def _listed(future: Any) -> Listed:
    return Listed(
        root=future.product_code,
        contract=future.streamer_symbol.removeprefix("/").split(":")[0],
        streamer_symbol=future.streamer_symbol,
        is_front=future.active_month,
        is_next=future.next_active_month,
        expires_ns=int(future.expires_at.timestamp()) * NS_PER_S,
    )


async def _asked(question: Any) -> Any:
    """The SDK's answer, its errors put into ours."""
    from httpx2 import HTTPError
    from tastytrade.utils import TastytradeError

    try:
        return await question
    except HTTPError as error:
        raise FeedLost(f"tastytrade does not answer: {type(error).__name__}") from error
    except TastytradeError as error:
        # The text may quote what was sent, so only words that name the refusal are passed on.
        found = _CODE.search(str(error))
        code = f": {found[1]}" if found else ""
        if any(word in code for word in _REFUSALS):
            raise FeedRefused(
                f"tastytrade refused the credentials{code}",
                hint="check TASTYTRADE_CLIENT_SECRET and TASTYTRADE_REFRESH_TOKEN",
            ) from error
        raise FeedLost(f"tastytrade answered with an error{code}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # What the SDK raises of its own where an answer has not the form it expects.
        raise FeedLost(
            f"tastytrade answered in a form nobody expected: {type(error).__name__}"
        ) from error
