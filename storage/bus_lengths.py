"""How many entries each stream on Redis has, so that rows somebody else took away are noticed.

A stream that is deleted or evicted is there again with the next row, and one that is cut still ends
where it should. But neither is as long as the mirror made it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from storage.bus import Bus
from storage.bus_keys import NewEntry


class Lengths:
    """Entries of each stream as the mirror left it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.known: Counter[bytes] = Counter()

    def note(self, streams: Sequence[bytes]) -> None:
        """Remember how long these are now."""
        lengths = self._bus.calls([(b"XLEN", key) for key in streams]) if streams else []
        self.known = Counter(dict(zip(streams, lengths, strict=True)))

    def add(self, entries: Iterable[NewEntry]) -> None:
        """These were added."""
        for entry in entries:
            self.known[entry.key] += 1

    def short(self, streams: Sequence[bytes]) -> list[bytes]:
        """Those that lack some of their entries; note all anew."""
        was = self.known
        self.note(streams)
        return [key for key, length in self.known.items() if length < was[key]]
