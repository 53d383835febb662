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


def test_a_data_folder_that_cannot_be_used_is_a_setting_to_correct(tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, said = up(tmp_path, "--data-dir", str(tmp_path / "file" / "data"))
    assert code == 2
    assert "Traceback" not in said
    assert "cannot be used: Not a directory" in said
    assert "give a folder" in said


def test_a_rate_no_demo_can_have_is_bad_usage(tmp_path):
    code, said = up(tmp_path, "--demo", "--demo-rate", "-5")
    assert code == 2
    assert "--demo-rate: expected 1 to" in said
    assert not (tmp_path / "data").exists()


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
