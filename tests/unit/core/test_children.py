"""Processes of the house: the writer first, then the others side by side."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.children import READY_FD, Child, ChildFailed, ChildSpec, start_in_order, stop_in_order
from core.clock import SystemClock
from tests.fakes.deadline import until

# Says ready once all the files it waits for are there, having made one of its own.
BODY = f"""
import json, os, pathlib, sys, time
own, *awaited = map(pathlib.Path, sys.argv[1:])
assert not own.exists()
own.touch()
while not all(path.exists() for path in awaited):
    time.sleep(0.005)
os.write(int(os.environ["{READY_FD}"]), json.dumps({{"name": own.name}}).encode() + b"\\n")
time.sleep(60)
"""


@pytest.fixture
def make(tmp_path):
    """Makes children that wait for one another's files; they are stopped at the end."""
    made = []

    def child(name, *awaited, body=BODY):
        files = [str(tmp_path / one) for one in (name, *awaited)]
        spec = ChildSpec(name, (sys.executable, "-c", body, *files))
        made.append(Child(spec, dict(os.environ), SystemClock()))
        return made[-1]

    yield child
    stop_in_order(made)


def test_the_first_is_ready_before_the_others_begin_and_they_start_side_by_side(make, tmp_path):
    first = make("writer")
    others = [make("flight", "writer", "web"), make("web", "writer", "flight")]
    facts = start_in_order([first, *others], threading.Event())
    assert facts == {name: {"name": name} for name in ("writer", "flight", "web")}
    assert not any(child.has_ended() for child in (first, *others))


def test_nothing_is_started_beside_a_writer_that_failed(make, tmp_path):
    children = [make("writer", body="raise SystemExit(1)"), make("web")]
    with pytest.raises(ChildFailed, match="writer did not start"):
        start_in_order(children, threading.Event())
    assert not (tmp_path / "web").exists()


def test_who_was_launched_beside_one_that_failed_is_stopped_with_the_rest(make, tmp_path):
    web = make("web")
    children = [make("writer"), make("flight", body="raise SystemExit(1)"), web]
    with pytest.raises(ChildFailed, match="flight did not start"):
        start_in_order(children, threading.Event())
    until((tmp_path / "web").exists)
    assert not web.has_ended()
    stop_in_order(children[::-1])
    assert web.has_ended()


def test_a_stop_before_the_writer_is_ready_starts_no_more(make, tmp_path):
    stopping = threading.Event()
    stopping.set()
    assert start_in_order([make("writer"), make("web")], stopping) == {}
    assert list(tmp_path.iterdir()) == []


DEAF = f"""
import os, signal, time
from core import children
children.PARENT_LOOK_S = children.ORPHAN_S_MAX = 0.2
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def live(ready):
    ready({{}})
    print(os.getpid(), flush=True)
    time.sleep(60)

children.run_child(int(os.environ["{READY_FD}"]), live)
"""
PARENT = """
import os, sys, time
from core.children import Child, ChildSpec
from core.clock import SystemClock
spec = ChildSpec("deaf", (sys.executable, "-c", sys.argv[1]))
Child(spec, dict(os.environ), SystemClock()).start()
time.sleep(60)
"""


def test_a_child_that_heeds_nothing_does_not_outlive_its_parent():
    command = [sys.executable, "-c", PARENT, DEAF]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, signal.SIGTERM)
        parent.kill()
        # Nobody but the child has the other end any more.
        assert parent.stdout.read() == b""
    until(lambda: not Path(f"/proc/{child}").exists() or is_zombie(child))


def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
