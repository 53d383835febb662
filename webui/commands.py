"""`tickflight status` in lines of text, and `tickflight ui`: a link into the dashboard."""

from collections.abc import Callable

from core.board import read_boards
from core.clock import Clock
from core.settings import Settings, reachable
from storage.lake import lake_of
from storage.paths import Paths
from webui.sessions import LINK_S, make_link
from webui.status import Status, gather
from webui.tape import StoreTape
from webui.words import format_age, format_number

Say = Callable[[str], None]


def status_command(settings: Settings, clock: Clock, say: Say) -> int:
    """Show every part, symbol and watermark; 1 where nothing runs or a part is down."""
    paths = Paths(settings.data_dir)
    now_ns = clock.now_ns()
    status = gather(read_boards(paths.run, now_ns), StoreTape(paths, lake_of(settings)), now_ns)
    _say_services(status, say)
    _say_tape(status, say)
    return 1 if status["state"] == "down" else 0


def _say_services(status: Status, say: Say) -> None:
    if not status["processes"]:
        say("nothing is running here; start it with: tickflight up")
    for board in status["processes"]:
        age = format_age(board["age_s"])
        say(f"{board['process']:8} {board['state']:9} {age:>9}  process {board['pid']}")
        for name, part in board["parts"].items():
            age = format_age(part["age_s"])
            say(f"  {name:20} {part['state']:9} {age:>9}  {part['detail']}".rstrip())


def _say_tape(status: Status, say: Say) -> None:
    for row in status["symbols"]:
        price, age = format_number(row["price"]), format_age(row["age_s"])
        say(f"{row['symbol']:8} {price:>12} {age:>9}")
    for table in status["tables"]:
        say(
            f"{table['table']:8} visible to seq {table['visible_seq']:,}, "
            f"durable to seq {table['durable_seq']:,}"
        )


def ui_command(settings: Settings, clock: Clock, say: Say) -> int:
    """Print a link that logs a browser in, once and within a minute; 1 where no page is served."""
    paths = Paths(settings.data_dir)
    boards = {board["process"]: board for board in read_boards(paths.run, clock.now_ns())}
    web = boards.get("web")
    if web is None or not web["is_alive"]:
        say("no dashboard is running here; start it with: tickflight up")
        return 1
    scheme = "https" if settings.text("TLS_CERT") else "http"
    host = reachable(settings.text("HOST"))
    port = int(web["gauges"].get("port", settings.number("WEB_PORT")))
    say(f"this link works once, within {LINK_S} seconds:")
    say(f"{scheme}://{host}:{port}/login#{make_link(paths.links, clock)}")
    return 0
