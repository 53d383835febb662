"""What happened: changes of state, gaps, logins, keys; the newest thousand, kept over restarts."""

import json
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from core.clock import NS_PER_MS, Clock
from core.log import Log

EVENTS_MAX = 1_000
FILE_BYTES_MAX = 1 << 20
log = Log("web")


class Event(TypedDict):
    """One line of the journal."""

    ts_ms: int
    part: str
    state: str
    text: str


class Journal:
    """Events in memory and in a file of lines that is begun anew when it grows too long."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._events: deque[Event] = deque(_read(path), EVENTS_MAX)
        self.version = 0

    def note(self, part: str, state: str, text: str) -> None:
        """Write down what happened now; a file that cannot be written costs only the file."""
        event = Event(
            ts_ms=self._clock.now_ns() // NS_PER_MS, part=part, state=state, text=text[:500]
        )
        with self._lock:
            self._events.append(event)
            self.version += 1
            try:
                self._append(event)
            except OSError as error:
                log.warning("journal.write_failed", why=error.strerror)

    def newest(self, count: int, part: str = "") -> Sequence[Event]:
        """The newest first, of one part or of all."""
        found = [e for e in reversed(self._events.copy()) if not part or e["part"] == part]
        return found[:count]

    def _append(self, event: Event) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_long = self._path.exists() and self._path.stat().st_size > FILE_BYTES_MAX
        events = list(self._events) if is_long else [event]
        with self._path.open("w" if is_long else "a") as file:
            file.writelines(json.dumps(e) + "\n" for e in events)


def _read(path: Path) -> list[Event]:
    found: list[Event] = []
    try:
        lines = path.read_text().splitlines()[-EVENTS_MAX:]
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            row = json.loads(line)
            found.append(
                Event(
                    ts_ms=int(row["ts_ms"]),
                    part=str(row["part"]),
                    state=str(row["state"]),
                    text=str(row["text"]),
                )
            )
        except (ValueError, KeyError, TypeError):
            continue  # the torn last line of a power cut
    return found
