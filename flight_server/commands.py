"""What the command line asks of keys and of SQL, without a server in between."""

import argparse
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from core.clock import DAY_NS, HOUR_NS, MINUTE_NS, NS_PER_S, Clock
from core.errors import SettingsError
from core.settings import Settings
from flight_server.keys import RATE_DEFAULT, SCOPES, KeyRequest, KeyRing
from storage.disk import OsDisk
from storage.paths import Paths
from storage.query import Question, open_service

Say = Callable[[str], None]
DEFAULT_SCOPES = ("read", "sql", "live")
SHOWN_ROWS = 40
UNITS_NS = {"d": DAY_NS, "h": HOUR_NS, "m": MINUTE_NS}


def open_ring(settings: Settings, clock: Clock) -> KeyRing:
    """The keys of the data folder."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return KeyRing(Paths(settings.data_dir).keys, disk=OsDisk(), clock=clock)


def replace_key(ring: KeyRing, name: str) -> str:
    """A key with all scopes under this name; an earlier one of the name ends."""
    if any(record.name == name and record.revoked_ns is None for record in ring.records()):
        ring.revoke(name)
    return ring.create(KeyRequest(name, SCOPES))


def key_command(settings: Settings, arguments: argparse.Namespace, clock: Clock, say: Say) -> int:
    """`tickflight key create|list|revoke`."""
    ring = open_ring(settings, clock)
    match arguments.action:
        case "create":
            request = KeyRequest(
                arguments.name,
                tuple(arguments.scope or DEFAULT_SCOPES),
                tuple(symbol.upper() for symbol in arguments.symbol or ()),
                parse_rate(arguments.rate),
                parse_expiry(arguments.expires, clock.now_ns()),
            )
            key = ring.create(request)
            say(f"key {arguments.name!r} may: {', '.join(request.scopes)}; it is shown only now:")
            say(key)
        case "list":
            _show_keys(ring, clock)
        case _:
            ring.revoke(arguments.name)
            say(f"key {arguments.name!r} is revoked; the next call with it is refused")
    return 0


def query_command(settings: Settings, sql: str, shape: str, clock: Clock) -> int:
    """`tickflight query`: rows to standard output as a table, CSV or Parquet."""
    with open_service(settings) as service:
        reader = service.run(Question(sql))
        if shape == "csv":
            with pa_csv.CSVWriter(sys.stdout.buffer, reader.schema) as writer:
                for batch in reader:
                    writer.write(batch)
        elif shape == "parquet":
            with pq.ParquetWriter(sys.stdout.buffer, reader.schema) as writer:
                for batch in reader:
                    writer.write(batch)
        else:
            _show_rows(reader)
    return 0


def parse_rate(text: str) -> float:
    """Calls a second from `50/s`; the default where empty. Raise SettingsError."""
    if not text:
        return RATE_DEFAULT
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text)
    if found is None:
        raise SettingsError(f"--rate {text!r}: expected calls a second, for example 50/s")
    return float(found[1])


def parse_expiry(text: str, now_ns: int) -> int | None:
    """Epoch ns from `90d`, `12h`, `30m` or an ISO date. Raise SettingsError."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+)([dhm])", text)
    if found is not None and int(found[1]) > 0:
        return now_ns + int(found[1]) * UNITS_NS[found[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"--expires {text!r}: expected 90d, 12h, 30m or a date like 2027-01-31"
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    moment_ns = int(moment.timestamp()) * NS_PER_S
    if moment_ns <= now_ns:
        raise SettingsError(
            f"--expires {text!r}: expected a time to come; dates begin at 00:00 UTC"
        )
    return moment_ns


def _show_keys(ring: KeyRing, clock: Clock) -> None:
    table = Table("name", "id", "scopes", "symbols", "calls/s", "state", "expires")
    for record in ring.records():
        expires = "never" if record.expires_ns is None else _day(record.expires_ns)
        table.add_row(
            record.name,
            record.id,
            " ".join(record.scopes),
            " ".join(record.symbols) or "all",
            f"{record.rate:g}",
            record.state(clock.now_ns()),
            expires,
        )
    Console().print(table)


def _day(moment_ns: int) -> str:
    return datetime.fromtimestamp(moment_ns / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _show_rows(reader: pa.RecordBatchReader) -> None:
    table = Table(*reader.schema.names)
    shown = total = 0
    for batch in reader:
        total += batch.num_rows
        for row in batch.slice(0, max(SHOWN_ROWS - shown, 0)).to_pylist():
            table.add_row(*("" if value is None else str(value) for value in row.values()))
            shown += 1
    console = Console()
    console.print(table)
    more = f", the first {shown} shown; --format csv gives all" if total > shown else ""
    console.print(f"{total:,} rows{more}")
