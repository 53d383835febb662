"""The socket of a tab: it says which topics it wants, the hub's frames go out, latest wins."""

from functools import partial

import anyio
import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from core.errors import AccessError, PipelineError
from core.log import Log
from webui.access import SCOPES_IN, Gate, Visitor, check_origin
from webui.hub import WATCHERS_MAX, Hub, Watcher
from webui.wire import EXTENSION, Wire

CLOSE_LOGIN = 4401
CLOSE_BUSY = 1013
CLOSE_GARBLED = 1007
log = Log("web")


class Stream:
    """The endpoint `/ui/stream`."""

    def __init__(self, hub: Hub, gate: Gate, build: str) -> None:
        self._hub = hub
        self._gate = gate
        self._build = build

    async def serve(self, socket: WebSocket) -> None:
        """One tab, until it goes or its session ends."""
        visitor = self._admit(socket)
        if visitor is None:
            await socket.close(1008)  # before accept: the browser sees HTTP 403
            return
        await socket.accept()
        if len(self._hub.watchers) >= WATCHERS_MAX:
            await socket.close(CLOSE_BUSY)
            return
        try:
            await socket.send_json({"hello": {"build": self._build}})
            code = await self._follow(socket, visitor)
            if code is not None:
                await socket.close(code)
        except (WebSocketDisconnect, RuntimeError):
            log.debug("socket.gone")  # between our look and our send

    def _admit(self, socket: WebSocket) -> Visitor | None:
        try:
            check_origin(socket)
            visitor = self._gate.visitor(socket)
            if visitor is not None:
                visitor.require(*SCOPES_IN)
                visitor.require_all_symbols()
            return visitor
        except AccessError as error:
            log.warning("socket.refused", why=error.message)
            return None

    async def _follow(self, socket: WebSocket, visitor: Visitor) -> int | None:
        """Have the hub write to the socket until it ends; with which code to close it, if at all.

        Messages are answered where they come in; those in pieces are read here.
        """
        wire: Wire = socket.scope["extensions"][EXTENSION]["wire"]
        with anyio.CancelScope() as until:
            is_over = partial(self._is_over, socket)
            watcher = Watcher(visitor.session_id, wire, is_over, until.cancel)
            wire.on_text = partial(self._take, watcher)
            self._hub.watchers.add(watcher)
            try:
                while True:
                    self._take(watcher, await socket.receive_text())
            except (WebSocketDisconnect, KeyError):  # KeyError: bytes, which no page of ours sends
                return None
            finally:
                wire.on_text = None
                self._hub.watchers.discard(watcher)
        return CLOSE_LOGIN if watcher.is_revoked else CLOSE_GARBLED

    def _is_over(self, socket: WebSocket) -> bool:
        try:
            return self._gate.visitor(socket) is None
        except PipelineError:
            return True

    def _take(self, watcher: Watcher, raw: bytes | str) -> None:
        try:
            message = orjson.loads(raw)
        except ValueError:
            watcher.end()
            return
        match message:
            case {"ack": int(number)}:
                watcher.ack(number)
                return  # what is new goes out with the next round
            case {"sub": list(topics)}:
                watcher.want([topic for topic in topics if isinstance(topic, str)])
            case {"pause": bool(is_paused)}:
                watcher.pause(is_paused)
            case _:
                return
        self._hub.offer(watcher)
