"""A whole tickflight, started for a measurement, and the bare Flight server it is held against."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow import flight

READY = re.compile(r"ready flight=(\S+) web=(\S+) key=(\S+)")
FLOOR_SERVER = """
import sys
import pyarrow as pa, pyarrow.flight as flight
class Floor(flight.FlightServerBase):
    def __init__(self):
        super().__init__("grpc://127.0.0.1:0")
        self.batches = None
    def do_action(self, context, action):
        return []
    def do_put(self, context, descriptor, reader, writer):
        table = reader.read_all()
        self.schema, self.batches = table.schema, table.to_batches()
    def do_get(self, context, ticket):
        return flight.RecordBatchStream(
            pa.RecordBatchReader.from_batches(self.schema, self.batches))
server = Floor()
print(server.port, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class House:
    """A running tickflight and a client that may ask it anything."""

    client: flight.FlightClient
    options: flight.FlightCallOptions
    data_dir: Path
    web_url: str


@contextmanager
def running_house(rate: int, settings: Mapping[str, str] | None = None) -> Iterator[House]:
    """`tickflight up --demo` at a rate, on free ports, in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-") as folder:
        command = [sys.executable, "-m", "tickflight", "up", "--demo", "--demo-rate", str(rate)]
        command += ["--data-dir", folder, "--flight-port", "0", "--web-port", "0"]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(settings or {})},  # noqa: TID251
        )
        try:
            assert process.stdout is not None
            found = READY.match(process.stdout.readline())
            assert found is not None, "tickflight did not start"
            client = flight.connect(found[1])
            options = flight.FlightCallOptions(
                headers=[(b"authorization", b"Bearer " + found[3].encode())]
            )
            yield House(client, options, Path(folder), found[2])
            client.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextmanager
def floor_server() -> Iterator[flight.FlightClient]:
    """An idle, unauthenticated pyarrow server in another process, with the same gRPC settings."""
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOR_SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),  # noqa: TID251 - with the same gRPC settings
    )
    try:
        assert process.stdout is not None
        client = flight.connect(f"grpc://127.0.0.1:{int(process.stdout.readline())}")
        yield client
        client.close()
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
