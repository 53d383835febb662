"""Processes of the house: the writer first, then the others side by side."""

import os
import sys
import threading

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
