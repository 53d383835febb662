"""How long a command takes and how much memory it has at its peak."""

import subprocess
import sys
from collections.abc import Sequence

from core.clock import NS_PER_S, SystemClock

KIB_PER_MIB = 1024
# A started process begins with the peak of the one that starts it, so a small one does that.
_STARTER = """
import os, sys
null = os.open(os.devnull, os.O_WRONLY)
silent = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run_to_peak(command: Sequence[str]) -> tuple[float, float]:
    """Run a command that must succeed; give seconds and peak MiB of resident memory."""
    clock = SystemClock()
    began_ns = clock.monotonic_ns()
    done = subprocess.run(
        [sys.executable, "-ISc", _STARTER, *command], stdout=subprocess.PIPE, check=True
    )
    seconds = (clock.monotonic_ns() - began_ns) / NS_PER_S
    return seconds, int(done.stdout) / KIB_PER_MIB
