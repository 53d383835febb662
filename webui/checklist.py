"""What a first start lacks: settings that are there and that are not, by name, never by value."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Need:
    """A source, the settings it wants, and what it brings."""

    title: str
    names: tuple[str, ...]
    brings: str


NEEDS: tuple[Need, ...] = (
    Need(
        "tastytrade",
        ("TASTYTRADE_CLIENT_SECRET", "TASTYTRADE_REFRESH_TOKEN"),
        "live trades and quotes",
    ),
    Need("GEXBot", ("GEXBOT_API_KEY",), "gamma exposure"),
    Need("Webhooks", ("WEBHOOK_TOKEN",), "gamma and option trades pushed to /uw"),
    Need("Redis", ("REDIS_URL",), "the hot hour for other programs"),
)


def checklist(settings: Settings) -> Sequence[tuple[str, str, str, str]]:
    """(state, title, what it brings, what to do) of every source."""
    rows = []
    for need in NEEDS:
        missing = [name for name in need.names if not settings.text(name)]
        state = "off" if missing else "ok"
        told = f"missing in .env: {', '.join(missing)}" if missing else "configured"
        rows.append((state, need.title, need.brings, told))
    has_sierra = settings.sierra_dir.is_dir()
    told = "folder found" if has_sierra else "SIERRA_DIR is no folder here"
    rows.append(("ok" if has_sierra else "off", "Sierra Chart", "depth and history", told))
    return rows
