"""The service the feed is measured against, in a process of its own, and clients that hear it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The vendor's client as its documentation shows it, with the login left out.
SDK_CLIENT = """
import asyncio, json, logging, sys, time
from tastytrade import DXLinkStreamer
from tastytrade.dxfeed import TimeAndSale
logging.getLogger("tastytrade").setLevel(logging.WARNING)
class Open:
    client_kwargs = {}
    async def _get(self, path, **rest):
        return {"dxlink-url": sys.argv[1], "token": "QT"}
async def main():
    wanted = int(sys.argv[2])
    async with DXLinkStreamer(Open()) as streamer:
        await streamer.subscribe(TimeAndSale, ["MES", "MNQ", "NQ", "SPY", "QQQ"])
        seen = 0
        async for event in streamer.listen(TimeAndSale):
            seen += 1
            if seen == 1:
                started = time.process_time()
            if seen == wanted:
                break
        cost = time.process_time() - started
        print(json.dumps({"rows": seen - 1, "cpu_s": cost}), flush=True)
asyncio.run(main())
"""


class FeedServer:
    """The running service."""

    def __init__(self, process: "subprocess.Popen[str]", web_port: int, url: str) -> None:
        self._process = process
        self.web_port = web_port
        self.url = url

    def ours(self, rows: int, per: int, rate: int) -> dict[str, Any]:
        """What prints cost our client."""
        return self._run([sys.executable, "-m", "bench.feed_client"], rows, per, rate)

    def theirs(self, rows: int, per: int) -> dict[str, Any]:
        """What prints cost the vendor's client."""
        return self._run([sys.executable, "-c", SDK_CLIENT], rows, per, 0)

    def send(self, rows: int, per: int, rate: int) -> None:
        """Let prints happen."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{rows} {per} {rate}\n")
        self._process.stdin.flush()

    def _run(self, client: list[str], rows: int, per: int, rate: int) -> dict[str, Any]:
        command = [*client, self.url, str(rows)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.send(rows, per, rate)
        out, _ = process.communicate(timeout=120)
        told: dict[str, Any] = json.loads(out)
        return told


@contextmanager
def feed_server() -> Iterator[FeedServer]:
    """A service in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.feed_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port, url = process.stdout.readline().split()
        yield FeedServer(process, int(port), url)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
