"""Keeps the interpreter's state of a gRPC thread from the first callback of a call to its last.

gRPC's threads are not Python's: CPython makes a thread state for every callback into one of them
and takes it down afterwards, and with it maps and unmaps a stack, which interrupts every core the
process runs on. A short answer has five callbacks, and this was a sixth of its time. A call holds
one more count on the state of its thread, by the interpreter's own reference count of it.
"""

import ctypes
import threading
from typing import Final

_ensure = ctypes.pythonapi.PyGILState_Ensure
_release = ctypes.pythonapi.PyGILState_Release
_LOCKED: Final = 0  # PyGILState_STATE: whoever runs keeps the interpreter's lock


_held: set[int] = set()


def hold_thread_state() -> None:
    """Keep the calling thread's state until what a call takes over is let go."""
    _ensure()
    _held.add(threading.get_ident())


def take_held_thread() -> int | None:
    """The calling thread where its state is held, for the call that lets it go; taken once."""
    thread = threading.get_ident()
    if thread not in _held:
        return None
    _held.discard(thread)
    return thread


def let_thread_state_go(thread: int) -> None:
    """Give the count back, in the thread that took it; from another one nothing can be done."""
    if threading.get_ident() == thread:
        _release(_LOCKED)
