"""What can name a symbol: in tickets, settings, lists of keys and folders of the lake."""

import re
from functools import lru_cache
from typing import Final

SYMBOL_FORM = "1 to 32 of A-Z 0-9 . _ / $ -, the first a letter or digit"
# GEXBot's futures ladders are in the points of both contracts of their root; no other name is ever
# taken for another.
GEX_TICKERS: Final = {"NQ": "NQ_NDX", "MNQ": "NQ_NDX", "ES": "ES_SPX", "MES": "ES_SPX"}
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9._/$-]{0,31}")


@lru_cache(4_096)
def is_symbol(text: str) -> bool:
    """Whether a text is a symbol's name."""
    return _SYMBOL.fullmatch(text) is not None
