"""Which contract a root meant on which day, kept on disk so that it outlives the service.

Nothing is spliced: every row carries its own contract, and this map only says which was in front.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from core.clock import DAY_NS
from core.errors import FeedGarbled
from core.session import Market
from storage.disk import Disk

BOTH_BEFORE_EXPIRY_NS = 8 * DAY_NS
INDICES = frozenset({"VIX", "SPX", "NDX"})


@dataclass(frozen=True, slots=True)
class Instrument:
    """Something to listen to: the root or ticker it is stored under, and the vendor's name."""

    symbol: str
    contract: str
    streamer_symbol: str
    market: Market
    has_prints: bool = True


@dataclass(frozen=True, slots=True)
class Listed:
    """A living contract as the service lists it."""

    root: str
    contract: str
    streamer_symbol: str
    is_front: bool
    is_next: bool
    expires_ns: int


@dataclass(frozen=True, slots=True)
class Roll:
    """`contract` is the front one of `root` from `valid_from_ns` until `valid_to_ns`, 0 = now."""

    root: str
    contract: str
    streamer_symbol: str
    expires_ns: int
    valid_from_ns: int
    valid_to_ns: int = 0
    next_contract: str = ""
    next_streamer_symbol: str = ""


class RollMap:
    """The dated map of one data folder."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self.rolls = _read(path, disk)
        self.unclear: dict[str, int] = {}  # by root, how many contracts are marked front, if not 1

    def update(self, listed: Iterable[Listed], now_ns: int) -> list[Roll]:
        """Take in what the service lists; give the roots whose front contract changed."""
        by_root: dict[str, list[Listed]] = {}
        for contract in listed:
            if contract.expires_ns > now_ns:
                by_root.setdefault(contract.root, []).append(contract)
        rolled = []
        marked = {root: sum(c.is_front for c in contracts) for root, contracts in by_root.items()}
        self.unclear = {root: count for root, count in sorted(marked.items()) if count != 1}
        for root, contracts in sorted(by_root.items()):
            fresh = _front(root, contracts, now_ns)
            present = self.front(root)
            if present is not None and present.contract == fresh.contract:
                self._replace(present, replace(fresh, valid_from_ns=present.valid_from_ns))
                continue
            if present is not None:
                self._replace(present, replace(present, valid_to_ns=now_ns))
            self.rolls.append(fresh)
            rolled.append(fresh)
        payload = orjson.dumps([asdict(roll) for roll in self.rolls], option=orjson.OPT_INDENT_2)
        self._disk.write_whole(self._path, payload)
        return rolled

    def front(self, root: str) -> Roll | None:
        """The present front contract of a root."""
        for roll in self.rolls:
            if roll.root == root and roll.valid_to_ns == 0:
                return roll
        return None

    def front_at(self, root: str, ts_ns: int) -> Roll | None:
        """The contract a root meant at a time."""
        for roll in self.rolls:
            is_before_end = roll.valid_to_ns == 0 or ts_ns < roll.valid_to_ns
            if roll.root == root and roll.valid_from_ns <= ts_ns and is_before_end:
                return roll
        return None

    def instruments(self, roots: Sequence[str], now_ns: int) -> tuple[Instrument, ...]:
        """What to listen to: near expiry the next contract too, so a roll loses no tick."""
        found = []
        for root in roots:
            roll = self.front(root)
            if roll is None:
                has_prints = root not in INDICES
                found.append(Instrument(root, root, root, "nyse", has_prints))
                continue
            found.append(Instrument(root, roll.contract, roll.streamer_symbol, "cme"))
            if roll.next_contract and now_ns >= roll.expires_ns - BOTH_BEFORE_EXPIRY_NS:
                found.append(Instrument(root, roll.next_contract, roll.next_streamer_symbol, "cme"))
        return tuple(found)

    def _replace(self, old: Roll, new: Roll) -> None:
        self.rolls[self.rolls.index(old)] = new


def _front(root: str, contracts: list[Listed], now_ns: int) -> Roll:
    """The one marked front, or where none or several are, the nearest that lives."""
    by_expiry = sorted(contracts, key=lambda contract: contract.expires_ns)
    front = next((c for c in by_expiry if c.is_front), by_expiry[0])
    later = [c for c in by_expiry if c.expires_ns > front.expires_ns]
    following = next((c for c in later if c.is_next), later[0] if later else None)
    return Roll(
        root,
        front.contract,
        front.streamer_symbol,
        front.expires_ns,
        now_ns,
        next_contract=following.contract if following else "",
        next_streamer_symbol=following.streamer_symbol if following else "",
    )


def _read(path: Path, disk: Disk) -> list[Roll]:
    if path.name not in disk.names(path.parent):
        return []
    try:
        return [Roll(**roll) for roll in orjson.loads(disk.read(path))]
    except (orjson.JSONDecodeError, TypeError) as error:
        raise FeedGarbled(
            f"expected a roll map in {path.name}, found something else",
            hint="delete the file; it is made again from what the service lists",
        ) from error
