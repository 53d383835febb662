"""Waits for a condition with a deadline."""

import threading
import time


def until(condition, seconds=10.0):
    """Return what `condition` gives once it is true; fail after a while."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        pause.wait(0.002)
    return found
