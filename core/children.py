"""Child processes: start, wait until ready, start again when they die, stop in order.

A child says it is ready by one JSON line on the descriptor named in TICKFLIGHT_READY_FD. It dies
with its parent, whatever happens to the parent.
"""

import ctypes
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.clock import NS_PER_S, Clock, SystemClock
from core.errors import PipelineError, SettingsError
from core.log import Log

log = Log("house")
READY_FD = "TICKFLIGHT_READY_FD"
READY_TIMEOUT_S = 60.0
PR_SET_PDEATHSIG = 1
RESTART_DELAY_S_MAX = 30.0
PARENT_LOOK_S = 2.0
ORPHAN_S_MAX = 10.0  # a child whose parent is gone has so long to end in order


class ChildFailed(PipelineError):
    """A child ended before it was ready; the message is what it said."""

    code = "child_failed"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run and how long it may take to stop."""

    name: str
    command: tuple[str, ...]
    stop_s: float = 3.0


class Child:
    """One process of the house."""

    def __init__(self, spec: ChildSpec, env: Mapping[str, str], clock: Clock) -> None:
        self.spec = spec
        self._env = env
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_ns = 0
        self._failures = 0
        self._told_fd = -1
        self.ready: dict[str, object] = {}

    def start(self) -> dict[str, object]:
        """Run it and wait for its ready line; raise ChildFailed, SettingsError where it told so."""
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        """Run it."""
        self._told_fd, writes = os.pipe()
        self._started_ns = self._clock.monotonic_ns()
        try:
            self._process = subprocess.Popen(
                self.spec.command,
                env={**self._env, READY_FD: str(writes)},
                pass_fds=[writes],
                stdin=subprocess.DEVNULL,
                # Out of reach of Ctrl-C, but in one session: the kernel weighs sessions before
                # it looks at who in them gives way to whom.
                process_group=0,
            )
        finally:
            os.close(writes)

    def wait_ready(self) -> dict[str, object]:
        """Wait for the ready line of what was launched; raise as `start` does."""
        assert self._process is not None
        try:
            self.ready = self._read_ready(self._told_fd)
        finally:
            os.close(self._told_fd)
        log.info("child.ready", name=self.spec.name, pid=self._process.pid)
        return self.ready

    def has_ended(self) -> bool:
        """Whether it is not running."""
        return self._process is None or self._process.poll() is not None

    def restart_due(self) -> bool:
        """Whether it may be started again now: at once at first, then ever later."""
        assert self._process is not None
        lived_s = (self._clock.monotonic_ns() - self._started_ns) / NS_PER_S
        delay_s = min(0.25 * 2**self._failures, RESTART_DELAY_S_MAX)
        return bool(lived_s >= delay_s)

    def restart(self) -> None:
        """Start it again, counting how often it failed in a row."""
        assert self._process is not None
        lived_s = (self._clock.monotonic_ns() - self._started_ns) / NS_PER_S
        self._failures = 0 if lived_s > RESTART_DELAY_S_MAX else self._failures + 1
        log.error("child.died", name=self.spec.name, code=self._process.returncode)
        self.start()

    def stop(self) -> None:
        """Ask it to end, wait, and kill it when it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(self.spec.stop_s)
        except subprocess.TimeoutExpired:
            log.warning("child.killed", name=self.spec.name)
            self._process.kill()
            self._process.wait()

    def _read_ready(self, fd: int) -> dict[str, object]:
        line = b""
        deadline_ns = self._clock.monotonic_ns() + int(READY_TIMEOUT_S * NS_PER_S)
        while not line.endswith(b"\n"):
            left_s = (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S
            readable, _, _ = select.select([fd], [], [], max(left_s, 0))
            part = os.read(fd, 65_536) if readable else b""
            if not part:
                self.stop()
                raise ChildFailed(
                    f"{self.spec.name} did not start", hint="its own log lines above say why"
                )
            line += part
        told = json.loads(line)
        assert isinstance(told, dict), told
        if "error" in told:
            assert self._process is not None
            self._process.wait()
            is_setting = told.get("code") == SettingsError.code
            failure = SettingsError if is_setting else ChildFailed
            raise failure(f"{self.spec.name}: {told['error']}", hint=str(told.get("hint", "")))
        return told


def die_with_parent() -> None:
    """Have the kernel end this process when its parent is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _outlive_no_parent(parent: int) -> None:
    """End an orphan that does not end by itself: nobody is left to kill it, and it holds locks."""
    clock = SystemClock()
    while os.getppid() == parent:
        clock.sleep_s(PARENT_LOOK_S)
    clock.sleep_s(ORPHAN_S_MAX)
    log.error("orphan.ended", after_s=ORPHAN_S_MAX)
    logging.shutdown()
    os._exit(1)


def tell_ready(fd: int, facts: Mapping[str, object]) -> None:
    """Say to the parent that this child is up; `facts` are for it to use."""
    os.write(fd, json.dumps(dict(facts)).encode() + b"\n")
    os.close(fd)


def run_child(fd: int, body: Callable[[Callable[[Mapping[str, object]], None]], None]) -> int:
    """Run a child's body; it is handed the function that says ready. Give 0, or end with 1."""
    told = False

    def ready(facts: Mapping[str, object]) -> None:
        nonlocal told
        told = True
        tell_ready(fd, facts)

    die_with_parent()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a terminal may be told of what went wrong
    parent = os.getppid()
    threading.Thread(
        target=_outlive_no_parent, args=(parent,), name="orphan watch", daemon=True
    ).start()
    try:
        body(ready)
    except PipelineError as error:
        log.error("child.failed", code=error.code, error=error.message, hint=error.hint)
        if not told:
            tell_ready(fd, {"error": error.message, "code": error.code, "hint": error.hint})
    except Exception as error:
        log.exception("child.broke")
        if not told:
            tell_ready(fd, {"error": f"broke at start: {type(error).__name__}: {error}"})
    else:
        return 0
    # Threads that are not ours to stop must not keep a failed process alive.
    logging.shutdown()
    os._exit(1)


def run_house(
    children: Sequence[Child],
    stopping: threading.Event,
    on_ready: Callable[[Mapping[str, Mapping[str, object]]], None],
) -> None:
    """Start the children, tell what they said, keep them running until told to stop, stop them."""
    try:
        facts = start_in_order(children, stopping)
        if not stopping.is_set():
            on_ready(facts)
        keep_running(children, stopping)
    finally:
        # People first, models next, the writer last: what was taken in is committed.
        stop_in_order(children[::-1])


def start_in_order(
    children: Sequence[Child], stopping: threading.Event
) -> dict[str, dict[str, object]]:
    """Start the first, which the others build on, then the others side by side.

    Give what each said when it was ready; raise as `Child.start` does.
    """
    facts: dict[str, dict[str, object]] = {}
    for together in (children[:1], children[1:]):
        if stopping.is_set():
            break
        for child in together:
            child.launch()
        facts |= {child.spec.name: child.wait_ready() for child in together}
    return facts


def keep_running(children: Sequence[Child], stopping: threading.Event) -> None:
    """Start again what died, until told to stop."""
    while not stopping.wait(0.1):
        for child in children:
            if child.has_ended() and child.restart_due():
                try:
                    child.restart()
                except PipelineError as error:
                    log.error("child.not_restarted", name=child.spec.name, error=error.message)


def stop_in_order(children: Sequence[Child]) -> None:
    """Stop the children one after the other."""
    for child in children:
        child.stop()
