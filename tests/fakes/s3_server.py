"""A private S3 store on a free port: moto, a program of its own, ours to pause and to cut off.

`link` is a second way to it, on another port, that can be cut and mended: what a network does. With
`is_strict` it judges signatures as AWS does, and knows one key with every right.
"""

import json
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from urllib.request import Request, urlopen

import boto3

from tests.fakes.deadline import until
from tests.fakes.program import Program

REGION = "us-east-1"
RULE = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
RIGHTS = json.dumps({"Version": "2012-10-17", "Statement": [RULE]})
FIRST_CALLS = 4  # which make the bucket, the user, its rights and its key


class S3Server(Program):
    def __init__(self, folder, *, bucket="tape", is_strict=False):
        self.bucket = bucket
        self.key, self.secret = "KEY", "SECRET-OF-THE-BUCKET"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        calls = FIRST_CALLS if is_strict else 10**9
        with (folder / "s3.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                env={"INITIAL_NO_AUTH_ACTION_COUNT": str(calls), "PYTHONDONTWRITEBYTECODE": "1"},
                stdout=log,
                stderr=log,
            )
        try:
            until(self._answers)
            self._fill(is_strict)
        except BaseException:
            self.stop()
            raise

    def settings(self, prefix="lake", url=None, **more):
        return {
            "LAKE_URL": f"s3://{self.bucket}/{prefix}",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": url or self.url,
            **more,
        }

    def client(self, service="s3"):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )

    def keys(self, prefix=""):
        pages = (
            self.client()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=self.bucket, Prefix=prefix)
        )
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def _answers(self):
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def _fill(self, is_strict):
        urlopen(Request(f"{self.url}/{self.bucket}", method="PUT")).read()
        if is_strict:
            iam = self.client("iam")
            iam.create_user(UserName="tape")
            iam.put_user_policy(UserName="tape", PolicyName="all", PolicyDocument=RIGHTS)
            made = iam.create_access_key(UserName="tape")["AccessKey"]
            self.key, self.secret = made["AccessKeyId"], made["SecretAccessKey"]


@contextmanager
def running_s3(folder, **options):
    server = S3Server(folder, **options)
    try:
        yield server
    finally:
        server.stop()


class Link:
    """A way to a port that can be cut: then nothing passes and nobody is let in."""

    def __init__(self, port):
        self._far = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._is_cut = False
        self._ends = []
        self._lock = threading.Lock()
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        with self._lock:
            self._is_cut = True
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._ends.clear()

    def mend(self):
        self._is_cut = False

    def close(self):
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._far))
                with self._lock:
                    self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def linked(server):
    link = Link(server.port)
    try:
        yield link
    finally:
        link.close()
