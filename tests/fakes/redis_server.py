"""A private redis-server on a free port: real, and ours to pause, flush and kill."""

import socket
import subprocess
from contextlib import contextmanager, suppress

import redis

from tests.fakes.deadline import until
from tests.fakes.program import Program


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class RedisServer(Program):
    """Started in a folder of its own; `restart` keeps port and folder."""

    def __init__(self, folder, *options, scheme="redis", user="", query=""):
        self.folder = folder
        self.port = free_port()
        self.url = f"{scheme}://{user}127.0.0.1:{self.port}/0{query}"
        self._options = options
        self._scheme = scheme
        self.process = None
        self.start()

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = ("--port", str(self.port))
        if self._scheme == "rediss":
            ports = ("--port", "0", "--tls-port", str(self.port))
        command = ["redis-server", *ports, "--bind", "127.0.0.1", "--dir", str(self.folder)]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--save", "", *self._options], stdout=log, stderr=log
            )
        try:
            until(self._answers)
        except BaseException:
            self.kill()
            raise

    def client(self):
        return redis.Redis.from_url(self.url)

    def _answers(self):
        with suppress(redis.ConnectionError), self.client() as client:
            return client.ping()

    def restart(self):
        self.kill()
        self.start()


@contextmanager
def running_redis(folder, *options, **address):
    server = RedisServer(folder, *options, **address)
    try:
        yield server
    finally:
        server.stop()
