"""Which processes make up which part of the house, and in what order they start."""

from dataclasses import dataclass

from core.errors import SettingsError

ROLES = ("all", "ingest", "serve")


@dataclass(frozen=True, slots=True)
class Part:
    """What `tickflight up` was asked to run."""

    role: str
    is_following: bool = False
    is_demo: bool = False


def processes_of(part: Part, *, has_redis: bool) -> list[str]:
    """Processes in the order they start; raise SettingsError for what cannot go together."""
    assert part.role in ROLES, part.role
    if part.is_following and part.role != "serve":
        raise SettingsError(
            "--follow builds a copy of another server's tape and takes nothing in by itself",
            hint="run: tickflight up --role serve --follow REDIS_URL",
        )
    if part.is_demo and part.role == "serve":
        raise SettingsError(
            "--demo trades, --role serve only answers",
            hint="leave out one of them, or run the demo as --role ingest in another process",
        )
    writing = ["ingest", "mirror"] if has_redis else ["ingest"]
    serving = ["flight", "web"]
    if part.role == "serve":
        return ["follow", *serving] if part.is_following else serving
    return writing if part.role == "ingest" else writing + serving
