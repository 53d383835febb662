"""What was gathered at one tick, topic by topic, and the frames that are made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from webui.wire import text_frame


@dataclass(slots=True)
class Topic:
    """The newest value of a topic as JSON; `version` is the round it changed in.

    As long as what it was `made_of` is the same, it need not be made again.
    """

    version: int
    body: bytes
    made_of: object = None


@dataclass(frozen=True, slots=True)
class Round:
    """All topics as of one tick; frames are made once for all who know as much."""

    number: int
    now_ms: int
    topics: Mapping[str, Topic]
    _frames: dict[tuple[Sequence[str], int], bytes | None] = field(default_factory=dict)

    def frame(self, topics: tuple[str, ...], seen: int) -> bytes | None:
        """What of some topics is newer than a round, as bytes for the wire; None for nothing."""
        wanted = (topics, seen)
        if wanted not in self._frames:
            known = self.topics
            fresh = [name for name in topics if name in known and known[name].version > seen]
            self._frames[wanted] = self._written(fresh) if fresh else None
        return self._frames[wanted]

    def _written(self, names: Sequence[str]) -> bytes:
        parts = b",".join(orjson.dumps(name) + b":" + self.topics[name].body for name in names)
        return text_frame(b'{"v":1,"n":%d,"t":%d,"d":{%b}}' % (self.number, self.now_ms, parts))
