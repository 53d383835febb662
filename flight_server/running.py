"""Which calls are running, and ending one, told between two processes through the data folder.

The Flight process writes its running calls into a file beside its board and looks there for
requests to end some. Whoever can write into that folder, which is its owner's alone, may end any
call; the dashboard asks only for visitors who may. A call is named by its number and its start, so
that a request which outlived the server it was meant for ends no other call.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.log import Log

if TYPE_CHECKING:
    from flight_server.auth import Call

CALLS_MAX: Final = 100  # written down, the longest running first
REQUESTS_MAX: Final = 100  # obeyed at a time
TICKET_CHARS_MAX: Final = 500
CALL_ID: Final = re.compile(r"\d{1,18}-\d{1,20}")
_log = Log("flight")


@dataclass(frozen=True, slots=True)
class RunningCall:
    """One call that has not ended; `ticket` is its beginning."""

    id: str
    key: str
    method: str
    ticket: str
    started_ns: int
    rows: int


class RunningCalls:
    """The Flight process's side."""

    def __init__(self, active: Mapping[int, "Call"], folder: Path) -> None:
        self._active = active
        self._folder = folder
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)

    def publish(self) -> None:
        """Replace the list by the calls that are running now."""
        calls = sorted((shown(call) for call in list(self._active.values())), key=_age)
        path = _list(self._folder)
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps([asdict(call) for call in calls[:CALLS_MAX]]))
        os.replace(scratch, path)

    def obey(self) -> None:
        """End the calls that somebody asked to have ended."""
        for request in sorted(self._folder.glob("end-*"))[:REQUESTS_MAX]:
            request.unlink(missing_ok=True)
            wanted = request.name.removeprefix("end-")
            for call in list(self._active.values()):
                if shown(call).id == wanted:
                    call.is_cancelled = True
                    _log.info("call.cancelled", call=wanted)

    def withdraw(self) -> None:
        """Nothing runs any more."""
        _list(self._folder).unlink(missing_ok=True)


def read_running(folder: Path) -> list[RunningCall]:
    """The calls that ran when the Flight process last wrote, the longest first."""
    try:
        return [RunningCall(**row) for row in json.loads(_list(folder).read_bytes())]
    except (FileNotFoundError, ValueError, TypeError):
        return []  # the process is not up; its service says so


def ask_to_end(folder: Path, call_id: str) -> None:
    """Have the Flight process end a call within a second."""
    assert CALL_ID.fullmatch(call_id), call_id  # it becomes a file's name
    (folder / f"end-{call_id}").touch(mode=0o600)


def shown(call: "Call") -> RunningCall:
    """What is told of a call."""
    agent = call.agent
    ticket = call.ticket[:TICKET_CHARS_MAX].decode("utf-8", "replace")
    return RunningCall(
        f"{call.number}-{call.start_ns}",
        agent.name if agent else "",
        call.method,
        ticket,
        call.start_ns,
        call.rows,
    )


def _age(call: RunningCall) -> int:
    return call.started_ns


def _list(folder: Path) -> Path:
    return folder / "running.json"
