"""Every example, and the client the README opens with, run against the demo market."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import running_server
from tests.fakes.deadline import until
from tests.fakes.redis_server import running_redis
from tests.tidy.tree import ROOT, files, text

EXAMPLES = [path for path in files() if path.parts[0] == "examples" and path.suffix == ".py"]
EXAMPLE_LINES_MAX = 40
RUN_S_MAX = 60
SYMBOLS = ("MES", "MNQ", "NQ", "SPY", "QQQ", "VIX")


@pytest.fixture(scope="module")
def mirrored_server(tmp_path_factory):
    """The demo market with a Redis beside it that has its trades."""
    folder = tmp_path_factory.mktemp("mirrored")
    with (
        running_redis(folder / "redis") as redis,
        running_server(folder, "--demo", settings={"REDIS_URL": redis.url}) as server,
        redis.client() as client,
    ):
        until(lambda: client.exists("tickflight:latest:MNQ"), RUN_S_MAX)
        yield server


def run(code: list[str], server) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *code],
        cwd=ROOT,
        env=server.env(),
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_an_example_runs_and_shows_something(path, request):
    needs_redis = path.name.startswith("redis_")
    server = request.getfixturevalue("mirrored_server" if needs_redis else "demo_server")
    assert run([str(path)], server).strip()


@pytest.mark.parametrize("path", EXAMPLES, ids=str)
def test_an_example_can_be_read_at_once(path):
    assert len(text(path).splitlines()) <= EXAMPLE_LINES_MAX
    assert text(path).startswith('"""')


def test_the_examples_are_listed_in_the_readme():
    listed = set(re.findall(r"\(examples/(\w+\.py)\)", text(Path("README.md"))))
    assert listed == {path.name for path in EXAMPLES}


def test_the_readmes_first_client_is_ten_lines_and_runs_as_it_stands(demo_server):
    (code, *_) = re.findall(r"^```python\n(.*?)^```", text(Path("README.md")), re.M | re.S)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    deadline_s = time.monotonic() + RUN_S_MAX
    while not set(SYMBOLS) <= set(re.findall(r"\w+", run(["-c", code], demo_server))):
        assert time.monotonic() < deadline_s, "not every symbol has traded"
