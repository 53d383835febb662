"""The whole web application over ASGI on a real store, with a clock that stands still."""

import anyio
import httpx
import numpy as np
from starlette.testclient import TestClient

from core.batch import TickBatch
from core.board import Board
from core.settings import load_settings
from flight_server.keys import KeyRequest, KeyRing
from storage.disk import OsDisk
from storage.paths import Paths
from storage.store import Store, StoreOptions
from tests.fakes.manual_clock import ManualClock
from webui.app import make_app
from webui.edge import own_aliases, own_names
from webui.house import open_house
from webui.wire import EXTENSION

HOST = "127.0.0.1:8877"
ORIGIN = f"http://{HOST}"
FROM_US = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}


class Deaf:
    """Stands where the server's socket hands itself on; messages come the long way."""

    on_text = None

    def write(self, frame):
        return True


class Site:
    """A data folder with a writer, the boards of two processes, and the pages over it."""

    def __init__(self, folder, *, is_demo=True, has_store=True):
        self.clock = ManualClock()
        self.paths = Paths(folder)
        self.paths.run.mkdir(parents=True, exist_ok=True)
        self.settings = load_settings(
            {"DATA_DIR": str(folder)}, environ={}, env_file=folder / "no.env"
        )
        self.store = None
        if has_store:
            self.store = Store.open(self.paths, StoreOptions(), disk=OsDisk(), clock=self.clock)
        self.boards = {name: Board(name, self.clock) for name in ("flight", "ingest")}
        self.publish()
        self.house = open_house(self.settings, self.clock, is_demo=is_demo)
        self.names = own_names("127.0.0.1", 8877)
        self.app = make_app(
            self.house.routes,
            self.house.stream,
            self.names,
            own_aliases("127.0.0.1", 8877),
            apology=self.house.apology,
        )
        self.cookies = httpx.Cookies()

    def close(self):
        if self.store is not None:
            self.store.close()

    def publish(self):
        for board in self.boards.values():
            board.publish(self.paths.status(board.process))

    def look(self):
        self.house.hub.gatherer.look()

    def trade(self, symbol, price, *, size=1, age_s=0.0, rows=1):
        """Append trades of one price, `age_s` before now."""
        now_us = self.clock.now_ns() // 1_000 - int(age_s * 1e6)
        columns = {
            "ts_event": np.full(rows, now_us, np.int64),
            "ts_recv": np.full(rows, now_us, np.int64),
            "price": np.full(rows, float(price)),
            "size": np.full(rows, size, np.int64),
        }
        self.store.append(TickBatch("trades", symbol, f"{symbol}Z26", "demo", columns))

    def key(self, name, *scopes, symbols=()):
        ring = KeyRing(self.paths.keys, disk=OsDisk(), clock=self.clock)
        return ring.create(KeyRequest(name, scopes, symbols))

    def ask(self, path, *, method="GET", host=HOST, headers=None, client=HOST, **body):
        """One request; cookies are kept between requests."""

        async def exchange():
            transport = httpx.ASGITransport(
                self.app, raise_app_exceptions=True, client=(client.split(":")[0], 50_000)
            )
            async with httpx.AsyncClient(
                transport=transport, base_url=f"http://{HOST}", cookies=self.cookies
            ) as browser:
                answer = await browser.request(
                    method, path, headers={"host": host, **(headers or {})}, **body
                )
                self.cookies.update(browser.cookies)
                return answer

        return anyio.run(exchange)

    def socket(self, *, origin=ORIGIN, host=HOST):
        """The stream's socket as a context manager; frames stay here, for want of a wire."""

        async def app(scope, receive, send):
            extensions = {**scope["extensions"], EXTENSION: {"wire": Deaf()}}
            await self.app({**scope, "extensions": extensions}, receive, send)

        client = TestClient(app, base_url=f"http://{HOST}", client=("127.0.0.1", 50_000))
        client.cookies.update(dict(self.cookies))
        return client.websocket_connect(
            f"ws://{HOST}/ui/stream", headers={"origin": origin, "host": host}
        )
