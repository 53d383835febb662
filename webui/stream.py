"""The socket of a tab: it says which topics it wants, the hub's frames go out, latest wins."""

import anyio
import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from core.errors import AccessError, PipelineError
from core.log import Log
from webui.access import SCOPES_IN, Gate, Visitor, check_origin
from webui.hub import WATCHERS_MAX, Hub, Watcher

CLOSE_LOGIN = 4401
CLOSE_BUSY = 1013
RECHECK_TICKS = 20  # about two seconds
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
        watcher = Watcher(visitor.session_id)
        self._hub.watchers.add(watcher)
        try:
            await socket.send_json({"hello": {"build": self._build}})
            async with anyio.create_task_group() as both:
                both.start_soon(self._send, socket, watcher, both.cancel_scope)
                await self._receive(socket, watcher)
                both.cancel_scope.cancel()
        finally:
            self._hub.watchers.discard(watcher)

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

    async def _send(self, socket: WebSocket, watcher: Watcher, scope: anyio.CancelScope) -> None:
        rounds, is_there = 0, True
        while is_there:
            await self._hub.turn()
            rounds += 1
            if rounds % RECHECK_TICKS == 0:
                watcher.is_revoked |= self._is_over(socket)
            is_there = await self._offer(socket, watcher)
        scope.cancel()

    async def _offer(self, socket: WebSocket, watcher: Watcher) -> bool:
        """Send what is new; whether the tab is still to be served."""
        try:
            if watcher.is_revoked:
                await socket.close(CLOSE_LOGIN)
                return False
            if watcher.may_send and (found := self._hub.frame(watcher)):
                await socket.send_text(found[1])
        except (WebSocketDisconnect, RuntimeError):
            log.debug("socket.gone")  # between our look and our send
            return False
        return True

    def _is_over(self, socket: WebSocket) -> bool:
        try:
            return self._gate.visitor(socket) is None
        except PipelineError:
            return True

    async def _receive(self, socket: WebSocket, watcher: Watcher) -> None:
        while True:
            try:
                message = orjson.loads(await socket.receive_text())
            except (WebSocketDisconnect, KeyError):
                return
            except ValueError:
                await socket.close(1007)
                return
            if not isinstance(message, dict):
                continue
            match message:
                case {"sub": list(topics)}:
                    watcher.want([topic for topic in topics if isinstance(topic, str)])
                case {"ack": int(number)}:
                    watcher.ack(number)
                    continue  # what is new goes out with the next round
                case {"pause": bool(is_paused)}:
                    watcher.is_paused = is_paused
                    watcher.unacked.clear()
            if not await self._offer(socket, watcher):
                return
