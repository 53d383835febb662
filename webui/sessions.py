"""Who may look: one-time links and sessions, kept only as SHA-256 of 256 random bits.

A link is a file named by its secret's hash; using it is unlinking it, so it can be used once, by
whoever comes first. Sessions live in one file, so that a restart of the web process logs nobody
out, and end after 12 h without use or 7 days in all.
"""

import hashlib
import json
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.clock import HOUR_NS, MINUTE_NS, NS_PER_S, Clock
from core.errors import TooMuch, Unauthenticated
from storage.disk import Disk

LINK_S = 60
LINKS_MAX = 100
IDLE_NS = 12 * HOUR_NS
LIFE_NS = 7 * 24 * HOUR_NS
SESSIONS_MAX = 200
SEEN_EVERY_NS = 5 * MINUTE_NS
FREE_FAILURES = 5
DELAY_S_MAX = 300
ADMIN_SCOPES = ("read", "sql", "live", "ui", "admin")


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that was let in."""

    id: str  # the first characters of the hash: names it in lists, opens nothing
    sha256: str
    name: str
    scopes: tuple[str, ...]
    peer: str
    created_ns: int
    seen_ns: int
    key_id: str = ""  # of the key it was opened with; it ends with that key

    def is_over(self, now_ns: int) -> bool:
        """Whether it lasted its time."""
        return now_ns - self.seen_ns > IDLE_NS or now_ns - self.created_ns > LIFE_NS


def make_link(folder: Path, clock: Clock) -> str:
    """A secret that opens one session within a minute; only its hash is written down."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime)[:-LINKS_MAX]:
        path.unlink(missing_ok=True)
    secret = secrets.token_urlsafe(32)
    path = folder / _hash(secret)
    path.touch(mode=0o600)
    path.write_text(str(clock.now_ns() + LINK_S * NS_PER_S))
    return secret


def use_link(folder: Path, secret: str, clock: Clock) -> None:
    """Spend a link; raise Unauthenticated where there is none such, or it is over."""
    path = folder / _hash(secret)
    try:
        ends_ns = int(path.read_text())
        path.unlink()
    except (FileNotFoundError, ValueError):
        raise Unauthenticated(
            "this link was used or never made", hint="make another with: tickflight ui"
        ) from None
    if ends_ns < clock.now_ns():
        raise Unauthenticated(
            f"this link is older than {LINK_S} s", hint="make another with: tickflight ui"
        )


class Sessions:
    """The sessions of one data folder; one process writes them."""

    def __init__(self, path: Path, *, disk: Disk, clock: Clock) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._lock = threading.Lock()
        self._by_hash: dict[str, Session] = self._read()

    def open(self, name: str, scopes: Sequence[str], peer: str, key_id: str = "") -> str:
        """Let a browser in; give the secret for its cookie."""
        secret = secrets.token_urlsafe(32)
        digest, now_ns = _hash(secret), self._clock.now_ns()
        session = Session(digest[:8], digest, name, tuple(scopes), peer, now_ns, now_ns, key_id)
        with self._lock:
            alive = {h: s for h, s in self._by_hash.items() if not s.is_over(now_ns)}
            while len(alive) >= SESSIONS_MAX:
                del alive[min(alive, key=lambda h: alive[h].seen_ns)]
            self._by_hash = {**alive, digest: session}
            self._write()
        return secret

    def find(self, secret: str) -> Session | None:
        """The session of a cookie, None where it is over, revoked or made up."""
        session = self._by_hash.get(_hash(secret))
        now_ns = self._clock.now_ns()
        if session is None or session.is_over(now_ns):
            return None
        if now_ns - session.seen_ns > SEEN_EVERY_NS:
            with self._lock:
                if session.sha256 in self._by_hash:
                    session = replace(session, seen_ns=now_ns)
                    self._by_hash[session.sha256] = session
                    self._write()
        return session

    def close(self, session_id: str) -> bool:
        """End one; whether there was one."""
        with self._lock:
            kept = {h: s for h, s in self._by_hash.items() if s.id != session_id}
            is_found = len(kept) < len(self._by_hash)
            self._by_hash = kept
            if is_found:
                self._write()
        return is_found

    def alive(self) -> list[Session]:
        """All that still open something, the newest first."""
        now_ns = self._clock.now_ns()
        found = [s for s in self._by_hash.values() if not s.is_over(now_ns)]
        return sorted(found, key=lambda s: -s.created_ns)

    def _read(self) -> dict[str, Session]:
        try:
            found = [_session(row) for row in json.loads(self._disk.read(self._path))]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return {}  # nobody is logged in; whoever was logs in again
        return {session.sha256: session for session in found}

    def _write(self) -> None:
        rows = [asdict(session) for session in self._by_hash.values()]
        self._disk.make_folder(self._path.parent)
        self._disk.write_whole(self._path, json.dumps(rows).encode())


class Throttle:
    """Failed logins: the first few are free, then each doubles the wait.

    One for all callers, since behind a tunnel they share one address.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until_ns = 0

    def check(self) -> None:
        """Raise TooMuch where one must wait."""
        wait_ns = self._until_ns - self._clock.monotonic_ns()
        if wait_ns > 0:
            raise TooMuch(
                f"too many failed logins; wait {wait_ns // NS_PER_S + 1} s",
                hint="then try again, or make a link with: tickflight ui",
            )

    def failed(self) -> None:
        """Count a failure."""
        self._failures += 1
        over = self._failures - FREE_FAILURES
        if over >= 0:
            delay_s = min(2**over, DELAY_S_MAX)
            self._until_ns = self._clock.monotonic_ns() + delay_s * NS_PER_S

    def passed(self) -> None:
        """Somebody got in: start counting anew."""
        self._failures = 0
        self._until_ns = 0


def _session(row: Mapping[str, Any]) -> Session:
    return Session(**{**row, "scopes": tuple(row["scopes"])})


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
