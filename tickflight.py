"""The command line, and the house: which processes run, in what order they start and stop.

Nothing imports this module. It refuses to run with assertions switched off (`python -O`).
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.children import READY_FD, Child, ChildSpec, run_child, run_house
from core.clock import SystemClock
from core.errors import PipelineError, SettingsError
from core.log import start_logging
from core.roles import ROLES, Part, processes_of
from core.settings import Settings, load_settings, reachable
from storage.paths import Paths

EXIT_FINE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
SCOPES = ("read", "sql", "live", "write", "ui", "admin")
DEMO_KEY_NAME = "demo"
DEMO_PARTS = ("ingest", "web")
DEMO_RATE_MAX = 1_000_000
Ready = Callable[[Mapping[str, object]], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code: 0 fine, 1 failed check, 2 bad usage or settings."""
    if not __debug__:
        sys.stderr.write("tickflight: assertions are part of it; run python without -O\n")
        return EXIT_USAGE
    arguments = build_parser().parse_args(argv)
    start_logging(getattr(arguments, "process", arguments.command), verbose=arguments.verbose)
    try:
        settings = load_settings(_overrides(arguments))
        code: int = arguments.run(settings, arguments)
        return code
    except SettingsError as error:
        return _complain(error, EXIT_USAGE)
    except PipelineError as error:
        return _complain(error, EXIT_FAILED)
    except BrokenPipeError:
        return EXIT_FINE
    except OSError as error:
        hint = "check that path and who may read and write there"
        return _complain(PipelineError(str(error), hint=hint), EXIT_FAILED)


def _complain(error: PipelineError, code: int) -> int:
    hint = f"\n  {error.hint}" if error.hint else ""
    sys.stderr.write(f"tickflight: {error.message}{hint}\n")
    return code


def _overrides(arguments: argparse.Namespace) -> dict[str, str]:
    names = {"data_dir": "DATA_DIR", "host": "HOST", "follow": "REDIS_URL"}
    names |= {"flight_port": "FLIGHT_PORT", "web_port": "WEB_PORT"}
    given = {name: getattr(arguments, option, None) for option, name in names.items()}
    return {name: str(value) for name, value in given.items() if value not in (None, "")}


def build_parser() -> argparse.ArgumentParser:
    """Every command and option; `--help` shows examples."""
    parser = argparse.ArgumentParser(
        prog="tickflight",
        description="A market tape that never lies: live ticks and history over Arrow Flight.",
        epilog="First steps:\n  tickflight up --demo          a market to try it with\n"
        "  tickflight key create bot     a key for a client\n"
        '  tickflight query "SELECT symbol, count(*) FROM ticks GROUP BY symbol"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_up, _add_key, _add_import, _add_questions, _add_care, _add_child):
        add(commands)
    return parser


def _add_up(commands: Any) -> None:
    up = _command(commands, "up", run_up, "run everything", "tickflight up --demo --demo-rate 9999")
    up.add_argument("--demo", action="store_true", help="trade a built-in market, print a key")
    up.add_argument("--demo-rate", type=int, default=1000, metavar="N", help="ticks a second")
    up.add_argument("--demo-seed", type=int, default=1, metavar="N", help="same seed, same market")
    up.add_argument(
        "--role",
        choices=ROLES,
        default="all",
        help="a part on this machine: only take in, or only answer (default all)",
    )
    up.add_argument(
        "--follow",
        nargs="?",
        const="",
        metavar="REDIS_URL",
        help="with --role serve: copy the hot hour from there (default: the setting REDIS_URL)",
    )
    up.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    up.add_argument("--flight-port", type=int, help="Arrow Flight port, 0 picks one (default 8815)")
    up.add_argument("--web-port", type=int, help="web port, 0 picks one (default 8877)")


def _add_key(commands: Any) -> None:
    example = "tickflight key create bot --scope read --scope sql --symbol MNQ --rate 50/s"
    key = _command(commands, "key", run_key, "create, list and revoke API keys", example)
    actions = key.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = _command(actions, "create", None, "make a key; it is printed once", example)
    create.add_argument("name")
    create.add_argument("--scope", action="append", choices=SCOPES, help="default: read sql live")
    create.add_argument("--symbol", action="append", help="restrict to these; default: all")
    create.add_argument("--rate", default="", metavar="N/s", help="most calls a second")
    create.add_argument("--expires", default="", metavar="D", help="90d, 12h or a date")
    _command(actions, "list", None, "names, scopes and states of all keys", "tickflight key list")
    about = "end a key; the next call with it is refused"
    revoke = _command(actions, "revoke", None, about, "tickflight key revoke bot")
    revoke.add_argument("name")


def _add_import(commands: Any) -> None:
    imports = _command(
        commands,
        "import",
        run_import,
        "read market files into the tape",
        "tickflight import /mnt/c/SierraChart/Data/MNQZ26_FUT_CME.scid",
    )
    imports.add_argument("files", nargs="+", type=Path, metavar="FILE")
    imports.add_argument("--symbol", help="root to file the rows under; default: from the name")
    imports.add_argument("--scale", type=int, help="price factor of a .scid file; default: found")


def _add_questions(commands: Any) -> None:
    query = _command(
        commands,
        "query",
        run_query,
        "run SQL over hot and cold",
        "tickflight query \"SELECT * FROM bars_1m WHERE symbol = 'MNQ'\" --format csv",
    )
    query.add_argument("sql")
    query.add_argument("--format", choices=("table", "csv", "parquet"), default="table")
    _command(commands, "status", run_status, "how every part is", "tickflight status")
    _command(commands, "ui", run_ui, "print a one-time link into the dashboard", "tickflight ui")


def _add_care(commands: Any) -> None:
    verify = _command(
        commands,
        "verify",
        run_verify,
        "re-read sealed data against its digests",
        "tickflight verify --all",
    )
    verify.add_argument("--all", action="store_true", help="every file, not a sample")

    bench = _command(
        commands,
        "bench",
        run_bench,
        "measure this machine, ratios first",
        "tickflight bench latest --json latest.json",
    )
    bench.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    bench.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    bench.add_argument("--quick", action="store_true", help="short runs, rough figures")

    doctor = _command(
        commands, "doctor", run_doctor, "check settings, clock, disk and files", "tickflight doctor"
    )
    doctor.add_argument("--live", action="store_true", help="ask the real feed what it gives")
    _command(
        commands,
        "compact",
        run_compact,
        "fold the hours of finished days into one file",
        "tickflight compact",
    )


def _add_child(commands: Any) -> None:
    child = commands.add_parser("_child")
    child.add_argument(
        "process", choices=("ingest", "history", "mirror", "follow", "flight", "web")
    )
    child.add_argument("--demo-rate", type=int)
    child.add_argument("--demo-seed", type=int)
    child.set_defaults(run=run_process, verbose=False)


def _command(
    commands: Any,
    name: str,
    run: Callable[[Settings, argparse.Namespace], int] | None,
    about: str,
    example: str,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=f"Example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _common(parser, default=None if run else argparse.SUPPRESS)
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def _common(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """Options of every command; below a sub-command they must not undo what stands before it."""
    where = "where the tape is kept (default ./data)"
    quiet = False if default is None else default
    parser.add_argument("--data-dir", type=Path, help=where, default=default)
    parser.add_argument("--verbose", action="store_true", help="log every batch", default=quiet)


# -- running everything ----------------------------------------------------------------------------


def run_up(settings: Settings, arguments: argparse.Namespace) -> int:
    """Start the processes, say ready, keep them running, stop them in order."""
    if not 1 <= arguments.demo_rate <= DEMO_RATE_MAX:
        raise SettingsError(f"--demo-rate: expected 1 to {DEMO_RATE_MAX} ticks a second")
    part = Part(arguments.role, is_following=arguments.follow is not None, is_demo=arguments.demo)
    processes = processes_of(part, has_redis=bool(settings.text("REDIS_URL")))
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    demo = ["--demo-rate", str(arguments.demo_rate), "--demo-seed", str(arguments.demo_seed)]
    for left in Paths(settings.data_dir).run.glob("*.status.json"):
        left.unlink()  # of processes that were killed
    children = [
        _child(settings, process, demo if arguments.demo and process in DEMO_PARTS else [])
        for process in processes
    ]

    def say_ready(facts: Mapping[str, Mapping[str, object]]) -> None:
        # Not before the writer runs: the key of a demo that holds this folder must not end.
        _say_ready(settings, facts, _demo_key(settings) if arguments.demo else "")

    run_house(children, stopping, say_ready)
    return EXIT_FINE


def _say_ready(settings: Settings, facts: Mapping[str, Mapping[str, object]], key: str) -> None:
    host = reachable(settings.text("HOST"))
    secure = "+tls" if settings.text("TLS_CERT") else ""
    line = "ready"
    if "flight" in facts:
        line += f" flight=grpc{secure}://{host}:{facts['flight']['port']}"
        line += f" web=http{'s' if secure else ''}://{host}:{facts['web']['port']}"
    sys.stdout.write(line + (f" key={key}" if key else "") + "\n")
    sys.stdout.flush()


def _child(settings: Settings, process: str, more: list[str]) -> Child:
    command = (sys.executable, "-m", "tickflight", "_child", process, *more)
    env = {**os.environ, **settings.as_env()}  # noqa: TID251
    return Child(ChildSpec(process, command), env, SystemClock())


def run_process(settings: Settings, arguments: argparse.Namespace) -> int:
    """The life of one child process."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    fd = int(os.environ[READY_FD])  # noqa: TID251
    return run_child(fd, lambda ready: _live(settings, arguments, ready, stopping))


def _live(
    settings: Settings, arguments: argparse.Namespace, ready: Ready, stopping: threading.Event
) -> None:
    clock = SystemClock()
    match arguments.process:
        case "ingest":
            from ingest.main import DemoOptions, run

            demo = None
            if arguments.demo_rate is not None:
                demo = DemoOptions(arguments.demo_rate, arguments.demo_seed)
            run(settings, clock=clock, demo=demo, ready=ready, stopping=stopping)
        case "history":
            from ingest.gexbot_worker import run as run_history

            run_history(settings, clock=clock, ready=ready, stopping=stopping)
        case "mirror":
            from storage.bus_main import run_mirror

            run_mirror(settings, clock=clock, ready=ready, stopping=stopping)
        case "follow":
            from storage.bus_main import run_follow

            run_follow(settings, clock=clock, ready=ready, stopping=stopping)
        case "flight":
            from flight_server.main import run as run_flight

            run_flight(settings, clock=clock, ready=ready, stopping=stopping)
        case "web":
            from webui.main import run as run_web

            is_demo = arguments.demo_rate is not None
            run_web(
                settings, clock=clock, on_ready=lambda port: ready({"port": port}), is_demo=is_demo
            )


def _demo_key(settings: Settings) -> str:
    """A fresh key with all scopes; the one of an earlier demo ends."""
    from flight_server.commands import open_ring, replace_key

    return replace_key(open_ring(settings, SystemClock()), DEMO_KEY_NAME)


# -- the other commands ------------------------------------------------------------------------


def run_key(settings: Settings, arguments: argparse.Namespace) -> int:
    """Create, list or revoke keys."""
    from flight_server.commands import key_command

    return key_command(settings, arguments, SystemClock(), _say)


def run_import(settings: Settings, arguments: argparse.Namespace) -> int:
    """Read files into the tape, beside a running server or without one."""
    from ingest.commands import import_command
    from ingest.importer import ImportOptions

    options = ImportOptions(symbol=arguments.symbol, scale=arguments.scale)
    return import_command(settings, arguments.files, options, SystemClock(), _say)


def run_query(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run SQL and show the rows."""
    from flight_server.commands import query_command

    return query_command(settings, arguments.sql, arguments.format, SystemClock())


def run_verify(settings: Settings, arguments: argparse.Namespace) -> int:
    """Check sealed data; 1 where less than 99.9 % is as it was sealed."""
    from ingest.verify_command import verify_command

    return verify_command(settings, SystemClock(), check_all=arguments.all, say=_say)


def run_compact(settings: Settings, arguments: argparse.Namespace) -> int:
    """Fold finished days."""
    from ingest.commands import compact_command

    return compact_command(settings, SystemClock(), _say)


def run_doctor(settings: Settings, arguments: argparse.Namespace) -> int:
    """Say what is wrong and what to do."""
    from ingest.doctor import doctor_command

    return doctor_command(settings, SystemClock(), _say, is_live=arguments.live)


def run_status(settings: Settings, arguments: argparse.Namespace) -> int:
    """Show the health boards; 1 where a part is down."""
    from webui.commands import status_command

    return status_command(settings, SystemClock(), _say)


def run_ui(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print a link that logs a browser in."""
    from webui.commands import ui_command

    return ui_command(settings, SystemClock(), _say)


def run_bench(settings: Settings, arguments: argparse.Namespace) -> int:
    """Measure this machine."""
    from bench.run import bench_command

    figures = bench_command(arguments.names, quick=arguments.quick, say=_say)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return EXIT_FINE


def _say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
