"""GEXBot on a real socket: every route and error of its API, and files that mean harm.

`with GexbotServer() as gexbot:` answers on `gexbot.url`. What a path answers next can be set in
`answers`; what was asked is in `calls`.
"""

import gzip
import io
import json
import socket
import threading
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes import gexbot_made as made
from tests.fakes.deadline import until

KEY = "gexbot_custom_s3cret"
TICKERS = {
    "stocks": ["AAPL", "SPY", "QQQ"],
    "indexes": ["NDX", "RUT", "SPX", "VIX"],
    "futures": ["ES_SPX", "NQ_NDX"],
}
CATEGORIES = {"classic": ["gex_full", "gex_zero", "gex_one"], "orderflow": ["orderflow"]}
CATEGORIES["state"] = [*CATEGORIES["classic"], "gamma_zero", "delta_one"]


def error(status, text, headers=None):
    return JSONResponse({"error": text}, status, headers=headers)


@dataclass
class Call:
    """One request as it came."""

    path: str
    headers: dict
    query: dict
    port: int = 0


@dataclass
class GexbotServer:
    """The service; `second` is the source time of its snapshots."""

    second: int = made.OPEN_S
    tls: object = None  # a trustme certificate, to answer over https
    answers: dict = field(default_factory=lambda: defaultdict(list))
    files: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        config = uvicorn.Config(self._app(), log_config=None, access_log=False, ws="none")
        config.load()
        if self.tls:
            import ssl

            config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.configure_cert(config.ssl)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        until(lambda: self._server.started)
        return self

    def __exit__(self, *_):
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    def count(self, path):
        """How often a path was asked for."""
        return sum(call.path == path for call in self.calls)

    def _app(self):
        tellers = {
            "/tickers": lambda _: JSONResponse(TICKERS),
            "/whoami": lambda _: JSONResponse({"levels": ["classic"]}),
            "/{package}/categories": self._categories,
            "/futures/conversion": self._conversion,
            "/options/{ticker}/expiries": lambda _: error(403, "Not in your subscription."),
            "/hist/eod/{ticker}": lambda asked: self._file(
                f"eod/{asked.path_params['ticker']}.zip"
            ),
            "/hist/{ticker}/{package}/{category}/{date}": self._history,
            "/files/{name:path}": lambda asked: self._file(asked.path_params["name"]),
            "/{ticker}/{package}/{category}": self._snapshot,
            "/{ticker}/{package}/{category}/{part}": self._snapshot,
        }
        routes = [
            Route(base + path, self._answering(tell))
            for base in ("/v2", "")
            for path, tell in tellers.items()
        ]
        nothing = Route("/{rest:path}", self._answering(lambda _: error(404, "Not found.")))
        return Starlette(routes=[*routes, nothing])

    def _answering(self, tell):
        async def answer(request):
            path = request.url.path
            query = dict(request.query_params)
            self.calls.append(Call(path, dict(request.headers), query, request.client.port))
            planned = self.answers[path].pop(0) if self.answers[path] else None
            if isinstance(planned, float):
                await anyio.sleep(planned)
                return JSONResponse({})
            return planned or self._wrong(request) or tell(request)

        return answer

    def _wrong(self, request):
        """What is wrong with who asks."""
        path = request.url.path.removeprefix("/v2")
        if not request.headers.get("user-agent"):
            return error(400, "User-Agent header not found.")
        if path == "/tickers" or path.endswith("/categories") or path.startswith("/files/"):
            return None
        given = request.headers.get("authorization", request.query_params.get("key"))
        if given is None:
            return error(400, "Authorization header not found.")
        if given not in (f"Bearer {KEY}", KEY):
            return error(401, "Invalid API key.")
        ticker = request.path_params.get("ticker", "SPX")
        known = [name for group in TICKERS.values() for name in group]
        return None if ticker in known else error(404, "Not found.")

    def _categories(self, request):
        found = CATEGORIES.get(request.path_params["package"])
        return JSONResponse(found) if found else error(404, "Not found.")

    def _conversion(self, request):
        if request.query_params.get("ticker") != "NDX":
            return error(400, "Invalid pair.")
        return JSONResponse({"future_contract": "NQZ6", "multiplier": 1, "additive": 112.35})

    def _eod(self, request):
        return self._file(f"eod/{request.path_params['ticker']}.zip")

    def _history(self, request):
        want = request.path_params
        name = f"{want['date']}_{want['ticker']}_{want['package']}_{want['category']}.json.gz"
        url = f"{self.url}/files/{name}?sig=S"
        if "noredirect" in request.query_params:
            return JSONResponse({"url": url})
        return RedirectResponse(url, 302)

    def _snapshot(self, request):
        want = request.path_params
        ticker, package, category = want["ticker"], want["package"], want["category"]
        if package == "orderflow":
            return JSONResponse(made.orderflow(self.second, ticker))
        if package == "state" and not category.startswith("gex_"):
            return JSONResponse(made.greeks(self.second, ticker))
        if package not in ("classic", "state"):
            return error(404, "Not found.")
        make = {"majors": made.majors, "maxchange": made.maxchange, None: made.chain}.get(
            want.get("part")
        )
        if make is None:
            return error(404, "Not found.")
        return JSONResponse(make(self.second, ticker))

    def _file(self, name):
        found = self.files.get(name)
        if found is None:
            return error(404, "The specified blob does not exist.")
        if isinstance(found, bytes):
            return Response(found, media_type="application/octet-stream")
        return found() if callable(found) else found


def day_json(seconds, ticker="NQ_NDX", **more):
    """A history file's JSON."""
    return json.dumps([made.chain(second, ticker, **more) for second in seconds]).encode()


def bomb(inflated_bytes=64 * 2**20):
    """A small gzip of a large nothing."""
    return gzip.compress(b" " * inflated_bytes, 9)


def eod_zip(seconds, ticker="NQ_NDX", date="2026-11-20", categories=("gex_zero", "gex_full")):
    """The end-of-day archive of one ticker."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for category in categories:
            name = f"{ticker}/classic/{category}/{date}_{ticker}_classic_{category}.json.gz"
            archive.writestr(name, gzip.compress(day_json(seconds, ticker)))
    return sink.getvalue()


def endless(said_bytes=2 * 2**30, real_bytes=24 * 2**20):
    """A file that claims to be two gigabytes and goes on for longer than anybody should listen."""
    piece = json.dumps(made.chain()).encode() + b","

    async def body():
        yield b"["
        for _ in range(real_bytes // len(piece)):
            yield piece
            await anyio.lowlevel.checkpoint()

    return StreamingResponse(body(), headers={"content-length": str(said_bytes)})
