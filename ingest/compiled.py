"""Kernels made of plain functions, kept in numba's cache where there is a place for one."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(plain: Callable[..., Any], **options: Any) -> Any:
    """Compile on the first call; once for this machine, or at every start where nothing is kept.

    numba keeps what it compiled beside the source or in the user's cache folder, and refuses where
    neither can be written, as for a program installed read-only under a user without a home.
    """
    try:
        return numba.njit(cache=True, **options)(plain)
    except RuntimeError:
        return numba.njit(**options)(plain)
