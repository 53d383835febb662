"""Functions compiled by numba and kept in its cache, so that a start does not wait for them.

A cache that cannot be written, or that a power cut has torn, costs some seconds at the start and
nothing else: the function is compiled in memory, and the log says so.
"""

from collections.abc import Callable
from typing import Any

import numba
from numba.core import caching

from core.log import Log

log = Log("compiled")
_FunctionCache: Any = caching.FunctionCache  # it tells no types
_told: set[str] = set()  # of a process, once each


class _Kept(_FunctionCache):  # type: ignore[misc] # so nor does this
    """What is in the cache, as far as it can be read and written."""

    def load_overload(self, sig: object, target_context: object) -> object:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # noqa: BLE001 - what reads torn bytes may raise anything
            log.warning("cache.unreadable", path=self.cache_path, error=repr(error))
        self._try(self.flush)  # else it could never be written again
        return None

    def save_overload(self, sig: object, data: object) -> None:
        self._try(lambda: super(_Kept, self).save_overload(sig, data))

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # noqa: BLE001 - it reads what is there first
            _warn("cache.unwritable", error)


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """The function compiled at its first call; `options` are numba's."""
    dispatcher = numba.njit(**options)(function)
    try:
        dispatcher._cache = _Kept(function)  # noqa: SLF001 - numba's raises where torn
    except RuntimeError as error:
        _warn("cache.missing", error)
    return dispatcher


def _warn(event: str, error: Exception) -> None:
    if event not in _told:
        _told.add(event)
        remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
        log.warning(event, error=repr(error), cost="compiled anew at each start", remedy=remedy)
