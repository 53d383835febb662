"""API keys: made once, shown once, kept only as SHA-256, checked on every call.

A key is `tf_<8 id characters>_<43 characters of 256 random bits>`. The id finds the record, the
hash of the whole text is compared in constant time. The file is read again whenever it changed,
so a revocation or an expiry acts on the next call; a file put there by hand, a moment later.
Nothing here can give a key back.
"""

import fcntl
import hashlib
import hmac
import json
import mmap
import os
import re
import secrets
import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from core.clock import NS_PER_MS, Clock
from core.errors import SettingsError, Unauthenticated, Unavailable
from core.symbol import GEX_TICKERS, is_symbol
from storage.disk import Disk

TAPE_SCOPES = ("read", "sql", "live", "write")
SCOPES = (*TAPE_SCOPES, "ui", "admin")
SEES_ALL = frozenset({"ui", "admin"})  # the dashboard shows every symbol to whoever is let in
KEYS_MAX = 10_000
RATE_DEFAULT = 10_000.0
RATE_MAX = 1_000_000.0
FILE_VERSION = 1
STAT_EVERY_NS = 250 * NS_PER_MS

_ID_ALPHABET = string.ascii_lowercase + string.digits
_ID_LENGTH = 8
_PREFIX = "tf_"
_ID_START = len(_PREFIX)
_ID_END = _ID_START + _ID_LENGTH
_KEY_LENGTH = _ID_END + 1 + 43
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_GET_A_KEY = "make one with `tickflight key create NAME --scope read`"


@dataclass(frozen=True, slots=True)
class Agent:
    """Who is calling and what the key allows; `symbols` None means every symbol."""

    name: str
    key_id: str
    scopes: frozenset[str]
    symbols: frozenset[str] | None
    rate: float

    @property
    def seen(self) -> frozenset[str] | None:
        """Everything rows may be under: the symbols, and the tickers of their gamma exposure."""
        if self.symbols is None:
            return None
        return self.symbols | {GEX_TICKERS[root] for root in self.symbols & GEX_TICKERS.keys()}


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of one key."""

    name: str
    id: str
    sha256: str = field(repr=False)
    scopes: tuple[str, ...]
    symbols: tuple[str, ...]
    rate: float
    created_ns: int
    expires_ns: int | None = None
    revoked_ns: int | None = None

    def state(self, now_ns: int) -> str:
        """`active`, `revoked` or `expired`."""
        if self.revoked_ns is not None:
            return "revoked"
        if self.expires_ns is not None and self.expires_ns <= now_ns:
            return "expired"
        return "active"


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key shall be allowed; no symbols means all of them."""

    name: str
    scopes: tuple[str, ...] = ("read",)
    symbols: tuple[str, ...] = ()
    rate: float = RATE_DEFAULT
    expires_ns: int | None = None


class _ChangeCount:
    """How often the keys were changed, in a mapped file: a look costs no system call.

    It only saves looking at the key file on every call, so it need not survive anything.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(fd, mmap.PAGESIZE)
            self._words = memoryview(mmap.mmap(fd, mmap.PAGESIZE)).cast("Q")
        finally:
            os.close(fd)

    def read(self) -> int:
        return self._words[0]

    def add_one(self) -> None:
        self._words[0] += 1


class KeyRing:
    """The keys of one data folder, shared by the server (reading) and the CLI (writing)."""

    def __init__(self, path: Path, *, disk: Disk, clock: Clock) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = None
        self._changes = _ChangeCount(path.with_suffix(".count"))
        self._seen_changes = -1
        self._stat_ns = 0
        # Replaced as a whole, so a reader never sees half of a reload.
        self._by_id: dict[str, tuple[KeyRecord, Agent]] = {}
        self._proven: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"KeyRing({len(self._by_id)} keys)"

    def agent(self, text: str) -> Agent:
        """Whose key this is; raise Unauthenticated where it does not let anybody in."""
        self._reload_if_changed()
        raw = text.encode("utf-8", "replace")
        known = self._by_id.get(text[_ID_START:_ID_END])
        proven = self._proven.get(text[_ID_START:_ID_END])
        # A key that was hashed once since the file was read is compared as it is.
        if known is None or proven is None or not hmac.compare_digest(raw, proven):
            digest = hashlib.sha256(raw).hexdigest()
            if known is None or not hmac.compare_digest(digest, known[0].sha256):
                raise _wrong_key(text)
            self._proven[known[0].id] = raw
        record, agent = known
        if record.revoked_ns is not None:
            raise Unauthenticated(
                f"the key of {record.name!r} is revoked", hint=f"use another key, or {_GET_A_KEY}"
            )
        if record.expires_ns is not None and record.expires_ns <= self._clock.now_ns():
            raise Unauthenticated(
                f"the key of {record.name!r} is expired", hint=f"use another key, or {_GET_A_KEY}"
            )
        return agent

    def holder(self, key_id: str) -> Agent | None:
        """Whose key this is, without its text; None where it lets nobody in any more."""
        self._reload_if_changed()
        known = self._by_id.get(key_id)
        is_active = known is not None and known[0].state(self._clock.now_ns()) == "active"
        return known[1] if known is not None and is_active else None

    def create(self, request: KeyRequest) -> str:
        """Add a key and return its text, which is kept nowhere."""
        _check_request(request)
        now_ns = self._clock.now_ns()
        with self._exclusive():
            records = self._read()
            if len(records) >= KEYS_MAX:
                raise SettingsError(f"{KEYS_MAX} keys exist, the most there may be")
            if any(r.name == request.name and r.state(now_ns) == "active" for r in records):
                raise SettingsError(
                    f"an active key named {request.name!r} exists",
                    hint="choose another name or revoke that key first",
                )
            taken = {record.id for record in records}
            key_id = _new_id(taken)
            text = f"{_PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
            assert len(text) == _KEY_LENGTH
            record = KeyRecord(
                name=request.name,
                id=key_id,
                sha256=hashlib.sha256(text.encode()).hexdigest(),
                scopes=tuple(s for s in SCOPES if s in request.scopes),
                symbols=request.symbols,
                rate=float(request.rate),
                created_ns=now_ns,
                expires_ns=request.expires_ns,
            )
            self._write([*records, record])
        return text

    def records(self) -> list[KeyRecord]:
        """All keys ever made, oldest first."""
        return self._read()

    def revoke(self, name: str) -> KeyRecord:
        """Revoke the active key of this name; it stops working with the next call."""
        now_ns = self._clock.now_ns()
        with self._exclusive():
            records = self._read()
            for place, record in enumerate(records):
                if record.name == name and record.state(now_ns) == "active":
                    revoked = replace(record, revoked_ns=now_ns)
                    self._write([*records[:place], revoked, *records[place + 1 :]])
                    return revoked
        active = ", ".join(r.name for r in records if r.state(now_ns) == "active") or "none"
        raise SettingsError(f"no active key named {name!r}", hint=f"active keys: {active}")

    def _reload_if_changed(self) -> None:
        """Read the file again where one of us changed it, and look now and then who else did."""
        changes = self._changes.read()
        now_ns = self._clock.monotonic_ns()
        if changes == self._seen_changes and now_ns - self._stat_ns < STAT_EVERY_NS:
            return
        self._reload()
        # Only now: a file that cannot be read is tried again on every call, and lets nobody in.
        self._seen_changes, self._stat_ns = changes, now_ns

    def _reload(self) -> None:
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            self._by_id, self._proven, self._stamp = {}, {}, None
            return
        stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if stamp != self._stamp:
            try:
                records = self._read()
            except SettingsError as error:
                raise Unavailable(
                    "the server cannot read its list of keys", hint="tell the operator"
                ) from error
            self._by_id = {r.id: (r, _agent(r)) for r in records}
            self._proven = {}
            self._stamp = stamp

    def _read(self) -> list[KeyRecord]:
        try:
            payload = self._disk.read(self._path)
        except FileNotFoundError:
            return []
        try:
            found = json.loads(payload)
            if found["version"] != FILE_VERSION:
                raise ValueError(f"version {found['version']!r}")
            return [
                KeyRecord(
                    **{**one, "scopes": tuple(one["scopes"]), "symbols": tuple(one["symbols"])}
                )
                for one in found["keys"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"{self._path} is not a list of keys: {error}",
                hint="restore it from a backup, or delete it and make new keys",
            ) from error

    def _write(self, records: Sequence[KeyRecord]) -> None:
        found = {"version": FILE_VERSION, "keys": [_to_json(r) for r in records]}
        self._disk.write_whole(self._path, json.dumps(found, indent=1).encode())
        assert self._read() == list(records), "keys read back differ from keys written"
        self._changes.add_one()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Two commands at once must not undo each other's change."""
        self._disk.make_folder(self._path.parent)
        fd = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _to_json(record: KeyRecord) -> dict[str, object]:
    return asdict(record)


def _agent(record: KeyRecord) -> Agent:
    symbols = frozenset(record.symbols) if record.symbols else None
    return Agent(record.name, record.id, frozenset(record.scopes), symbols, record.rate)


def _new_id(taken: set[str]) -> str:
    while True:
        key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
        if key_id not in taken:
            return key_id


def _wrong_key(text: str) -> Unauthenticated:
    if not text:
        return Unauthenticated(
            "this call carries no key",
            hint="send the header `authorization: Bearer KEY`, or authenticate with the key",
        )
    if not text.startswith(_PREFIX) or len(text) != _KEY_LENGTH:
        return Unauthenticated(
            f"expected a key of the form tf_ID_SECRET with {_KEY_LENGTH} characters, "
            f"found {len(text)} characters of another form",
            hint=f"copy the whole key, or {_GET_A_KEY}",
        )
    return Unauthenticated("the key is wrong", hint=f"copy it again, or {_GET_A_KEY}")


def _check_request(request: KeyRequest) -> None:
    faults = []
    if not _NAME.fullmatch(request.name):
        faults.append(f"name {request.name!r}: expected letters, digits, . _ @ -, at most 64")
    unknown = sorted(set(request.scopes) - set(SCOPES))
    if unknown or not request.scopes:
        faults.append(f"scopes {unknown or 'missing'}: expected some of {', '.join(SCOPES)}")
    faults += [
        f"symbol {symbol!r}: expected a root or ticker such as MNQ"
        for symbol in request.symbols
        if not is_symbol(symbol)
    ]
    seeing = sorted(SEES_ALL & set(request.scopes))
    if request.symbols and seeing:
        faults.append(
            f"scope {' and '.join(seeing)} with a list of symbols: the dashboard shows all of "
            "them; expected no list, or two keys"
        )
    if not 0 < request.rate <= RATE_MAX:
        faults.append(f"rate {request.rate}: expected calls per second up to {RATE_MAX:.0f}")
    if faults:
        raise SettingsError("; ".join(faults), hint="see `tickflight key create --help`")
