"""What a tool tells: a bounded table or JSON, as structured content and as compact text.

The rows come from the Flight server under the key of whoever asks. Whatever was cut is said to be,
with the arguments that bring what follows and the Flight ticket that brings everything at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import pyarrow as pa

from core.clock import NS_PER_US, Clock
from core.schema import Table
from flight_server.relay import Credentials, Relay, Rows
from webui.mcp_arguments import Json
from webui.mcp_table import Shown, iso, show

TABLE_SCHEMA: Final[Json] = {
    "type": "object",
    "properties": {
        "what": {"type": "string", "description": "what the rows are, in which order"},
        "columns": {
            "type": "array",
            "description": "name, type, unit and meaning of each column",
            "items": {"type": "object"},
        },
        "rows": {
            "type": "array",
            "description": "one list a row, in the order of columns",
            "items": {"type": "array"},
        },
        "row_count": {"type": "integer"},
        "is_cut": {"type": "boolean", "description": "whether there are more rows"},
        "next_arguments": {
            "type": ["object", "null"],
            "description": "arguments that bring the rows after the cut",
        },
        "flight_url": {"type": "string"},
        "flight_ticket": {
            "type": "string",
            "description": "gives all rows at once over Arrow Flight at flight_url",
        },
        "gaps": {
            "type": ["array", "null"],
            "description": "unrepaired holes that reach into the range; null where not looked for",
        },
        "visible_seq": {
            "type": ["integer", "null"],
            "description": "every row of the table up to this seq was looked at",
        },
        "durable_seq": {
            "type": ["integer", "null"],
            "description": "rows up to this seq survive a power cut",
        },
        "as_of": {"type": "string", "description": "when this was answered, UTC"},
    },
    "required": ["columns", "rows", "row_count", "is_cut", "as_of"],
}
ROWS_MAX: Final = 1_000
GAPS_TOLD_MAX: Final = 10  # in the text; the structured answer has those the metadata has


@dataclass(frozen=True, slots=True)
class Told:
    """The answer of a tool, for programs and for readers."""

    structured: Json
    text: str


@dataclass(frozen=True, slots=True)
class About:
    """What is told beside the rows; `known` and `meanings` say what columns mean."""

    what: str  # the rows are
    ticket: str
    asked: Json
    known: Table | None = None
    meanings: Mapping[str, str] | None = None
    hint: str = ""  # what to do about a cut, where no argument brings the rest
    has_gaps: bool = True


@dataclass(frozen=True, slots=True)
class Desk:
    """Who asks, and where answers come from; `flight_url` is the address told to the client."""

    relay: Relay
    credentials: Credentials
    clock: Clock
    flight_url: str

    def first(self, ticket: str, rows_max: int) -> Rows:
        """The first rows of an answer."""
        return self.relay.first(self.credentials, ticket.encode(), rows_max)

    def last(self, ticket: str, rows_max: int) -> Rows:
        """The last rows of an answer."""
        return self.relay.last(self.credentials, ticket.encode(), rows_max)

    def act(self, action: str) -> object:
        """The JSON of an action."""
        return self.relay.act(self.credentials, action)

    def now(self) -> str:
        """Now, as text."""
        return iso(self.clock.now_ns() // NS_PER_US)


def tell_page(desk: Desk, rows: Rows, rows_max: int, about: About) -> Told:
    """Rows from the start of a range on, in time order; `rows` has one more than is shown.

    It ends between two moments, never within one, so that the next page begins with the first row
    not shown: none comes twice and none is left out.
    """
    table = rows.table
    shown = show(table.slice(0, rows_max), about.known, about.meanings)
    count = len(shown.rows)
    if count == table.num_rows:
        return _tell(desk, shown, rows, about, None)
    times = table.column("ts_event").cast(pa.int64()).to_pylist()
    whole = next((row for row in range(count, 0, -1) if times[row - 1] != times[count]), 0)
    if whole == 0:
        return _tell(desk, shown, rows, about, {})
    if whole < count:
        shown = show(table.slice(0, whole), about.known, about.meanings)
    return _tell(desk, shown, rows, about, {**about.asked, "start": iso(times[count])})


def tell_newest(desk: Desk, rows: Rows, about: About) -> Told:
    """The newest rows of a range; what was cut is older. `asked` is empty where it has no end."""
    table = rows.table
    shown = show(table, about.known, about.meanings)
    while len(shown.rows) < table.num_rows:  # too wide; the newest are what is wanted
        table = table.slice(table.num_rows - len(shown.rows))
        shown = show(table, about.known, about.meanings)
    if not rows.is_cut and table.num_rows == rows.table.num_rows:
        return _tell(desk, shown, rows, about, None)
    first = table.column("ts_event").cast(pa.int64())[0].as_py()
    older = {**about.asked, "end": iso(first)} if about.asked else {}
    return _tell(desk, shown, rows, about, older)


def tell_rows(desk: Desk, rows: Rows, about: About) -> Told:
    """Rows in the order they came; there are no arguments that bring what was cut."""
    shown = show(rows.table, about.known, about.meanings)
    is_whole = not rows.is_cut and len(shown.rows) == rows.table.num_rows
    return _tell(desk, shown, rows, about, None if is_whole else {})


def tell_json(desk: Desk, found: Json, text: str) -> Told:
    """An answer that is no table."""
    return Told({**found, "as_of": desk.now()}, text)


def _tell(desk: Desk, shown: Shown, rows: Rows, about: About, following: Json | None) -> Told:
    """`following` is None where nothing was cut, empty where no arguments bring the rest."""
    gaps = orjson.loads(rows.metadata.get(b"gaps", b"[]"))
    marks = {name: _mark(rows, name) for name in ("visible_seq", "durable_seq")}
    is_cut = following is not None
    structured: Json = {
        "what": about.what,
        "columns": shown.columns,
        "rows": shown.rows,
        "row_count": len(shown.rows),
        "is_cut": is_cut,
        "next_arguments": following or None,
        "flight_url": desk.flight_url,
        "flight_ticket": about.ticket,
        "gaps": gaps if about.has_gaps else None,
        **marks,
        "as_of": desk.now(),
    }
    lines = [f"{about.what}; rows: {len(shown.rows)}; as of {structured['as_of']}"]
    if is_cut:
        lines.append(_how_to_go_on(about, following))
    if about.has_gaps:
        lines.append(_gap_line(gaps))
    lines.append("; ".join(f"{name} {value}" for name, value in marks.items() if value is not None))
    lines.append(f"columns: {'; '.join(map(_column_line, shown.columns))}")
    return Told(structured, "\n".join([line for line in lines if line] + ["", shown.csv]))


def _mark(rows: Rows, name: str) -> int | None:
    value = rows.metadata.get(name.encode())
    return None if value is None else int(value)


def _how_to_go_on(about: About, following: Json | None) -> str:
    line = "CUT: there are more rows. "
    if following:
        line += f"For the next ones call again with {orjson.dumps(following).decode()}. "
    else:
        line += f"{about.hint} ".lstrip()
    return f"{line}Over Arrow Flight the ticket {about.ticket} gives all of them at once."


def _gap_line(gaps: Sequence[Mapping[str, object]]) -> str:
    if not gaps:
        return "gaps: none known in this range"
    told = [
        f"{gap['from']} to {gap['to'] or 'now'} ({gap['reason']}, {gap['state']})"
        for gap in gaps[:GAPS_TOLD_MAX]
    ]
    more = f" and {len(gaps) - GAPS_TOLD_MAX} more" if len(gaps) > GAPS_TOLD_MAX else ""
    return f"GAPS: rows may be missing in {len(gaps)} hole(s): {', '.join(told)}{more}"


def _column_line(column: Mapping[str, str]) -> str:
    about = ", ".join(filter(None, (column["meaning"], column["unit"])))
    return f"{column['name']} ({about})" if about else column["name"]
