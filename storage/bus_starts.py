"""Where each stream on Redis begins, so that rows somebody else took away are noticed.

A stream that is deleted or evicted is there again with the next row, and one that is cut still ends
where it should. But neither begins where the mirror left it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from storage.bus import Bus

KEYS_MAX: Final = 256  # asked of at once: Redis does nothing else meanwhile
FIRSTS: Final = b"""
local found = {}
for at, key in ipairs(KEYS) do
  local first = redis.call('XRANGE', key, '-', '+', 'COUNT', '1')[1]
  found[at] = first and first[1] or ''
end
return found
"""


class Starts:
    """The first entry of each stream when it was last noted; b"" where it had none."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.firsts: Mapping[bytes, bytes] = {}

    def note(self, streams: Sequence[bytes]) -> None:
        """Remember where these begin now."""
        self.firsts = self._read(streams)

    def moved(self, streams: Sequence[bytes]) -> list[bytes]:
        """Those that had entries and do not begin with the same one any more; note all anew."""
        was = self.firsts
        self.note(streams)
        return [key for key, first in self.firsts.items() if was.get(key, b"") not in (b"", first)]

    def _read(self, streams: Sequence[bytes]) -> dict[bytes, bytes]:
        parts = [streams[at : at + KEYS_MAX] for at in range(0, len(streams), KEYS_MAX)]
        commands = [(b"EVAL", FIRSTS, b"%d" % len(part), *part) for part in parts]
        answers = self._bus.calls(commands) if commands else []
        found = [first for answer in answers for first in answer]
        return dict(zip(streams, found, strict=True))
