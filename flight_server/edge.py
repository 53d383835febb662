"""The edge: the only place where an error of ours becomes an error of Flight.

A known QueryError or AccessError leaves with its code, message and hint. Anything else is logged
under a short id and leaves as "internal error ID". No traceback and no path ever passes: pyarrow
sends both to the client for every exception that is not a Flight error.
"""

import json
import re
import secrets
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from itertools import chain
from typing import Final, ParamSpec, TypeVar

import pyarrow as pa
from pyarrow import flight

from core.errors import (
    AccessError,
    Forbidden,
    PipelineError,
    QueryError,
    TooSlow,
    Unauthenticated,
    Unavailable,
)
from core.log import Log

P = ParamSpec("P")
T = TypeVar("T")

# Three copies travel in response headers, which gRPC limits to 8 KiB in all.
MESSAGE_BYTES_MAX: Final = 800
HINT_BYTES_MAX: Final = 300

_PATH = re.compile(r"(?:[A-Za-z]:\\|\\\\)[^\s'\"]+|(?<![\w.)\]])/(?:[\w.@+=~-]+/)+[\w.@+=~-]*")
_SOURCE = re.compile(r"Traceback|\.pyx?\b")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\uffff]")
_log = Log("edge")


class Cancelled(QueryError):
    """The caller, or the cancel action, ended the call.

    It leaves as a plain FlightServerError: pyarrow's client turns a FlightCancelledError into a
    KeyboardInterrupt of the whole program.
    """

    code = "cancelled"


def to_flight(error: BaseException) -> flight.FlightError:
    """Give the error the clothes in which it may leave."""
    if isinstance(error, flight.FlightError) and is_translated(error):
        return error
    if isinstance(error, flight.FlightCancelledError):
        error = Cancelled("the call was cancelled")
    if isinstance(error, QueryError | AccessError):
        message = _clean(error.message, MESSAGE_BYTES_MAX)
        hint = _clean(error.hint, HINT_BYTES_MAX)
        if not _SOURCE.search(message + hint):
            return _dress(error, message, hint)
    return _internal(error)


def door(method: Callable[P, T]) -> Callable[P, T]:
    """Wrap a handler so that only translated errors leave it."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  a handler thread has no caller above it
            raise to_flight(error) from None

    return guarded


def guarded_stream(
    schema: pa.Schema, runs: Iterable[Sequence[pa.RecordBatch]]
) -> flight.FlightDataStream:
    """Stream runs of batches so that what breaks off in the middle arrives as one of our errors.

    An exception raised inside a RecordBatchReader reaches the client with its traceback, a
    GeneratorStream cannot carry dictionaries. So the batches go as the one reader that a
    GeneratorStream yields; where they break off, the reader ends and the generator raises. Only
    between runs the reader comes back to Python, for which the sender has to wait.
    """
    broken: list[BaseException] = []

    def guarded() -> Iterator[Sequence[pa.RecordBatch]]:
        source = iter(runs)
        while True:
            try:
                run = next(source)
            except StopIteration:
                return
            except BaseException as error:  # noqa: BLE001  the reader of this generator is C++
                broken.append(to_flight(error))
                return
            yield run

    def whole() -> Iterator[pa.RecordBatchReader]:
        yield pa.RecordBatchReader.from_batches(schema, chain.from_iterable(guarded()))
        if broken:
            raise broken[0]

    return flight.GeneratorStream(schema, whole())


def hide_tracebacks() -> None:
    """For the process of a server: what pyarrow would format and send is never a traceback.

    Every door is closed by `door`, but pyarrow's own get_schema cannot pass a Flight error on: it
    sends the class's name and what `traceback.format_exception` gives. Here that gives the JSON
    of a translated error. Logging formats its tracebacks by another way and keeps them.
    """
    traceback.format_exception = _told_instead


def _told_instead(*error: object, **_options: object) -> list[str]:
    for part in error:
        if isinstance(part, BaseException) and is_translated(part):
            return [str(getattr(part, "extra_info", b""), "utf-8")]
    return ["the server's log has the cause"]


def is_translated(error: BaseException) -> bool:
    """Whether this error already went through `to_flight`."""
    info = getattr(error, "extra_info", None)
    return isinstance(info, bytes) and info.startswith(b'{"code": ')


def code_of(error: BaseException | None) -> str:
    """The code an error carries, `ok` for none: what the record of the call says."""
    if error is None:
        return "ok"
    if isinstance(error, PipelineError):
        return error.code
    if is_translated(error):
        return str(json.loads(getattr(error, "extra_info", b"{}"))["code"])
    return "cancelled" if isinstance(error, flight.FlightCancelledError) else "internal"


def _dress(error: PipelineError, message: str, hint: str) -> flight.FlightError:
    body = {"code": error.code, "message": message, "hint": hint}
    extra_info = json.dumps(body, ensure_ascii=False).encode()
    text = f"{message}; {hint}" if hint else message
    return _flight_class(error)(text, extra_info)


def _flight_class(error: PipelineError) -> type[flight.FlightError]:
    match error:
        case Unauthenticated():
            return flight.FlightUnauthenticatedError  # type: ignore[no-any-return]
        case Forbidden():
            return flight.FlightUnauthorizedError  # type: ignore[no-any-return]
        case Unavailable():
            return flight.FlightUnavailableError  # type: ignore[no-any-return]
        case TooSlow():
            return flight.FlightTimedOutError  # type: ignore[no-any-return]
        case _:
            return flight.FlightServerError  # type: ignore[no-any-return]


def _internal(error: BaseException) -> flight.FlightError:
    number = secrets.token_hex(4)
    try:
        raise error
    except BaseException:  # noqa: BLE001  written down with its traceback, here only
        _log.exception("call.failed", id=number)
    message = f"internal error {number}"
    hint = "tell the operator this id; the server's log has the cause"
    body = {"code": "internal", "message": message, "hint": hint}
    return flight.FlightInternalError(message, json.dumps(body).encode())


def _clean(text: str, limit: int) -> str:
    """One printable line without paths, short enough for a header."""
    text = _UNPRINTABLE.sub("?", _PATH.sub("<path>", text.replace("\n", " ")))
    raw = text.encode()
    return text if len(raw) <= limit else raw[:limit].decode(errors="ignore") + " ..."
