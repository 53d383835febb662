"""The Model Context Protocol as bytes and headers say it: one message in, one answer out. Pure.

Two eras are spoken. Since revision 2026-07-28 each request carries its version and the client's
capabilities itself, and headers repeat what is in the body. Before, a client began with the
handshake `initialize`; a request that names no version is of that era. Neither needs anything to be
kept between two requests here. Batches, which one early revision had, are refused.
Source of the format: modelcontextprotocol.io/specification, pages basic, transports and tools.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

MODERN: Final = ("2026-07-28",)
HANDSHAKE: Final = ("2025-11-25", "2025-06-18", "2025-03-26")  # newest first
VERSIONS: Final = (*MODERN, *HANDSHAKE)
VERSION_HEADER: Final = "mcp-protocol-version"
METHOD_HEADER: Final = "mcp-method"
NAME_HEADER: Final = "mcp-name"
CACHED: Final = {"ttlMs": 60_000, "cacheScope": "private"}

PARSE_ERROR, INVALID_REQUEST = -32700, -32600
METHOD_NOT_FOUND, INVALID_PARAMS = -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022

_META = "io.modelcontextprotocol/"
_BASE64 = ("=?base64?", "?=")
Json = dict[str, object]
Id = str | int | None


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or a notification where `id` is None."""

    id: Id
    method: str
    params: Json
    is_modern: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a message, and the HTTP status that goes with it."""

    code: int
    message: str
    id: Id = None
    status: int = 400
    data: Json = field(default_factory=dict)

    def answer(self) -> Json:
        """The JSON-RPC error."""
        error: Json = {"code": self.code, "message": self.message}
        if self.data:
            error["data"] = self.data
        return {"jsonrpc": "2.0", "id": self.id, "error": error}


def parse_message(body: bytes, headers: Iterable[tuple[str, str]]) -> Message | Fault:
    """Read one POST; header names are in lower case."""
    message = _parse_body(body)
    if isinstance(message, Fault):
        return message
    told, twice = _routing(headers)
    version = told.get(VERSION_HEADER)
    if twice:
        return Fault(HEADER_MISMATCH, f"the header {twice} is there more than once", message.id)
    if version is not None and version not in VERSIONS:
        data: Json = {"supported": list(VERSIONS), "requested": version}
        return Fault(UNSUPPORTED_VERSION, "Unsupported protocol version", message.id, data=data)
    message = replace(message, is_modern=version in MODERN)
    fault = None if message.id is None else _check_envelope(message, told)
    return fault or message


def complete(message: Message, result: Json, server: Json) -> Json:
    """The answer to a request, with what its era wants to find there."""
    if message.is_modern:
        result = {**result, "resultType": "complete", "_meta": {f"{_META}serverInfo": server}}
    return {"jsonrpc": "2.0", "id": message.id, "result": result}


def unknown_method(message: Message) -> Fault:
    """The fault of a method that is not there; only the modern era gives it a status."""
    status = 404 if message.is_modern else 200
    return Fault(METHOD_NOT_FOUND, f"Method not found: {message.method[:80]}", message.id, status)


def bad_params(message: Message, why: str) -> Fault:
    """The fault of params that do not fit their method."""
    return Fault(INVALID_PARAMS, why, message.id, 400 if message.is_modern else 200)


def agreed_version(params: Mapping[str, object]) -> str:
    """The version of the handshake: what the client asks for where it is spoken here."""
    wanted = params.get("protocolVersion")
    return wanted if isinstance(wanted, str) and wanted in HANDSHAKE else HANDSHAKE[0]


def _parse_body(body: bytes) -> Message | Fault:
    try:
        found = orjson.loads(body)
    except ValueError:
        return Fault(PARSE_ERROR, "expected one JSON-RPC message, found something else than JSON")
    if not isinstance(found, dict) or found.get("jsonrpc") != "2.0":
        return Fault(INVALID_REQUEST, "expected one JSON-RPC 2.0 request or notification")
    number, method, params = found.get("id"), found.get("method"), found.get("params", {})
    if "id" in found and (isinstance(number, bool) or not isinstance(number, str | int)):
        return Fault(INVALID_REQUEST, "id: expected text or a whole number")
    if not isinstance(method, str):
        return Fault(INVALID_REQUEST, "method: expected text; this server asks nothing", number)
    if not isinstance(params, dict):
        return Fault(INVALID_PARAMS, "params: expected an object", number)
    return Message(number, method, params, is_modern=False)


def _routing(headers: Iterable[tuple[str, str]]) -> tuple[dict[str, str], str]:
    """The headers that say where a message goes, and one of them that is there twice."""
    told: dict[str, str] = {}
    twice = ""
    for name, value in headers:
        if name in (VERSION_HEADER, METHOD_HEADER, NAME_HEADER):
            twice = name if name in told else twice
            told[name] = value
    return told, twice


def _check_envelope(message: Message, told: Mapping[str, str]) -> Fault | None:
    """What a modern request carries must be whole, and its headers must say the same."""
    meta = message.params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    version = meta.get(f"{_META}protocolVersion")
    if not message.is_modern and version not in MODERN:
        return None
    if not isinstance(version, str) or not isinstance(meta.get(f"{_META}clientCapabilities"), dict):
        why = f"params._meta: expected {_META}protocolVersion and {_META}clientCapabilities"
        return Fault(INVALID_PARAMS, why, message.id)
    pairs = {VERSION_HEADER: version, METHOD_HEADER: message.method}
    if message.method == "tools/call":
        pairs[NAME_HEADER] = str(message.params.get("name"))
    for name, said in pairs.items():
        header = told.get(name)
        if (_decoded(header) if name == NAME_HEADER else header) != said:
            found = "is missing" if header is None else f"says {header[:80]!r}"
            why = f"the header {name} {found}, the body {said[:80]!r}"
            return Fault(HEADER_MISMATCH, why, message.id)
    return None


def _decoded(value: str | None) -> str | None:
    """A header's value; text that no header can carry comes as base64 between two marks."""
    begin, end = _BASE64
    if value is None or not (value.startswith(begin) and value.endswith(end)):
        return value
    try:
        return base64.b64decode(value[len(begin) : -len(end)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
