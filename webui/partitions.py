"""Sealed files one by one: what the log says of each, when it was last verified, verifying it now.

A file is read back whole when it is sealed. `tickflight verify` and the button here read it again,
byte by byte; spot checks read single row groups. The newest of these is what is shown.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from core.clock import NS_PER_MS, Clock
from core.errors import BadTicket, PartitionCorrupt, PipelineError, TooMuch, Unavailable
from core.log import Log
from core.schema import TABLES
from storage.digest import file_crc
from storage.manifest import Partition
from storage.partition import group_rows
from storage.proofs import Proof, Proofs
from storage.verify import prove
from webui.access import Visitor, parse_body
from webui.journal import Journal
from webui.ledger import CheckRow
from webui.picture import Gatherer
from webui.words import DASH, format_bytes

WHOLE, GROUP, SEALED = "whole file", "one row group", "at its seal only"
log = Log("web")


@dataclass(frozen=True, slots=True)
class Checked:
    """The newest look at a file: when, how far it went, and what is wrong, "" where nothing is."""

    at_ms: int
    how: str
    fault: str = ""


@dataclass(frozen=True)
class Partitions:
    """The handlers behind the table of sealed files."""

    now: Gatherer
    proofs: Proofs
    journal: Journal
    clock: Clock
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, partitions: Sequence[Partition]) -> list[dict[str, object]]:
        """Files as lines of the table."""
        proofs, samples = self.proofs.read(), samples_of(self.now.ledger.account.checks)
        found = []
        for part in partitions:
            checked = checked_of(part, proofs.get(part.path), samples)
            found.append(
                {
                    "file": relative(part),
                    "name": part.path.rsplit("/", 1)[-1],
                    "symbol": part.symbol or DASH,
                    "date": part.date,
                    "rows": f"{part.rows:,}",
                    "size": format_bytes(part.bytes),
                    "first_ms": part.min_ts_us // 1_000,
                    "last_ms": part.max_ts_us // 1_000,
                    "checked": checked,
                    "state": "down" if checked.fault else "ok",
                }
            )
        return found

    def about(self, request: Request) -> Response:
        """One file in depth."""
        query = request.query_params
        part = self._partition(query.get("table", ""), query.get("file", ""))
        return JSONResponse(self._told(part))

    def verify(self, request: Request) -> Response:
        """Read a file again, every byte and every value, and hold it against its digest."""
        body, visitor = parse_body(request.state.body), request.state.visitor
        part = self._partition(str(body.get("table", "")), str(body.get("file", "")))
        if not self._turn.acquire(blocking=False):
            raise TooMuch("another file is being verified", hint="ask again in a moment")
        try:
            proof = Proof(part.path, self.clock.now_ns(), fault_of(part))
        finally:
            self._turn.release()
        self._keep(proof, part, visitor)
        return JSONResponse(self._told(part))

    def _keep(self, proof: Proof, part: Partition, visitor: Visitor) -> None:
        try:
            self.proofs.note([proof])
        except OSError as error:
            log.warning("proof.not_kept", why=error.strerror)
        name = f"{part.table} {part.symbol} {part.date}, {part.path.rsplit('/', 1)[-1]}"
        outcome = f"not as it was sealed: {proof.fault}" if proof.fault else "as it was sealed"
        state = "down" if proof.fault else "ok"
        self.journal.note("lake", state, f"{visitor.name} verified {name}: {outcome}")

    def _partition(self, table: str, file: str) -> Partition:
        """A living file; what the log does not name does not exist for anybody."""
        if table in TABLES:
            snapshot = self.now.tape.sealed(table)
            for part in snapshot.pruned():
                if relative(part) == file:
                    return part
        raise BadTicket(
            "no such sealed file", hint="it may have been folded into its day; load the page again"
        )

    def _told(self, part: Partition) -> dict[str, object]:
        samples = samples_of(self.now.ledger.account.checks)
        checked = checked_of(part, self.proofs.read().get(part.path), samples)
        try:
            checksum = file_crc(Path(part.local()))
        except (PartitionCorrupt, Unavailable):
            checksum = "cannot be read"
        groups = -(-part.rows // group_rows(TABLES[part.table]))
        facts: list[tuple[str, str | int]] = [
            ("Table", part.table),
            ("Symbol", part.symbol or DASH),
            ("Date, UTC", part.date),
            ("Rows", f"{part.rows:,} in {groups:,} row groups"),
            ("Size", f"{part.bytes:,} bytes"),
            ("First row", part.min_ts_us // 1_000),
            ("Last row", part.max_ts_us // 1_000),
            ("Seq", f"{part.first_seq:,} to {part.last_seq:,}"),
            ("Checksum, crc32c", checksum),
            ("Sealed and read back", part.sealed_ms),
            ("Verified", checked.at_ms),
            ("How far", checked.how),
            ("Outcome", _one_line(checked.fault, part) or "as it was sealed"),
        ]
        return {
            "title": part.path.rsplit("/", 1)[-1],
            "facts": facts,
            "table": part.table,
            "file": relative(part),
            "is_good": not checked.fault,
        }


def relative(part: Partition) -> str:
    """A file's path below its table's folder, as the Delta log has it."""
    return part.path.rpartition(f"/{part.table}/")[2]


Bounds = tuple[str, str, int | None, int | None]  # table, symbol, first and last row


def samples_of(checks: Sequence[CheckRow]) -> dict[Bounds, CheckRow]:
    """The newest sample of each file among spot checks, which come newest first.

    A check knows no file, but its rows' bounds are those of the file it read from.
    """
    found: dict[Bounds, CheckRow] = {}
    for check in checks:
        if check.witness == "digest":
            found.setdefault((check.table, check.symbol, check.from_us, check.to_us), check)
    return found


def checked_of(part: Partition, proof: Proof | None, samples: Mapping[Bounds, CheckRow]) -> Checked:
    """The newest look at a file."""
    found = [Checked(part.sealed_ms, SEALED)]
    if proof is not None:
        found.append(Checked(proof.at_ns // NS_PER_MS, WHOLE, proof.fault))
    check = samples.get((part.table, part.symbol, part.min_ts_us, part.max_ts_us))
    if check is not None:
        fault = check.detail if check.outcome == "mismatch" else ""
        found.append(Checked(check.ts_us // 1_000, GROUP, fault))
    return max(found, key=lambda one: one.at_ms)


def fault_of(part: Partition) -> str:
    """What is wrong with a file, "" where nothing is."""
    try:
        prove(part)
    except PartitionCorrupt as error:
        return error.message
    except PipelineError as error:
        return f"cannot be read: {error.message}"
    return ""


def _one_line(fault: str, part: Partition) -> str:
    """A fault without the folders of this machine."""
    return fault.replace(part.path, part.path.rsplit("/", 1)[-1])
