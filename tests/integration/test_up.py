"""`tickflight up` where it cannot run: what it says, and what it leaves as it was."""

import subprocess
import sys

from core.clock import SystemClock
from flight_server.keys import SCOPES, KeyRequest, KeyRing
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store
from tests.conftest import clean_env


def up(folder, *arguments):
    """Start it, where it must end by itself; give its exit code and its words."""
    command = [sys.executable, "-m", "tickflight", "up", *arguments]
    command += ["--flight-port", "0", "--web-port", "0"]
    done = subprocess.run(
        command, env=clean_env(), cwd=folder, capture_output=True, check=False, timeout=60
    )
    return done.returncode, done.stderr.decode()


def test_a_demo_that_may_not_write_here_leaves_the_running_demos_key_alone(tmp_path):
    ring = KeyRing(Paths(tmp_path).keys, disk=OsDisk(), clock=SystemClock())
    ring.create(KeyRequest("demo", SCOPES))
    store = Store.open(Paths(tmp_path), disk=OsDisk(), clock=SystemClock())
    try:
        code, said = up(tmp_path, "--demo", "--data-dir", str(tmp_path))
    finally:
        store.close()
    assert code == 1
    assert "already writes" in said
    (record,) = ring.records()
    assert record.revoked_ns is None
