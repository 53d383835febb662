"""The web half of the fake: OAuth, quote tokens and instruments over plain HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def future(symbol, streamer, root, *, is_front=False, is_next=False, expires="2026-12-18"):
    """A futures instrument with every field the service gives."""
    return {
        "symbol": symbol,
        "streamer-symbol": streamer,
        "product-code": root,
        "instrument-type": "Future",
        "tick-size": "0.25",
        "notional-multiplier": "2.0",
        "display-factor": "0.01",
        "last-trade-date": expires,
        "expiration-date": expires,
        "active": True,
        "active-month": is_front,
        "next-active-month": is_next,
        "is-closing-only": False,
        "stops-trading-at": f"{expires}T14:30:00.000+00:00",
        "expires-at": f"{expires}T14:30:00.000+00:00",
        "product-group": "CME_MICRO",
        "exchange": "CME",
        "streamer-exchange-code": "XCME",
        "back-month-first-calendar-symbol": False,
        "is-tradeable": True,
    }


class RestServer:
    """`with RestServer(dxlink_url) as rest:` answers on `rest.url`."""

    def __init__(self, dxlink_url="ws://127.0.0.1:9/realtime"):
        self.dxlink_url = dxlink_url
        self.level = "api"
        self.futures = [
            future("/MNQZ6", "/MNQZ26:XCME", "MNQ", is_front=True),
            future("/MNQH7", "/MNQH27:XCME", "MNQ", is_next=True, expires="2027-03-19"),
        ]
        self.failures = []  # (status, body) answered to the next calls for a token
        self.answers = {}  # path: (status, body) to answer with
        self.secret, self.refresh = "secret", "refresh"
        self.token_calls = 0
        self.quote_tokens = []
        self._access = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, body):
        """POST /oauth/token."""
        self.token_calls += 1
        if self.failures:
            return self.failures.pop(0)
        wanted = ("refresh_token", self.secret, self.refresh)
        if tuple(map(body.get, ("grant_type", "client_secret", "refresh_token"))) != wanted:
            return 400, {"error_code": "invalid_grant", "error_description": "Grant revoked"}
        self._access = f"AT-{self.token_calls}"
        return 200, {"access_token": self._access, "token_type": "Bearer", "expires_in": 900}

    def get(self, path, query, headers):
        """Everything that needs an access token."""
        if headers.get("Authorization") != f"Bearer {self._access}" or not headers["User-Agent"]:
            return 401, {"error": {"code": "token_invalid", "message": "wrong token"}}
        if path in self.answers:
            return self.answers[path]
        if path == "/api-quote-tokens":
            self.quote_tokens.append(f"QT-{len(self.quote_tokens) + 1}")
            data = {"token": self.quote_tokens[-1], "dxlink-url": self.dxlink_url}
            return 200, {"data": {**data, "level": self.level}, "context": path}
        if path == "/instruments/futures":
            roots = query.get("product-code[]", [])
            items = [item for item in self.futures if item["product-code"] in roots]
            pages = {"per-page": 250, "page-offset": 0, "total-pages": 1}
            pages["total-items"] = len(items)
            return 200, {"data": {"items": items}, "pagination": pages, "context": path}
        return 404, {"error": {"code": "not_found", "message": path}}

    def _handler(rest):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(*rest.token(json.loads(body)))

            def do_GET(self):
                url = urlsplit(self.path)
                self._answer(*rest.get(url.path, parse_qs(url.query), self.headers))

            def _answer(self, status, body):
                raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

        return Handler
