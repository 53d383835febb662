"""Fixtures every kind of test may use: a clock that stands still, and the whole program running."""

import faulthandler
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import TextIO

import pytest

from core.settings import BY_NAME
from tests.fakes.manual_clock import ManualClock

ROOT = Path(__file__).resolve().parent.parent
READY = re.compile(r"^ready(?: flight=(grpc\S*) web=(http\S+?))?(?: key=(\S+))?$")
READY_S_MAX = 60  # a busy machine; the promise of 10 s is measured elsewhere
STOP_S_MAX = 20
LEFT_OVER_S = 10
HANGS_S = 240  # where the whole suite takes a quarter of an hour no test takes a third of this
FRAMES_TOLD = 8


@dataclass(frozen=True)
class RunningServer:
    """A started `tickflight up` and what its ready line said."""

    flight_url: str
    web_url: str
    key: str
    data_dir: Path
    process: subprocess.Popen[str]
    settings: Mapping[str, str]

    def env(self) -> dict[str, str]:
        """The environment the examples read."""
        told = {"TICKFLIGHT_URL": self.flight_url, "TICKFLIGHT_KEY": self.key}
        return {**clean_env(), **self.settings, **told}


def clean_env() -> dict[str, str]:
    """This process's environment without settings of ours, so that a machine's own do not leak."""
    env = {name: value for name, value in os.environ.items() if name not in BY_NAME}
    return {**env, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def tickflight(folder: Path, *arguments: str) -> str:
    """Run one command on `folder`/data and give what it printed; it must not fail."""
    command = [sys.executable, "-m", "tickflight", *arguments, "--data-dir", str(folder / "data")]
    done = subprocess.run(command, env=clean_env(), cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@contextmanager
def running_server(
    folder: Path, *args: str, settings: Mapping[str, str] | None = None
) -> Iterator[RunningServer]:
    """Start `tickflight up ARGS` on free ports, wait until it is ready, stop it by SIGTERM.

    Settings come from nowhere but `args` and `settings`; the data folder is `folder`/data.
    """
    data_dir, log_path = folder / "data", folder / "server.log"
    command = [sys.executable, "-m", "tickflight", "up", *args, "--data-dir", str(data_dir)]
    command += ["--flight-port", "0", "--web-port", "0"]
    with (
        log_path.open("ab") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**clean_env(), **(settings or {})},
            text=True,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            flight_url, web_url, key = _wait_ready(process, log_path)
            yield RunningServer(flight_url, web_url, key, data_dir, process, settings or {})
        finally:
            _stop(process, log_path)


def _wait_ready(process: subprocess.Popen[str], log_path: Path) -> tuple[str, str, str]:
    lines: Queue[str | None] = Queue()

    def pump() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=pump, daemon=True).start()
    deadline_s = time.monotonic() + READY_S_MAX
    while True:
        try:
            line = lines.get(timeout=max(deadline_s - time.monotonic(), 0))
        except Empty:
            raise AssertionError(f"not ready in {READY_S_MAX} s\n{_tail(log_path)}") from None
        if line is None:
            raise AssertionError(f"ended before it was ready\n{_tail(log_path)}")
        if match := READY.match(line):
            return match[1] or "", match[2] or "", match[3] or ""


def _stop(process: subprocess.Popen[str], log_path: Path) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"did not stop in {STOP_S_MAX} s\n{_tail(log_path)}") from None


def _tail(log_path: Path) -> str:
    return log_path.read_text(errors="replace")[-4_000:]


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One demo market for all tests that only read."""
    with running_server(tmp_path_factory.mktemp("demo"), "--demo") as server:
        yield server


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Start servers of a test's own; each call is a new `up` on the same data folder."""
    with ExitStack() as stack:

        def start(*args: str) -> RunningServer:
            return stack.enter_context(running_server(tmp_path, *args))

        yield start


STDERR = pytest.StashKey[TextIO]()  # as it is while no test's output is captured


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STDERR] = os.fdopen(os.dup(2), "w")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the run where a test hangs, and say last which one and where it waits."""
    watchdog = threading.Timer(HANGS_S, _end_hanging, (item, threading.get_ident()))
    watchdog.daemon = True
    watchdog.start()
    try:
        return (yield)
    finally:
        watchdog.cancel()


def _end_hanging(item: pytest.Item, thread: int) -> None:
    told = item.config.stash[STDERR]
    faulthandler.dump_traceback(told, all_threads=True)
    frames = traceback.extract_stack(sys._current_frames()[thread])[-FRAMES_TOLD:]
    print(f"\n{item.nodeid} hangs for {HANGS_S} s:", file=told)
    print("".join(traceback.format_list(frames)), file=told, flush=True)
    os._exit(1)


def pytest_unconfigure() -> None:
    """End a run that left threads behind, which the interpreter would wait for without end."""
    deadline_s = time.monotonic() + LEFT_OVER_S
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(max(deadline_s - time.monotonic(), 0))
            if thread.is_alive():
                print(f"the thread {thread.name!r} was never stopped", file=sys.stderr, flush=True)
                os._exit(1)
