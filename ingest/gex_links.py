"""Links to history files we are handed: which are followed, and what their names say. Pure.

A link is followed when its parsed host is one of a few, over TLS, with nothing clever in it. The
part after the question mark is a credential: it is never shown, logged or answered.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

import httpx

from core.clock import NS_PER_S
from ingest.gex_snapshot import CATEGORIES, PACKAGES
from ingest.gex_values import Fault, Faulty, Found, first_present, shown, ticker

URL_CHARS_MAX = 4_096
FILE_NAME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})_([A-Z]{1,5}(?:_[A-Z]{1,5})?)_(classic|state|orderflow)"
    r"(?:_([a-z]+(?:_[a-z]+)?))?\.json(?:\.gz)?"
)
_URL = ("url", "signed_url", "download_url", "href")
_TICKER = ("ticker", "symbol", "underlying")
_CATEGORY = ("endpoint", "category", "gex_type", "feed", "kind")
_SHORT = {"zero": "gex_zero", "one": "gex_one", "full": "gex_full"}


@dataclass(frozen=True, slots=True)
class LinkRules:
    """Which links are followed; `ports` and `only_public` are for tests on this machine."""

    hosts: frozenset[str]
    ports: frozenset[int] = frozenset({443})
    only_public: bool = True


@dataclass(frozen=True, slots=True)
class Series:
    """What a history file holds: one series of one trading day."""

    ticker: str
    package: str
    category: str
    date: str

    def __str__(self) -> str:
        return f"{self.date} {self.ticker} {self.package}/{self.category}"


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """A link to follow and what is behind it; `notes` say where body and name disagreed."""

    url: str = field(repr=False)
    host: str
    series: Series
    notes: tuple[str, ...] = ()
    is_forced: bool = False


def parse_file_name(name: str) -> Series | None:
    """What a history file's name says, None where it is no such name; category may be ""."""
    found = FILE_NAME.fullmatch(name)
    if found is None:
        return None
    day, symbol, package, category = found.groups()
    category = category or ("orderflow" if package == "orderflow" else "")
    return Series(symbol, package, _SHORT.get(category, category), day)


def read_request(found: object, rules: LinkRules, now_ns: int) -> LinkRequest:
    """The body of a post: a link, alone or in an object; raise Faulty with all that is wrong."""
    body: Found = {"url": found} if isinstance(found, str) else found  # type: ignore[assignment]
    if not isinstance(body, dict):
        raise Faulty(Fault("", f"expected an object with a url, found {shown(found)}"))
    path, text = first_present(body, _URL)
    url = check_url(path, text, rules)
    _check_expiry(path, url, now_ns)
    named = parse_file_name(url.path.rsplit("/", 1)[-1])
    faults: list[Fault] = []
    series, notes = _series(body, named, faults)
    day = _day(series.date)
    if day is None or day > datetime.fromtimestamp(now_ns // NS_PER_S, UTC).date():
        faults.append(Fault("date", "expected a past day, in the file's name or as date"))
    if faults:
        raise Faulty(*faults)
    return LinkRequest(str(url), url.host, series, notes, body.get("force") is True)


def check_url(path: str, text: object, rules: LinkRules) -> httpx.URL:
    """The very URL that will be asked for; raise Faulty where it may not be followed."""
    if not isinstance(text, str) or not 0 < len(text) <= URL_CHARS_MAX:
        raise Faulty(Fault(path, f"expected a link of at most {URL_CHARS_MAX} characters"))
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise Faulty(Fault(path, "expected a link of plain characters, without blanks"))
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise Faulty(Fault(path, "expected a link, found something that does not parse")) from error
    if url.scheme != "https":
        raise Faulty(Fault(path, "expected https"))
    if url.userinfo or "@" in url.netloc.decode():
        raise Faulty(Fault(path, "expected a link without a user name"))
    if (url.port or 443) not in rules.ports:
        raise Faulty(Fault(path, "expected the usual port"))
    if url.raw_host.decode() not in rules.hosts:
        raise Faulty(Fault(path, f"expected a host of GEX_HISTORY_HOSTS, found {url.host[:80]!r}"))
    return url.copy_with(fragment=None)


def _check_expiry(path: str, url: httpx.URL, now_ns: int) -> None:
    """A signed link says until when it is good."""
    until = url.params.get("se")
    try:
        end = datetime.fromisoformat(until) if until else None
    except ValueError:
        return  # not the field we take it for
    if end is not None and end.tzinfo and end.timestamp() * NS_PER_S < now_ns:
        raise Faulty(Fault(path, f"the link expired at {until}; ask for a fresh one"))


def _series(
    body: Found, named: Series | None, faults: list[Fault]
) -> tuple[Series, tuple[str, ...]]:
    """The file's name wins over the body; where they differ that is noted."""
    path, value = first_present(body, _TICKER)
    said = {"ticker": "", "package": "", "category": "", "date": ""}
    if value is not None:
        try:
            said["ticker"] = ticker(path, value)
        except Faulty as error:
            faults += error.faults if named is None else ()
    said["package"] = _word(body.get("package"))
    said["category"] = _word(first_present(body, _CATEGORY)[1]).rsplit("/", 1)[-1]
    said["category"] = _SHORT.get(said["category"], said["category"])
    said["date"] = _word(body.get("date"))
    meant = {name: (getattr(named, name) if named else "") or said[name] for name in said}
    if not meant["package"]:
        meant["package"] = "orderflow" if meant["category"] == "orderflow" else "classic"
    notes = tuple(
        f"{name}: the body says {said[name][:40]}, the file's name says {meant[name]}"
        for name in said
        if said[name] and said[name] != meant[name]
    )
    if not meant["ticker"] and not faults:
        faults.append(Fault("ticker", "expected it in the file's name or as ticker"))
    if meant["package"] not in PACKAGES:
        faults.append(Fault("package", f"expected one of {', '.join(PACKAGES)}"))
    if meant["category"] not in CATEGORIES:
        faults.append(Fault("category", "expected it in the file's name or as endpoint"))
    return Series(**meant), notes


def _word(value: object) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def rules_of(hosts: Sequence[str]) -> LinkRules:
    """The rules for the hosts of the settings."""
    return LinkRules(frozenset(host.lower() for host in hosts))
