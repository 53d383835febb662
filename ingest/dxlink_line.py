"""What is known of one contract's tape while it is fed, and what is asked of the store about it."""

from dataclasses import dataclass, field
from typing import Protocol

from core.batch import TickBatch
from ingest.dxlink_known import Known, Stored
from ingest.dxlink_wire import Item
from ingest.dxlink_witness import Claim, Court
from ingest.gapbook import Gap
from ingest.rolls import Instrument


class Tape(Protocol):
    """What is stored already."""

    def last_us(self, symbol: str, contract: str) -> int | None:
        """Time of the newest print of a contract."""

    def stored(self, symbol: str, contract: str, start_us: int, end_us: int) -> Stored:
        """Prints with start <= ts_event < end, in the order they were stored."""

    def copies(self, symbol: str, contract: str, start_us: int, end_us: int) -> list[TickBatch]:
        """Standing trades others repaired with start <= ts_event < end, in time order, by source.

        Columns are those of `ingest.superseded` alone.
        """

    def open_gaps(self, table: str) -> list[Gap]:
        """Gaps this feed has in a table that are not closed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, seconds, and how often to try."""

    snapshot_s: float = 60.0
    retry_s: float = 30.0
    attempts_max: int = 3
    silent_rth_s: float = 120.0
    silent_eth_s: float = 900.0
    witness_grace_s: float = 5.0
    witness_period_s: float = 10.0
    probe_s: float = 30.0


@dataclass(slots=True)
class Snapshot:
    """History asked for on one connection, and what has come of it."""

    connection: int
    item: Item
    asked_ns: int
    has_begun: bool = False
    has_ended: bool = False
    is_snipped: bool = False
    has_anchor: bool = False
    is_spoiled: bool = False  # something was lost since it was asked for
    oldest: int = 2**63 - 1


@dataclass(slots=True)
class Line:
    """One contract's tape."""

    instrument: Instrument
    known: Known
    last_us: int | None
    heard_ns: int
    gap: Gap | None = None
    anchor: int = 0
    snapshot: Snapshot | None = None
    live_us: int | None = None  # first live row after the hole
    live_ns: int = 0  # when a print came live
    lag_us: int = 0  # from the newest live print's time to its arrival
    added: int = 0
    attempts: int = 0
    retry_ns: int = 0
    was_silent: bool = False
    court: Court = field(default_factory=Court)
    claim: Claim | None = None  # what a witness says of the hole
